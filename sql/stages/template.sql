-- name: targets
-- Tracts and bands that a template could be made for, with the version in force.
SELECT patch_overlap.tract, visit.band, any_value(template.template_id) AS template_id
FROM calexp
JOIN visit USING (visit)
JOIN patch_overlap USING (visit, detector)
LEFT JOIN current_template AS template USING (tract, band)
WHERE $band IS NULL OR list_contains($band, visit.band)
GROUP BY ALL
ORDER BY patch_overlap.tract, visit.band

-- name: candidates
-- Every calibrated exposure of a tract and band, with a veto where seeing alone would deceive: cloudy and nearly empty
-- exposures, trailed ones, and those with bad positions. The medians are those of the band.
WITH exposure AS (
    SELECT
        calexp.visit,
        calexp.detector,
        psf_fwhm_pix,
        psf_fwhm_det_pix,
        psf_effective_area_pix,
        pixel_scale_arcsec,
        sky_noise_e * njy_per_e AS sky_noise_njy,
        depth_5sigma_mag,
        sqrt(psf_e1 ** 2 + psf_e2 ** 2) AS ellipticity,
        sqrt((1 - ellipticity) / (1 + ellipticity)) AS psf_axis_ratio,
        astrom_rms_arcsec
    FROM calexp
    JOIN visit USING (visit)
    WHERE visit.band = $band
        AND EXISTS (
            SELECT 1
            FROM patch_overlap
            WHERE patch_overlap.tract = $tract
                AND patch_overlap.visit = calexp.visit
                AND patch_overlap.detector = calexp.detector
        )
),

typical AS (
    SELECT median(depth_5sigma_mag) AS depth_5sigma_mag, median(astrom_rms_arcsec) AS astrom_rms_arcsec
    FROM exposure
)

SELECT
    exposure.*,
    CASE
        WHEN exposure.depth_5sigma_mag < typical.depth_5sigma_mag - $max_depth_loss_mag
            THEN format('too shallow: 5 sigma depth {:.2f} mag, the median is {:.2f}',
                exposure.depth_5sigma_mag, typical.depth_5sigma_mag)
        WHEN ellipticity > $max_ellipticity
            THEN format('PSF ellipticity {:.2f}, the limit is {:.2f}', ellipticity, $max_ellipticity)
        WHEN exposure.astrom_rms_arcsec > $max_astrom_rms_ratio * typical.astrom_rms_arcsec
            THEN format('positions: rms {:.3f} arcsec, the median is {:.3f}',
                exposure.astrom_rms_arcsec, typical.astrom_rms_arcsec)
    END AS veto
FROM exposure, typical
ORDER BY psf_fwhm_det_pix, exposure.visit, exposure.detector

-- name: chosen
-- The cut: what the candidates of the band become at a seeing limit.
SELECT
    visit,
    detector,
    psf_fwhm_pix,
    psf_fwhm_det_pix,
    depth_5sigma_mag,
    veto IS NULL AND psf_fwhm_det_pix <= $max_psf_fwhm_pix AS selected,
    CASE
        WHEN veto IS NOT NULL THEN veto
        WHEN psf_fwhm_det_pix <= $max_psf_fwhm_pix
            THEN format('FWHM {:.2f} pix, within {:.2f}', psf_fwhm_det_pix, $max_psf_fwhm_pix)
        ELSE format('FWHM {:.2f} pix, above {:.2f}', psf_fwhm_det_pix, $max_psf_fwhm_pix)
    END AS reason
FROM candidate
ORDER BY psf_fwhm_det_pix, visit, detector

-- name: limit_of_quantile
-- The seeing limit that lets this part of the unvetoed exposures pass, two at least.
SELECT max(psf_fwhm_det_pix) FILTER (rank <= greatest(2, round($quantile * n))) AS max_psf_fwhm_pix
FROM (
    SELECT psf_fwhm_det_pix, row_number() OVER (ORDER BY psf_fwhm_det_pix, visit, detector) AS rank, count(*) OVER () AS n
    FROM candidate
    WHERE veto IS NULL
)

-- name: inputs
-- What was decided for a template.
SELECT template_input.*, calexp.psf_fwhm_pix, calexp.psf_fwhm_det_pix, calexp.depth_5sigma_mag
FROM template_input
LEFT JOIN calexp USING (visit, detector)
WHERE template_id = $template_id
ORDER BY calexp.psf_fwhm_det_pix, visit, detector

-- name: in_force
-- The decisions in force.
SELECT *
FROM current_template
WHERE $band IS NULL OR list_contains($band, band)
ORDER BY tract, band

-- name: next_id
-- Running number of the next template and version of the next decision for a tract and band.
SELECT
    (SELECT coalesce(max(template_id), 0) + 1 FROM template) AS template_id,
    (SELECT coalesce(max(version), 0) + 1 FROM template WHERE tract = $tract AND band = $band) AS version

-- name: scale
-- Pixel size of a tract.
SELECT pixel_scale_arcsec
FROM tract
WHERE tract = $tract
