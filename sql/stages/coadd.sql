-- name: work
-- One row per patch of a template in use, with the hash of all its warps, their times and the noise that weighs them.
SELECT
    warp.template_id,
    warp.tract,
    warp.patch,
    tract.ra AS tract_ra,
    tract.dec AS tract_dec,
    tract.pixel_scale_arcsec,
    tract.patch_size_pix,
    template.band,
    template.target_fwhm_pix,
    sha256(string_agg(
        concat_ws(' ', warp.sha256, visit.midpoint_mjd_tai, calexp.sky_noise_e * calexp.njy_per_e), ','
        ORDER BY warp.visit, warp.detector
    )) AS warp_sha256
FROM current_template AS template
JOIN warp USING (template_id, tract)
JOIN calexp USING (visit, detector)
JOIN visit USING (visit)
JOIN tract USING (tract)
GROUP BY ALL
ORDER BY warp.template_id, warp.tract, warp.patch

-- name: warps
-- The warps of a patch; the variance of the sky before matching is what a point source sees, so it makes the weight. It is
-- that of a pixel of the tract: exposures with different binning then weigh what they see.
SELECT
    warp.visit,
    warp.detector,
    warp.path,
    visit.midpoint_mjd_tai,
    (calexp.sky_noise_e * calexp.njy_per_e * tract.pixel_scale_arcsec / calexp.pixel_scale_arcsec) ** 2
        AS sky_variance_njy2
FROM warp
JOIN calexp USING (visit, detector)
JOIN visit USING (visit)
JOIN tract ON tract.tract = warp.tract
WHERE warp.template_id = $template_id AND warp.tract = $tract AND warp.patch = $patch
ORDER BY warp.visit, warp.detector
