-- name: work
-- One row per calibrated exposure that a coadd of its band touches, with the hash of everything it is made from.
SELECT
    calexp.visit,
    calexp.detector,
    visit.band,
    calexp.path,
    calexp.sha256,
    calexp.psf_fwhm_pix,
    calexp.njy_per_e,
    template.template_id,
    template.target_fwhm_pix,
    template.target_beta,
    tract.tract,
    tract.ra AS tract_ra,
    tract.dec AS tract_dec,
    tract.pixel_scale_arcsec,
    tract.patch_size_pix,
    sha256(string_agg(coadd.sha256, ',' ORDER BY coadd.patch)) AS coadd_sha256
FROM calexp
JOIN visit USING (visit)
JOIN current_template AS template USING (band)
JOIN tract USING (tract)
JOIN patch_overlap USING (tract, visit, detector)
JOIN coadd USING (template_id, tract, patch)
GROUP BY ALL
ORDER BY calexp.visit, calexp.detector

-- name: coadds
-- The coadds that the exposure touches.
SELECT coadd.patch, coadd.path
FROM coadd
JOIN patch_overlap USING (tract, patch)
WHERE coadd.template_id = $template_id
    AND patch_overlap.visit = $visit
    AND patch_overlap.detector = $detector
ORDER BY coadd.patch

-- name: coadd_inputs
-- What went into them.
SELECT
    coadd_input.patch,
    coadd_input.input_number,
    coadd_input.visit,
    coadd_input.detector,
    coadd_input.weight
FROM coadd_input
JOIN patch_overlap AS mine
    ON mine.tract = coadd_input.tract
    AND mine.patch = coadd_input.patch
    AND mine.visit = $visit
    AND mine.detector = $detector
WHERE coadd_input.template_id = $template_id
ORDER BY coadd_input.patch, coadd_input.input_number

-- name: own_warps
-- The exposure's own part of them, to be taken out: no visit is subtracted from itself. All detectors of the visit
-- are its own, but two detectors of one visit never overlap.
SELECT coadd_input.patch, warp.path, coadd_input.input_number, coadd_input.weight, coadd_input.background_njy
FROM coadd_input
JOIN warp USING (template_id, tract, patch, visit, detector)
WHERE coadd_input.template_id = $template_id
    AND coadd_input.visit = $visit
    AND coadd_input.detector = $detector
ORDER BY coadd_input.patch

-- name: stars
-- Clean stars for the matching kernel, brightest first. Isolated ones, unless they are too few, as in a crowded field:
-- a neighbor is in both images and takes part in the fit.
WITH star AS (
    SELECT x, y, psf_flux_njy, source_id, is_blended, count(*) FILTER (WHERE NOT is_blended) OVER () AS n_isolated
    FROM source
    WHERE visit = $visit
        AND detector = $detector
        AND is_star
        AND NOT is_saturated
        AND NOT is_edge
        AND NOT is_bad
        AND psf_flux_njy > 20 * psf_flux_err_njy
)
SELECT x, y, psf_flux_njy
FROM star
WHERE NOT is_blended OR n_isolated < 100
ORDER BY psf_flux_njy DESC, source_id
LIMIT 400

-- name: bright_stars
-- Stars whose wings or residuals may be seen, saturated ones without a flux.
SELECT x, y, psf_flux_njy AS flux_njy, is_saturated
FROM source
WHERE visit = $visit
    AND detector = $detector
    AND (is_saturated OR (is_star AND psf_flux_njy > 200 * psf_flux_err_njy))
ORDER BY source_id
