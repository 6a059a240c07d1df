-- name: targets
-- Tracts and bands that a template could be made for, with the version in force.
-- `is_astray`: an exposure that went into it has turned out to be of another band.
SELECT
    patch_overlap.tract,
    visit.band,
    any_value(template.template_id) AS template_id,
    any_value(template.how) AS how,
    any_value(template.how_value) AS how_value,
    any_value(template.template_id) IN (
        SELECT template_input.template_id
        FROM template_input
        JOIN template AS decided USING (template_id)
        JOIN visit AS input ON input.visit = template_input.visit
        WHERE template_input.selected AND input.band <> decided.band
    ) AS is_astray
FROM calexp
JOIN visit USING (visit)
JOIN patch_overlap USING (visit, detector)
LEFT JOIN current_template AS template USING (tract, band)
WHERE $band IS NULL OR list_contains($band, visit.band)
GROUP BY ALL
ORDER BY patch_overlap.tract, visit.band

-- name: missing
-- Exposures of a band whose calibration broke off through no fault of the image, how many of them the next run tries
-- again, and how many runs the template has waited for them.
SELECT
    count(*) AS n_missing,
    count(*) FILTER (failure.kind = 'transient' OR failure.n_attempt < $max_run) AS n_coming,
    min(failure.unit_key) AS example,
    coalesce(
        (
            SELECT n_attempt
            FROM unit_failure
            WHERE stage = 'template' AND kind = 'transient' AND unit_key = template_key($tract, $band)
        ),
        0
    ) AS n_run
FROM unit_failure AS failure
JOIN raw ON failure.unit_key = image_key(raw.visit, raw.detector)
JOIN visit ON visit.visit = raw.visit
WHERE failure.stage = 'calibrate'
    AND failure.kind IN ('transient', 'died', 'time_limit', 'memory_limit')
    AND visit.band = $band

-- name: candidates
-- Every calibrated exposure of a tract and band, with a veto where seeing alone would deceive: cloudy and nearly empty
-- exposures, trailed ones, and those with bad positions. The medians are those of the band; the transparency is relative
-- to the better exposures, electrons for each nJy and second.
--
-- Seeing and noise are compared on the sky: all that is in pixels is in those of the median exposure, whatever the binning
-- of a visit was.
WITH exposure AS (
    SELECT
        calexp.visit,
        calexp.detector,
        corner_ra,
        corner_dec,
        psf_fwhm_pix,
        psf_fwhm_det_pix,
        psf_effective_area_pix,
        pixel_scale_arcsec,
        sky_noise_e * njy_per_e AS sky_noise_njy,
        sky_e * njy_per_e / pixel_scale_arcsec ** 2 AS sky_njy_arcsec2,
        1 / (njy_per_e * exposure_s) AS throughput,
        depth_5sigma_mag,
        sqrt(psf_e1 ** 2 + psf_e2 ** 2) AS ellipticity,
        sqrt((1 - ellipticity) / (1 + ellipticity)) AS psf_axis_ratio,
        astrom_rms_arcsec,
        n_source,
        fraction_masked
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
    SELECT
        median(pixel_scale_arcsec) AS pixel_scale_arcsec,
        median(psf_fwhm_det_pix / psf_fwhm_pix) AS det_ratio,
        median(depth_5sigma_mag) AS depth_5sigma_mag,
        median(astrom_rms_arcsec) AS astrom_rms_arcsec,
        median(n_source) AS n_source,
        quantile_cont(throughput, 0.75) AS throughput
    FROM exposure
)

SELECT
    exposure.* REPLACE (
        exposure.psf_fwhm_pix * exposure.pixel_scale_arcsec / typical.pixel_scale_arcsec AS psf_fwhm_pix,
        seeing_det_pix(
            exposure.psf_fwhm_det_pix,
            exposure.psf_fwhm_pix,
            exposure.pixel_scale_arcsec / typical.pixel_scale_arcsec,
            typical.det_ratio
        ) AS psf_fwhm_det_pix,
        exposure.psf_effective_area_pix * (exposure.pixel_scale_arcsec / typical.pixel_scale_arcsec) ** 2
            AS psf_effective_area_pix,
        exposure.sky_noise_njy * typical.pixel_scale_arcsec / exposure.pixel_scale_arcsec AS sky_noise_njy
    ),
    exposure.throughput / typical.throughput AS transparency,
    CASE
        WHEN exposure.depth_5sigma_mag < typical.depth_5sigma_mag - $max_depth_loss_mag
            THEN format('too shallow: 5 sigma depth {:.2f} mag, the median is {:.2f}',
                exposure.depth_5sigma_mag, typical.depth_5sigma_mag)
        WHEN transparency < $min_transparency
            THEN format('clouds: transparency {:.2f}, the limit is {:.2f}', transparency, $min_transparency)
        WHEN exposure.n_source < $min_source_ratio * typical.n_source
            THEN format('nearly empty: {:d} sources, the median is {:.0f}', exposure.n_source, typical.n_source)
        WHEN fraction_masked > $max_fraction_masked
            THEN format('masked: {:.0f}% of the pixels, the limit is {:.0f}%',
                100 * fraction_masked, 100 * $max_fraction_masked)
        WHEN ellipticity > $max_ellipticity
            THEN format('PSF ellipticity {:.2f}, the limit is {:.2f}', ellipticity, $max_ellipticity)
        WHEN exposure.astrom_rms_arcsec > $max_astrom_rms_ratio * typical.astrom_rms_arcsec
            THEN format('positions: rms {:.3f} arcsec, the median is {:.3f}',
                exposure.astrom_rms_arcsec, typical.astrom_rms_arcsec)
    END AS veto
FROM exposure, typical
ORDER BY psf_fwhm_det_pix, exposure.visit, exposure.detector

-- name: limit_of_quantile
-- The seeing limit that lets this part of the unvetoed exposures pass, two at least.
SELECT max(psf_fwhm_det_pix) FILTER (rank <= greatest(2, round($quantile * n))) AS max_psf_fwhm_pix
FROM (
    SELECT psf_fwhm_det_pix, row_number() OVER (ORDER BY psf_fwhm_det_pix, visit, detector) AS rank, count(*) OVER () AS n
    FROM candidate
    WHERE veto IS NULL
)

-- name: inputs
-- What was decided for a template; pixels are those of the median exposure.
WITH input AS (
    SELECT
        template_input.* EXCLUDE (template_id),
        calexp.psf_fwhm_pix,
        calexp.psf_fwhm_det_pix,
        calexp.depth_5sigma_mag,
        calexp.pixel_scale_arcsec / median(calexp.pixel_scale_arcsec) OVER () AS scale,
        median(calexp.psf_fwhm_det_pix / calexp.psf_fwhm_pix) OVER () AS det_ratio
    FROM template_input
    LEFT JOIN calexp USING (visit, detector)
    WHERE template_id = $template_id
)

SELECT * EXCLUDE (scale, det_ratio) REPLACE (
    psf_fwhm_pix * scale AS psf_fwhm_pix,
    seeing_det_pix(psf_fwhm_det_pix, psf_fwhm_pix, scale, det_ratio) AS psf_fwhm_det_pix
)
FROM input
ORDER BY seeing_det_pix(input.psf_fwhm_det_pix, input.psf_fwhm_pix, scale, det_ratio), visit, detector

-- name: curve
-- The cuts that were weighed for a template.
SELECT * EXCLUDE (template_id)
FROM template_curve
WHERE template_id = $template_id
ORDER BY max_psf_fwhm_pix, quantity NULLS FIRST, quantity_limit

-- name: depth
-- What was foretold of the difference images of the templates in force, and what they reached.
SELECT *
FROM template_depth
WHERE $band IS NULL OR list_contains($band, band)
ORDER BY tract, band, visit, detector

-- name: in_force
-- The decisions in force.
SELECT *
FROM current_template
WHERE $band IS NULL OR list_contains($band, band)
ORDER BY tract, band

-- name: of_before
-- Decisions in force of a time before model PSFs were Moffat profiles (migration 8), and how they were made.
SELECT template.tract, template.band, template.version, template.how, template.how_value
FROM current_template AS template
JOIN run USING (run_id)
JOIN schema_migration AS moffat ON moffat.version = 8
WHERE run.started_at < moffat.applied_at
ORDER BY template.tract, template.band

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

-- name: verdicts
-- Tracts and bands with a verdict on record.
SELECT unit_key FROM unit WHERE stage = 'template'

-- name: predicted_from
-- What the predictions of a template were made from.
SELECT sha256 FROM template_predicted_from WHERE template_id = $template_id

-- name: forget_prediction
-- Forget what was predicted of a template.
DELETE FROM template_prediction WHERE template_id = $template_id

-- name: forget_predicted_from
-- Forget what that was made from.
DELETE FROM template_predicted_from WHERE template_id = $template_id
