-- name: work
-- One row per difference image whose sources are measured, with the settings that both were made with: injected
-- sources go through the same.
SELECT
    diffim.visit,
    diffim.detector,
    visit.band,
    diffim.template_id,
    diffim.path,
    diffim.sha256,
    diffim.njy_per_e,
    made.stage_version AS difference_version,
    CAST(made_run.settings -> 'difference' AS VARCHAR) AS difference_settings,
    CAST(made_run.settings -> 'calibrate' AS VARCHAR) AS calibrate_settings,
    measured.fingerprint AS detect_fingerprint,
    measured.stage_version AS detect_version,
    CAST(measured_run.settings -> 'detect' AS VARCHAR) AS detect_settings
FROM diffim
JOIN visit USING (visit)
JOIN unit AS made
    ON made.stage = 'difference'
    AND made.unit_key = image_key(diffim.visit, diffim.detector)
JOIN run AS made_run ON made_run.run_id = made.run_id
JOIN unit AS measured
    ON measured.stage = 'detect'
    AND measured.unit_key = made.unit_key
    AND measured.status = 'done'
JOIN run AS measured_run ON measured_run.run_id = measured.run_id
ORDER BY diffim.visit, diffim.detector

-- name: static_sources
-- What is there: stars and galaxies of the exposure that are well measured, and every bright or saturated star. Not the
-- faintest: those are in the list because the noise of this exposure lifted them, and so is what is found on them.
SELECT
    x,
    y,
    CASE WHEN is_saturated OR is_star THEN 'star' ELSE 'galaxy' END AS kind,
    coalesce(sqrt((ixx_pix2 + iyy_pix2) / 2), 0) AS size_pix,
    NOT (is_saturated OR is_edge OR is_bad) AND psf_flux_njy > 20 * psf_flux_err_njy AS is_clean,
    is_saturated OR (is_star AND psf_flux_njy > 100 * psf_flux_err_njy) AS is_bright_star
FROM source
WHERE visit = $visit
    AND detector = $detector
    AND (is_saturated OR psf_flux_njy > 20 * psf_flux_err_njy)
ORDER BY source_id

-- name: real_sources
-- What the difference image shows without injection, and how far it reaches: a primary source spoils the PSF fits
-- around it, a fainter one only stands at its own place.
SELECT x, y, CASE WHEN is_primary THEN 2.5 ELSE 1.0 END AS reach_fwhm
FROM dia_source
WHERE visit = $visit
    AND detector = $detector
ORDER BY dia_source_id
