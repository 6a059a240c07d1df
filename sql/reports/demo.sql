-- What the demo shows of its survey.

-- name: clean_sources
-- Difference sources above threshold on which no flag is set.
SELECT dia_source_id, visit, detector, band, midpoint_mjd_tai, ra, dec, x, y, psf_flux_njy, psf_flux_err_njy, snr
FROM dia_source_clean
WHERE psf_flux_njy IS NOT NULL
ORDER BY dia_source_id;

-- name: template_weights
-- Which visits made the template of which visit, and with what weight.
SELECT visit, template_visit, weight
FROM template_table
ORDER BY visit, template_visit;

-- name: visits
-- Seeing and zero point of every visit, and whether it is in the template of its band.
WITH chosen AS (
    SELECT DISTINCT visit
    FROM template_input
    SEMI JOIN current_template USING (template_id)
    WHERE selected
)
SELECT visit, band, midpoint_mjd_tai, seeing_fwhm_px, zero_point, chosen.visit IS NOT NULL AS in_template
FROM visit_quality
LEFT JOIN chosen USING (visit)
ORDER BY visit;

-- name: noise
-- Standard deviation of the S/N on blank sky, and correlation of neighboring pixels, over all difference images.
SELECT median(score_std) AS score_std, median(lag1_correlation) AS lag1_correlation, count(*) AS n_diffim
FROM diffim;

-- name: difference_file
-- The difference image of one visit.
SELECT path
FROM diffim
WHERE visit = $visit AND detector = $detector;

-- name: object
-- The object that a detection belongs to; none if it is part of a track.
SELECT dia_object_id
FROM dia_association
WHERE dia_source_id = $source AND dia_object_id IS NOT NULL;
