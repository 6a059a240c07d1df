-- How good each visit is: means over its detectors.
CREATE OR REPLACE VIEW visit_quality AS
SELECT
    visit.visit,
    any_value(visit.band) AS band,
    any_value(visit.midpoint_mjd_tai) AS midpoint_mjd_tai,
    count(*) AS n_detector,
    avg(calexp.psf_fwhm_pix) AS seeing_fwhm_px,
    avg(calexp.psf_fwhm_arcsec) AS seeing_fwhm_arcsec,
    avg(calexp.zero_point_mag + 2.5 * log10(coalesce(calexp_residual.total_flux_ratio, 1))) AS zero_point,
    avg(calexp.zero_point_mag) AS psf_zero_point,
    avg(calexp_residual.total_flux_ratio_err) AS total_flux_ratio_err,
    avg(calexp.depth_5sigma_mag) AS depth_5sigma_mag,
    sqrt(avg(calexp.astrom_rms_arcsec * calexp.astrom_rms_arcsec)) AS astrom_rms_arcsec,
    avg(calexp.sky_e) AS sky_e,
    avg(sqrt(calexp.psf_e1 ** 2 + calexp.psf_e2 ** 2)) AS psf_ellipticity
FROM visit
JOIN calexp USING (visit)
LEFT JOIN calexp_residual USING (visit, detector)
GROUP BY visit.visit;
COMMENT ON VIEW visit_quality IS 'Seeing, zero point and astrometry of each calibrated visit';
COMMENT ON COLUMN visit_quality.visit IS '[] observation id';
COMMENT ON COLUMN visit_quality.band IS '[] filter';
COMMENT ON COLUMN visit_quality.midpoint_mjd_tai IS '[d] MJD TAI at mid-exposure';
COMMENT ON COLUMN visit_quality.n_detector IS '[] detectors calibrated';
COMMENT ON COLUMN visit_quality.seeing_fwhm_px IS '[pix] half-maximum diameter of the PSF, native pixels';
COMMENT ON COLUMN visit_quality.seeing_fwhm_arcsec IS '[arcsec] the same';
COMMENT ON COLUMN visit_quality.zero_point IS '[mag] AB magnitude of one electron in the exposure: for the total light of a source; equal to psf_zero_point where that is not known';
COMMENT ON COLUMN visit_quality.psf_zero_point IS '[mag] AB magnitude of one electron of PSF flux, which leaves out what the PSF image does not hold';
COMMENT ON COLUMN visit_quality.total_flux_ratio_err IS '[] standard error of the ratio between the two; NULL where not measured';
COMMENT ON COLUMN visit_quality.depth_5sigma_mag IS '[mag] magnitude of a point source at S/N 5 on blank sky';
COMMENT ON COLUMN visit_quality.astrom_rms_arcsec IS '[arcsec] rms distance of stars to the reference catalog, one axis';
COMMENT ON COLUMN visit_quality.sky_e IS '[electron] median background';
COMMENT ON COLUMN visit_quality.psf_ellipticity IS '[] (e1^2 + e2^2)^(1/2) of the PSF, weighted moments';
