-- Where one DIASource comes from, in sections; each comment is the title of its section.

-- name: detection
-- Detection
SELECT
    dia_source_id,
    visit,
    detector,
    band,
    night,
    midpoint_mjd_tai,
    ra,
    dec,
    x,
    y,
    score,
    psf_flux_njy,
    psf_flux_err_njy,
    is_primary,
    dia_source_id IN (SELECT dia_source_id FROM dia_source_clean) AS is_clean
FROM dia_source
JOIN visit USING (visit, band, midpoint_mjd_tai)
WHERE dia_source_id = $dia_source_id

-- name: object
-- Object
SELECT dia_object_id, tracklet_id, o.ra, o.dec, n_dia_source, n_night, first_mjd_tai, last_mjd_tai
FROM dia_association AS link
LEFT JOIN dia_object AS o USING (dia_object_id)
WHERE dia_source_id = $dia_source_id

-- name: difference_image
-- Difference image
SELECT
    diffim_path,
    diffim_sha256,
    convolved,
    kernel_degree,
    kernel_sigma_pix,
    kernel_order,
    kernel_size_pix,
    kernel_sum,
    n_kernel_star,
    background_order,
    difference_fingerprint,
    difference_run_id
FROM dia_source_provenance
WHERE dia_source_id = $dia_source_id

-- name: template
-- Template
SELECT
    template_id,
    template_tract,
    template_version,
    template_how,
    template_how_value,
    template_target_fwhm_pix,
    template_run_id,
    leave_one_out,
    n_template_input,
    coadd_paths,
    coadd_sha256s
FROM dia_source_provenance
WHERE dia_source_id = $dia_source_id

-- name: template_inputs
-- Exposures in the template of this image
SELECT
    template_visit,
    template_detector,
    diffim_input.weight,
    visit.night,
    visit.midpoint_mjd_tai,
    calexp.psf_fwhm_pix,
    calexp.path
FROM dia_source
JOIN diffim_input USING (visit, detector)
JOIN visit ON visit.visit = template_visit
LEFT JOIN calexp ON calexp.visit = template_visit AND calexp.detector = template_detector
WHERE dia_source_id = $dia_source_id
ORDER BY diffim_input.weight DESC, template_visit, template_detector

-- name: exposure
-- Calibrated exposure
SELECT
    calexp_path,
    calexp_sha256,
    psf_fwhm_pix,
    psf_fwhm_arcsec,
    psf_order,
    n_psf_star,
    sip_order,
    n_astrom_star,
    astrom_rms_arcsec,
    zero_point_mag,
    n_zero_point_star,
    calibrate_fingerprint,
    calibrate_run_id
FROM dia_source_provenance
WHERE dia_source_id = $dia_source_id

-- name: raw_file
-- Raw file
SELECT raw_path, raw_sha256, raw_size_byte, instrument, instrument_sha256, ingest_fingerprint, ingest_run_id
FROM dia_source_provenance
WHERE dia_source_id = $dia_source_id

-- name: code
-- Code and settings
SELECT
    detect_fingerprint,
    detect_run_id,
    detect_stage_version,
    detected_at,
    command,
    code_version,
    versions,
    json_extract(settings, '$.detect') AS settings_detect,
    json_extract(settings, '$.difference') AS settings_difference,
    json_extract(settings, '$.calibrate') AS settings_calibrate
FROM dia_source_provenance
WHERE dia_source_id = $dia_source_id
