-- Where a DIASource comes from: every image, fit, decision, setting and file between the raw exposure and its row.
CREATE OR REPLACE VIEW dia_source_provenance AS
WITH template_part AS (
    SELECT
        visit,
        detector,
        count(*) AS n_template_input,
        list(
            struct_pack(visit := template_visit, detector := template_detector, weight := weight)
            ORDER BY weight DESC, template_visit, template_detector
        ) AS template_inputs
    FROM diffim_input
    GROUP BY visit, detector
),

template_image AS (
    SELECT
        coadd.template_id,
        patch_overlap.visit,
        patch_overlap.detector,
        list(coadd.path ORDER BY coadd.patch) AS coadd_paths,
        list(coadd.sha256 ORDER BY coadd.patch) AS coadd_sha256s
    FROM coadd
    JOIN patch_overlap USING (tract, patch)
    GROUP BY coadd.template_id, patch_overlap.visit, patch_overlap.detector
)

SELECT
    s.dia_source_id,
    link.dia_object_id,
    link.tracklet_id,
    s.visit,
    s.detector,
    s.band,
    visit.instrument,
    visit.night,
    s.midpoint_mjd_tai,
    diffim.path AS diffim_path,
    diffim.sha256 AS diffim_sha256,
    diffim.convolved,
    diffim.kernel_degree,
    diffim.kernel_sigma_pix,
    diffim.kernel_order,
    diffim.kernel_size_pix,
    diffim.kernel_sum,
    diffim.n_kernel_star,
    diffim.background_order,
    diffim.leave_one_out,
    s.template_id,
    template.tract AS template_tract,
    template.version AS template_version,
    template.how AS template_how,
    template.how_value AS template_how_value,
    template.target_fwhm_pix AS template_target_fwhm_pix,
    template.run_id AS template_run_id,
    coalesce(template_part.n_template_input, 0) AS n_template_input,
    template_part.template_inputs,
    template_image.coadd_paths,
    template_image.coadd_sha256s,
    calexp.path AS calexp_path,
    calexp.sha256 AS calexp_sha256,
    calexp.psf_fwhm_pix,
    calexp.psf_fwhm_arcsec,
    calexp.psf_order,
    calexp.n_psf_star,
    calexp.wcs,
    calexp.sip_order,
    calexp.n_astrom_star,
    calexp.astrom_rms_arcsec,
    calexp.zero_point_mag,
    calexp.n_zero_point_star,
    raw.path AS raw_path,
    raw.sha256 AS raw_sha256,
    raw.size_byte AS raw_size_byte,
    raw.instrument_sha256,
    ingested.fingerprint AS ingest_fingerprint,
    ingested.run_id AS ingest_run_id,
    calibrated.fingerprint AS calibrate_fingerprint,
    calibrated.run_id AS calibrate_run_id,
    differenced.fingerprint AS difference_fingerprint,
    differenced.run_id AS difference_run_id,
    detected.fingerprint AS detect_fingerprint,
    detected.run_id AS detect_run_id,
    detected.stage_version AS detect_stage_version,
    detected.finished_at AS detected_at,
    run.versions ->> 'dbpipe' AS code_version,
    run.versions,
    run.settings,
    run.command
FROM dia_source AS s
JOIN visit USING (visit)
LEFT JOIN dia_association AS link USING (dia_source_id)
LEFT JOIN diffim ON diffim.visit = s.visit AND diffim.detector = s.detector
LEFT JOIN template ON template.template_id = s.template_id
LEFT JOIN template_part ON template_part.visit = s.visit AND template_part.detector = s.detector
LEFT JOIN template_image
    ON template_image.template_id = s.template_id
    AND template_image.visit = s.visit
    AND template_image.detector = s.detector
LEFT JOIN calexp ON calexp.visit = s.visit AND calexp.detector = s.detector
LEFT JOIN raw ON raw.visit = s.visit AND raw.detector = s.detector
LEFT JOIN unit AS ingested ON ingested.stage = 'ingest' AND ingested.unit_key = raw_key(raw.path)
LEFT JOIN unit AS calibrated
    ON calibrated.stage = 'calibrate' AND calibrated.unit_key = image_key(s.visit, s.detector)
LEFT JOIN unit AS differenced
    ON differenced.stage = 'difference' AND differenced.unit_key = image_key(s.visit, s.detector)
LEFT JOIN unit AS detected
    ON detected.stage = 'detect' AND detected.unit_key = image_key(s.visit, s.detector)
LEFT JOIN run ON run.run_id = detected.run_id;
COMMENT ON VIEW dia_source_provenance IS 'From each DIASource to its images, kernel, template, PSF, WCS, raw file, settings and code';
COMMENT ON COLUMN dia_source_provenance.dia_source_id IS '[] packed from visit, detector and running number';
COMMENT ON COLUMN dia_source_provenance.dia_object_id IS '[] object it belongs to; NULL for what is not linked';
COMMENT ON COLUMN dia_source_provenance.tracklet_id IS '[] track it belongs to; NULL for most';
COMMENT ON COLUMN dia_source_provenance.visit IS '[] observation id';
COMMENT ON COLUMN dia_source_provenance.detector IS '[] sensor';
COMMENT ON COLUMN dia_source_provenance.band IS '[] filter';
COMMENT ON COLUMN dia_source_provenance.instrument IS '[] name of the instrument''s description';
COMMENT ON COLUMN dia_source_provenance.night IS '[] local night as YYYYMMDD';
COMMENT ON COLUMN dia_source_provenance.midpoint_mjd_tai IS '[d] MJD TAI at mid-exposure';
COMMENT ON COLUMN dia_source_provenance.diffim_path IS '[] difference image, relative to the survey';
COMMENT ON COLUMN dia_source_provenance.diffim_sha256 IS '[] its hash';
COMMENT ON COLUMN dia_source_provenance.convolved IS '[] which side the matching kernel blurs';
COMMENT ON COLUMN dia_source_provenance.kernel_degree IS '[] degrees of the kernel''s polynomials';
COMMENT ON COLUMN dia_source_provenance.kernel_sigma_pix IS '[pix] widths of the kernel''s Gaussians';
COMMENT ON COLUMN dia_source_provenance.kernel_order IS '[] degree of the kernel''s variation over the image';
COMMENT ON COLUMN dia_source_provenance.kernel_size_pix IS '[pix] side of the kernel';
COMMENT ON COLUMN dia_source_provenance.kernel_sum IS '[] flux scale of the kernel';
COMMENT ON COLUMN dia_source_provenance.n_kernel_star IS '[] stars that the kernel was fitted to';
COMMENT ON COLUMN dia_source_provenance.background_order IS '[] degree of the difference in background';
COMMENT ON COLUMN dia_source_provenance.leave_one_out IS '[] the exposure''s own part was taken out of its template';
COMMENT ON COLUMN dia_source_provenance.template_id IS '[] template that was subtracted';
COMMENT ON COLUMN dia_source_provenance.template_tract IS '[] its tract';
COMMENT ON COLUMN dia_source_provenance.template_version IS '[] version of the decision for tract and band';
COMMENT ON COLUMN dia_source_provenance.template_how IS '[] how its inputs were chosen';
COMMENT ON COLUMN dia_source_provenance.template_how_value IS '[] the number or file that chose them';
COMMENT ON COLUMN dia_source_provenance.template_target_fwhm_pix IS '[pix] FWHM of its model PSF';
COMMENT ON COLUMN dia_source_provenance.template_run_id IS '[] run in which it was decided';
COMMENT ON COLUMN dia_source_provenance.n_template_input IS '[] exposures in the template of this image';
COMMENT ON COLUMN dia_source_provenance.template_inputs IS '[] their visit, detector and share, largest share first';
COMMENT ON COLUMN dia_source_provenance.coadd_paths IS '[] template images that the exposure touches';
COMMENT ON COLUMN dia_source_provenance.coadd_sha256s IS '[] their hashes, in the same order';
COMMENT ON COLUMN dia_source_provenance.calexp_path IS '[] calibrated exposure';
COMMENT ON COLUMN dia_source_provenance.calexp_sha256 IS '[] its hash';
COMMENT ON COLUMN dia_source_provenance.psf_fwhm_pix IS '[pix] half-maximum diameter of the exposure''s PSF';
COMMENT ON COLUMN dia_source_provenance.psf_fwhm_arcsec IS '[arcsec] the same';
COMMENT ON COLUMN dia_source_provenance.psf_order IS '[] degree of the PSF''s variation over the image';
COMMENT ON COLUMN dia_source_provenance.n_psf_star IS '[] stars that the PSF was made of';
COMMENT ON COLUMN dia_source_provenance.wcs IS '[] header cards of the world coordinate system';
COMMENT ON COLUMN dia_source_provenance.sip_order IS '[] degree of its distortion';
COMMENT ON COLUMN dia_source_provenance.n_astrom_star IS '[] stars that it was fitted to';
COMMENT ON COLUMN dia_source_provenance.astrom_rms_arcsec IS '[arcsec] rms distance of stars to the reference catalog, one axis';
COMMENT ON COLUMN dia_source_provenance.zero_point_mag IS '[mag] AB magnitude of one electron of PSF flux';
COMMENT ON COLUMN dia_source_provenance.n_zero_point_star IS '[] stars that it was fitted to';
COMMENT ON COLUMN dia_source_provenance.raw_path IS '[] raw file';
COMMENT ON COLUMN dia_source_provenance.raw_sha256 IS '[] its hash';
COMMENT ON COLUMN dia_source_provenance.raw_size_byte IS '[byte] its size';
COMMENT ON COLUMN dia_source_provenance.instrument_sha256 IS '[] hash of the instrument''s description';
COMMENT ON COLUMN dia_source_provenance.ingest_fingerprint IS '[] hash of all that went into taking the raw file in';
COMMENT ON COLUMN dia_source_provenance.ingest_run_id IS '[] run that did it';
COMMENT ON COLUMN dia_source_provenance.calibrate_fingerprint IS '[] hash of all that went into the calibration';
COMMENT ON COLUMN dia_source_provenance.calibrate_run_id IS '[] run that did it';
COMMENT ON COLUMN dia_source_provenance.difference_fingerprint IS '[] hash of all that went into the difference image';
COMMENT ON COLUMN dia_source_provenance.difference_run_id IS '[] run that did it';
COMMENT ON COLUMN dia_source_provenance.detect_fingerprint IS '[] hash of all that went into the detection';
COMMENT ON COLUMN dia_source_provenance.detect_run_id IS '[] run that did it';
COMMENT ON COLUMN dia_source_provenance.detect_stage_version IS '[] version of the detection''s code';
COMMENT ON COLUMN dia_source_provenance.detected_at IS '[UTC] when';
COMMENT ON COLUMN dia_source_provenance.code_version IS '[] version of dbpipe that detected it';
COMMENT ON COLUMN dia_source_provenance.versions IS '[] versions of dbpipe, Python and all packages of that run';
COMMENT ON COLUMN dia_source_provenance.settings IS '[] settings of that run';
COMMENT ON COLUMN dia_source_provenance.command IS '[] its command line';
