-- The reference catalog and the calibrated exposures.

-- name: magnitude_has_star
-- Every reference magnitude belongs to a reference star.
SELECT reference_id, band FROM reference_magnitude ANTI JOIN reference_star USING (reference_id)

-- name: magnitude_is_unique
-- A reference star has one magnitude in a band.
SELECT reference_id, band, count(*) AS n FROM reference_magnitude GROUP BY reference_id, band HAVING count(*) > 1

-- name: calexp_is_unique
-- A visit and detector is calibrated once.
SELECT visit, detector, count(*) AS n FROM calexp GROUP BY visit, detector HAVING count(*) > 1

-- name: calexp_has_raw
-- Every calexp has its raw image.
SELECT visit, detector FROM calexp ANTI JOIN raw USING (visit, detector)

-- name: calexp_makes_sense
-- Seeing, noise and zero point of a calexp are positive.
SELECT visit, detector, psf_fwhm_pix, sky_noise_e, njy_per_e FROM calexp
WHERE psf_fwhm_pix <= 0 OR sky_noise_e <= 0 OR njy_per_e <= 0 OR fraction_masked < 0 OR fraction_masked > 1

-- name: source_has_calexp
-- Every source belongs to a calexp.
SELECT DISTINCT visit, detector FROM source ANTI JOIN calexp USING (visit, detector)

-- name: source_id_is_unique
-- A source id is given once.
SELECT source_id, count(*) AS n FROM source GROUP BY source_id HAVING count(*) > 1

-- name: source_id_is_packed
-- A source id says from which visit and detector it comes.
SELECT source_id, visit, detector FROM source WHERE source_id >> 22 <> visit OR (source_id >> 14) & 255 <> detector

-- name: calexp_counts_its_sources
-- A calexp has as many sources as it says.
SELECT visit, detector, n_source, count(source_id) AS n_row
FROM calexp LEFT JOIN source USING (visit, detector)
GROUP BY visit, detector, n_source
HAVING count(source_id) <> n_source

-- name: streak_has_calexp
-- Every streak belongs to a calexp.
SELECT DISTINCT visit, detector FROM streak ANTI JOIN calexp USING (visit, detector)

-- name: residual_of_every_calexp
-- Every calexp has its row of residuals, and only these have; there were none before version 7 of calibrate.
SELECT visit, detector
FROM calexp
FULL JOIN calexp_residual USING (visit, detector)
ANTI JOIN unit ON unit.stage = 'calibrate' AND unit.stage_version < 7
    AND unit.unit_key = image_key(visit, detector)
WHERE calexp.nx IS NULL OR calexp_residual.n_color_star IS NULL

-- name: total_flux_is_near_psf_flux
-- A PSF image holds most of the light of a star, and not much more than all (how much hangs on psf_size_min_fwhm).
-- warning
SELECT visit, detector, total_flux_ratio, total_flux_ratio_err FROM calexp_residual
WHERE total_flux_ratio NOT BETWEEN 0.98 AND 1.15

-- name: saturation_has_calexp
-- Every saturation level that was found belongs to a calexp, which has one.
SELECT visit, detector, count(*) AS n FROM calexp_saturation GROUP BY visit, detector HAVING count(*) > 1
UNION ALL
SELECT visit, detector, 0 FROM calexp_saturation ANTI JOIN calexp USING (visit, detector)

-- name: saturation_is_as_described
-- No star has a flat top below the described saturation level (those that have are taken for saturated from there on).
-- warning
SELECT
    visit,
    detector,
    band,
    described_e,
    round(found_e, 1) AS found_e,
    n_flat_top,
    CASE WHEN found_e < described_e / 2
        THEN 'far off: do these frames have the unit, the sky and the exposure that the description says?'
        ELSE 'the description says too much'
    END AS verdict
FROM calexp_saturation
JOIN visit USING (visit)
ORDER BY visit, detector
