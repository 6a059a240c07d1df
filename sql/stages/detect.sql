-- name: work
-- One row per difference image.
SELECT
    diffim.visit,
    diffim.detector,
    visit.band,
    diffim.template_id,
    visit.midpoint_mjd_tai,
    diffim.path,
    diffim.sha256,
    calexp.path AS calexp_path,
    calexp.sha256 AS calexp_sha256,
    diffim.njy_per_e,
    diffim.science_noise_e,
    diffim.template_noise_e,
    diffim.diff_noise_e,
    sqrt(registration.shift_x_pix ** 2 + registration.shift_y_pix ** 2 + registration.scatter_pix ** 2) AS shift_pix
FROM diffim
LEFT JOIN diffim_registration AS registration USING (visit, detector)
JOIN visit USING (visit)
JOIN calexp USING (visit, detector)
ORDER BY diffim.visit, diffim.detector

-- name: stars
-- Stars bright enough to leave a residual.
SELECT x, y, psf_flux_njy AS flux
FROM source
WHERE visit = $visit
    AND detector = $detector
    AND (is_star OR is_saturated)
    AND psf_flux_njy > 100 * psf_flux_err_njy
ORDER BY source_id
