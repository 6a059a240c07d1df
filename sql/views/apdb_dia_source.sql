-- DIASources under the names and units of LSST's alert production database; columns that dbpipe does not measure are absent.
CREATE OR REPLACE VIEW DiaSource AS
SELECT
    CAST(s.dia_source_id AS BIGINT) AS diaSourceId,
    CAST(s.visit AS BIGINT) AS visit,
    CAST(s.detector AS SMALLINT) AS detector,
    CAST(link.dia_object_id AS BIGINT) AS diaObjectId,
    CAST(s.midpoint_mjd_tai AS DOUBLE) AS midpointMjdTai,
    CAST(v.exposure_s AS FLOAT) AS exposureTime,
    CAST(s.ra AS DOUBLE) AS ra,
    CAST(s.ra_err AS FLOAT) AS raErr,
    CAST(s.dec AS DOUBLE) AS dec,
    CAST(s.dec_err AS FLOAT) AS decErr,
    CAST(s.ra_dec_cov AS FLOAT) AS ra_dec_Cov,
    CAST(s.x AS FLOAT) AS x,
    CAST(s.x_err AS FLOAT) AS xErr,
    CAST(s.y AS FLOAT) AS y,
    CAST(s.y_err AS FLOAT) AS yErr,
    CAST(s.flag_fit_failed AS BOOLEAN) AS centroid_flag,
    CAST(s.aperture_flux_njy AS FLOAT) AS apFlux,
    CAST(s.aperture_flux_err_njy AS FLOAT) AS apFluxErr,
    CAST(s.aperture_flux_njy IS NULL AS BOOLEAN) AS apFlux_flag,
    CAST(s.is_negative AS BOOLEAN) AS isNegative,
    CAST(s.snr AS FLOAT) AS snr,
    CAST(s.psf_flux_njy AS FLOAT) AS psfFlux,
    CAST(s.psf_flux_err_njy AS FLOAT) AS psfFluxErr,
    CAST(s.psf_chi2 AS FLOAT) AS psfChi2,
    CAST(s.psf_n_pix AS INTEGER) AS psfNdata,
    CAST(s.flag_fit_failed AS BOOLEAN) AS psfFlux_flag,
    CAST(s.flag_edge AS BOOLEAN) AS psfFlux_flag_edge,
    CAST(s.psf_n_pix = 0 AS BOOLEAN) AS psfFlux_flag_noGoodPixels,
    CAST(s.dipole_flux_njy AS FLOAT) AS dipoleMeanFlux,
    CAST(s.dipole_separation_arcsec AS FLOAT) AS dipoleLength,
    CAST(s.dipole_angle_deg AS FLOAT) AS dipoleAngle,
    CAST(s.dipole_chi2 AS FLOAT) AS dipoleChi2,
    CAST(s.psf_n_pix AS INTEGER) AS dipoleNdata,
    CAST(s.trail_flux_njy AS FLOAT) AS trailFlux,
    CAST(s.trail_flux_err_njy AS FLOAT) AS trailFluxErr,
    CAST(s.trail_length_arcsec AS FLOAT) AS trailLength,
    CAST(s.trail_length_err_arcsec AS FLOAT) AS trailLengthErr,
    CAST(s.trail_angle_deg AS FLOAT) AS trailAngle,
    CAST(s.trail_chi2 AS FLOAT) AS trailChi2,
    CAST(s.trail_n_pix AS INTEGER) AS trailNdata,
    CAST(s.science_flux_njy AS FLOAT) AS scienceFlux,
    CAST(s.science_flux_err_njy AS FLOAT) AS scienceFluxErr,
    CAST(s.template_flux_njy AS FLOAT) AS templateFlux,
    CAST(s.template_flux_err_njy AS FLOAT) AS templateFluxErr,
    CAST(s.ixx_arcsec2 AS FLOAT) AS ixx,
    CAST(s.iyy_arcsec2 AS FLOAT) AS iyy,
    CAST(s.ixy_arcsec2 AS FLOAT) AS ixy,
    CAST(s.ixx_arcsec2 IS NULL AS BOOLEAN) AS shape_flag,
    CAST(s.band AS VARCHAR) AS band,
    CAST(s.flag_dipole AS BOOLEAN) AS isDipole,
    CAST(s.dipole_chi2 IS NOT NULL AS BOOLEAN) AS dipoleFitAttempted,
    CAST(s.flag_bad AS BOOLEAN) AS pixelFlags_bad,
    CAST(s.flag_cosmic_ray AS BOOLEAN) AS pixelFlags_cr,
    CAST(s.flag_edge AS BOOLEAN) AS pixelFlags_edge,
    CAST(s.flag_no_template AS BOOLEAN) AS pixelFlags_nodata,
    CAST(s.flag_saturated AS BOOLEAN) AS pixelFlags_saturated,
    CAST(s.flag_near_saturated AS BOOLEAN) AS pixelFlags_suspect,
    CAST(s.flag_streak AS BOOLEAN) AS pixelFlags_streak
FROM dia_source AS s
JOIN visit AS v USING (visit)
LEFT JOIN dia_association AS link USING (dia_source_id);
COMMENT ON VIEW DiaSource IS 'DIASources with APDB names: one row per detection on a difference image';
COMMENT ON COLUMN DiaSource.diaSourceId IS '[] packed from visit, detector and running number';
COMMENT ON COLUMN DiaSource.visit IS '[] observation id';
COMMENT ON COLUMN DiaSource.detector IS '[] sensor';
COMMENT ON COLUMN DiaSource.diaObjectId IS '[] object it belongs to; NULL for what is not linked: flagged, or part of a track';
COMMENT ON COLUMN DiaSource.midpointMjdTai IS '[d] MJD TAI at mid-exposure';
COMMENT ON COLUMN DiaSource.exposureTime IS '[s] exposure time';
COMMENT ON COLUMN DiaSource.ra IS '[deg] ICRS right ascension';
COMMENT ON COLUMN DiaSource.raErr IS '[deg] standard error of ra cos(dec)';
COMMENT ON COLUMN DiaSource.dec IS '[deg] ICRS declination';
COMMENT ON COLUMN DiaSource.decErr IS '[deg] standard error of dec';
COMMENT ON COLUMN DiaSource.ra_dec_Cov IS '[deg**2] covariance of ra cos(dec) and dec';
COMMENT ON COLUMN DiaSource.x IS '[pixel] centroid, first pixel center is 0';
COMMENT ON COLUMN DiaSource.xErr IS '[pixel] standard error of x';
COMMENT ON COLUMN DiaSource.y IS '[pixel] centroid, first pixel center is 0';
COMMENT ON COLUMN DiaSource.yErr IS '[pixel] standard error of y';
COMMENT ON COLUMN DiaSource.centroid_flag IS '[] the position is that of the peak: the PSF fit did not converge';
COMMENT ON COLUMN DiaSource.apFlux IS '[nJy] aperture flux on the difference, aperture corrected';
COMMENT ON COLUMN DiaSource.apFluxErr IS '[nJy] standard error of apFlux';
COMMENT ON COLUMN DiaSource.apFlux_flag IS '[] there is no aperture flux';
COMMENT ON COLUMN DiaSource.isNegative IS '[] fainter than in the template';
COMMENT ON COLUMN DiaSource.snr IS '[] |psfFlux| over psfFluxErr';
COMMENT ON COLUMN DiaSource.psfFlux IS '[nJy] PSF flux on the difference';
COMMENT ON COLUMN DiaSource.psfFluxErr IS '[nJy] standard error of psfFlux';
COMMENT ON COLUMN DiaSource.psfChi2 IS '[] chi2 of the PSF fit';
COMMENT ON COLUMN DiaSource.psfNdata IS '[] pixels in the PSF fit';
COMMENT ON COLUMN DiaSource.psfFlux_flag IS '[] the PSF fit did not converge';
COMMENT ON COLUMN DiaSource.psfFlux_flag_edge IS '[] part of the fit is beyond the edge';
COMMENT ON COLUMN DiaSource.psfFlux_flag_noGoodPixels IS '[] the fit had no pixel';
COMMENT ON COLUMN DiaSource.dipoleMeanFlux IS '[nJy] mean absolute flux of the two lobes';
COMMENT ON COLUMN DiaSource.dipoleLength IS '[arcsec] distance of the two lobes';
COMMENT ON COLUMN DiaSource.dipoleAngle IS '[deg] direction from negative to positive lobe, from x toward y';
COMMENT ON COLUMN DiaSource.dipoleChi2 IS '[] chi2 of the dipole fit';
COMMENT ON COLUMN DiaSource.dipoleNdata IS '[] pixels in the dipole fit';
COMMENT ON COLUMN DiaSource.trailFlux IS '[nJy] flux of the trail on the difference';
COMMENT ON COLUMN DiaSource.trailFluxErr IS '[nJy] standard error of trailFlux';
COMMENT ON COLUMN DiaSource.trailLength IS '[arcsec] length of the trail';
COMMENT ON COLUMN DiaSource.trailLengthErr IS '[arcsec] standard error of trailLength';
COMMENT ON COLUMN DiaSource.trailAngle IS '[deg] direction of the trail, from x toward y';
COMMENT ON COLUMN DiaSource.trailChi2 IS '[] chi2 of the trail fit';
COMMENT ON COLUMN DiaSource.trailNdata IS '[] pixels in the trail fit';
COMMENT ON COLUMN DiaSource.scienceFlux IS '[nJy] forced PSF flux on the science image';
COMMENT ON COLUMN DiaSource.scienceFluxErr IS '[nJy] standard error of scienceFlux';
COMMENT ON COLUMN DiaSource.templateFlux IS '[nJy] forced PSF flux on the matched template';
COMMENT ON COLUMN DiaSource.templateFluxErr IS '[nJy] standard error of templateFlux';
COMMENT ON COLUMN DiaSource.ixx IS '[arcsec**2] adaptive second moment along pixel axes';
COMMENT ON COLUMN DiaSource.iyy IS '[arcsec**2] adaptive second moment along pixel axes';
COMMENT ON COLUMN DiaSource.ixy IS '[arcsec**2] adaptive second moment along pixel axes';
COMMENT ON COLUMN DiaSource.shape_flag IS '[] there are no second moments';
COMMENT ON COLUMN DiaSource.band IS '[] filter';
COMMENT ON COLUMN DiaSource.isDipole IS '[] the dipole model fits better than a single source';
COMMENT ON COLUMN DiaSource.dipoleFitAttempted IS '[] a dipole was fitted';
COMMENT ON COLUMN DiaSource.pixelFlags_bad IS '[] on an unusable pixel';
COMMENT ON COLUMN DiaSource.pixelFlags_cr IS '[] on a pixel hit by a cosmic ray';
COMMENT ON COLUMN DiaSource.pixelFlags_edge IS '[] within the PSF stamp of the edge';
COMMENT ON COLUMN DiaSource.pixelFlags_nodata IS '[] part of its PSF has no data';
COMMENT ON COLUMN DiaSource.pixelFlags_saturated IS '[] on a saturated pixel or bleed of science or template';
COMMENT ON COLUMN DiaSource.pixelFlags_suspect IS '[] in the halo of a saturated star';
COMMENT ON COLUMN DiaSource.pixelFlags_streak IS '[] on a satellite''s streak';
