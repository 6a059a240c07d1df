-- Difference images to distrust, each with the figure that says so and the limit that it breaks. The limits stand in the
-- view distrust_limit. An image may break several.
CREATE OR REPLACE VIEW distrust_limit AS
SELECT *
FROM (
    VALUES
    ('noise', 0.97, 1.03, 'score_std: standard deviation of the score on blank sky, 1 if the noise is honest'),
    ('noise in a cell', 0.85, 1.15, 'score_std of the worst of 4 x 4 cells'),
    ('correlated noise', -0.02, 0.02, 'lag1_correlation of neighboring pixels on blank sky'),
    ('background in a cell', NULL, 0.4, 'mean score on blank sky of the worst cell'),
    ('flux scale', 0.97, 1.03, 'kernel_sum: 1 if the zero points of image and template agree'),
    ('flux scale varies', NULL, 0.02, 'kernel_sum_scatter over the image'),
    ('stars', NULL, 2.0, 'control_chi2: reduced chi2 of held-out stars'),
    ('masked', NULL, 0.05, 'fraction_masked: pixels that cannot be used although there is a template'),
    ('little template', 0.5, NULL, 'template_coverage'),
    ('many sources', NULL, 3.0, 'primary DIASources per area over the median of the band, if 20 or more'),
    ('dipoles', NULL, 0.2, 'dipole_fraction of the primary DIASources, if 5 or more are dipoles'),
    ('aligned dipoles', 0.001, NULL, 'dipole_chance: probability that dipoles point so much one way'),
    ('registration', NULL, 0.05, 'shift_pix: median displacement of stars against the template'),
    ('scattered registration', NULL, 0.1, 'shift_scatter_pix: displacements of stars beyond their errors'),
    ('aligned displacements', 0.001, NULL, 'shift_chance: probability that displacements prefer an axis so much, as refraction makes them'),
    ('depth', -0.1, 0.1, 'depth_difference_mag: measured minus predicted depth')
) AS limits (reason, lowest, highest, meaning);
COMMENT ON VIEW distrust_limit IS 'What a difference image is distrusted for, and from where on';
COMMENT ON COLUMN distrust_limit.reason IS '[] name of the reason';
COMMENT ON COLUMN distrust_limit.lowest IS '[] smallest value that is trusted; NULL: any';
COMMENT ON COLUMN distrust_limit.highest IS '[] largest value that is trusted; NULL: any';
COMMENT ON COLUMN distrust_limit.meaning IS '[] what the value is, a column of diffim_quality';

CREATE OR REPLACE VIEW diffim_distrust AS
WITH measured AS (
    SELECT
        visit,
        detector,
        band,
        unnest([
            {'reason': 'noise', 'value': score_std},
            {'reason': 'noise in a cell', 'value': worst_score_std},
            {'reason': 'correlated noise', 'value': lag1_correlation},
            {'reason': 'background in a cell', 'value': worst_score_mean},
            {'reason': 'flux scale', 'value': kernel_sum},
            {'reason': 'flux scale varies', 'value': kernel_sum_scatter},
            {'reason': 'stars', 'value': control_chi2},
            {'reason': 'masked', 'value': fraction_masked},
            {'reason': 'little template', 'value': template_coverage},
            {'reason': 'many sources', 'value': CASE WHEN n_primary >= 20 THEN density_deg2 / band_density_deg2 END},
            {'reason': 'dipoles', 'value': CASE WHEN n_dipole >= 5 THEN dipole_fraction END},
            {'reason': 'aligned dipoles', 'value': dipole_chance},
            {'reason': 'registration', 'value': shift_pix},
            {'reason': 'scattered registration', 'value': shift_scatter_pix},
            {'reason': 'aligned displacements', 'value': shift_chance},
            {'reason': 'depth', 'value': depth_difference_mag}
        ], recursive := true)
    FROM diffim_quality
)

SELECT visit, detector, band, reason, value, lowest, highest, meaning
FROM measured
JOIN distrust_limit USING (reason)
WHERE value < lowest OR value > highest;
COMMENT ON VIEW diffim_distrust IS 'Difference images to distrust: one row per image and limit that it breaks';
COMMENT ON COLUMN diffim_distrust.visit IS '[] observation id';
COMMENT ON COLUMN diffim_distrust.detector IS '[] sensor';
COMMENT ON COLUMN diffim_distrust.band IS '[] filter';
COMMENT ON COLUMN diffim_distrust.reason IS '[] name of the reason';
COMMENT ON COLUMN diffim_distrust.value IS '[] the figure that speaks against the image';
COMMENT ON COLUMN diffim_distrust.lowest IS '[] smallest value that is trusted; NULL: any';
COMMENT ON COLUMN diffim_distrust.highest IS '[] largest value that is trusted; NULL: any';
COMMENT ON COLUMN diffim_distrust.meaning IS '[] what the value is, a column of diffim_quality';
