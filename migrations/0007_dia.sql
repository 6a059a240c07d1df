-- Sources of the difference images.
CREATE TABLE dia_source (
    dia_source_id BIGINT NOT NULL,
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    band VARCHAR NOT NULL REFERENCES band (band),
    template_id BIGINT NOT NULL,
    midpoint_mjd_tai DOUBLE NOT NULL CHECK (isfinite(midpoint_mjd_tai)),
    ra DOUBLE NOT NULL CHECK (isfinite(ra)),
    dec DOUBLE NOT NULL CHECK (isfinite(dec)),
    ra_err DOUBLE CHECK (isfinite(ra_err)),
    dec_err DOUBLE CHECK (isfinite(dec_err)),
    ra_dec_cov DOUBLE CHECK (isfinite(ra_dec_cov)),
    hpx29 BIGINT NOT NULL,
    x DOUBLE NOT NULL CHECK (isfinite(x)),
    y DOUBLE NOT NULL CHECK (isfinite(y)),
    x_err DOUBLE CHECK (isfinite(x_err)),
    y_err DOUBLE CHECK (isfinite(y_err)),
    xy_cov DOUBLE CHECK (isfinite(xy_cov)),
    is_negative BOOLEAN NOT NULL,
    score DOUBLE NOT NULL CHECK (isfinite(score)),
    snr DOUBLE NOT NULL CHECK (isfinite(snr)),
    psf_flux_njy DOUBLE CHECK (isfinite(psf_flux_njy)),
    psf_flux_err_njy DOUBLE CHECK (isfinite(psf_flux_err_njy)),
    psf_chi2 DOUBLE CHECK (isfinite(psf_chi2)),
    psf_n_pix INTEGER NOT NULL,
    aperture_flux_njy DOUBLE CHECK (isfinite(aperture_flux_njy)),
    aperture_flux_err_njy DOUBLE CHECK (isfinite(aperture_flux_err_njy)),
    science_flux_njy DOUBLE CHECK (isfinite(science_flux_njy)),
    science_flux_err_njy DOUBLE CHECK (isfinite(science_flux_err_njy)),
    template_flux_njy DOUBLE CHECK (isfinite(template_flux_njy)),
    template_flux_err_njy DOUBLE CHECK (isfinite(template_flux_err_njy)),
    ixx_arcsec2 DOUBLE CHECK (isfinite(ixx_arcsec2)),
    iyy_arcsec2 DOUBLE CHECK (isfinite(iyy_arcsec2)),
    ixy_arcsec2 DOUBLE CHECK (isfinite(ixy_arcsec2)),
    dipole_flux_njy DOUBLE CHECK (isfinite(dipole_flux_njy)),
    dipole_separation_arcsec DOUBLE CHECK (isfinite(dipole_separation_arcsec)),
    dipole_angle_deg DOUBLE CHECK (isfinite(dipole_angle_deg)),
    dipole_chi2 DOUBLE CHECK (isfinite(dipole_chi2)),
    is_primary BOOLEAN NOT NULL,
    flag_edge BOOLEAN NOT NULL,
    flag_saturated BOOLEAN NOT NULL,
    flag_near_saturated BOOLEAN NOT NULL,
    flag_bad BOOLEAN NOT NULL,
    flag_cosmic_ray BOOLEAN NOT NULL,
    flag_no_template BOOLEAN NOT NULL,
    flag_template_rejected BOOLEAN NOT NULL,
    flag_dipole BOOLEAN NOT NULL,
    flag_fit_failed BOOLEAN NOT NULL,
    flag_shape BOOLEAN NOT NULL,
    flag_bright_star BOOLEAN NOT NULL
);
COMMENT ON TABLE dia_source IS 'Detections on difference images, one row each, both signs, score 4 and more';
COMMENT ON COLUMN dia_source.dia_source_id IS '[] packed from visit, detector and running number';
COMMENT ON COLUMN dia_source.visit IS '[] observation id';
COMMENT ON COLUMN dia_source.detector IS '[] sensor';
COMMENT ON COLUMN dia_source.band IS '[] filter';
COMMENT ON COLUMN dia_source.template_id IS '[] template that was subtracted';
COMMENT ON COLUMN dia_source.midpoint_mjd_tai IS '[d] MJD TAI at mid-exposure';
COMMENT ON COLUMN dia_source.ra IS '[deg] ICRS right ascension';
COMMENT ON COLUMN dia_source.dec IS '[deg] ICRS declination';
COMMENT ON COLUMN dia_source.ra_err IS '[deg] standard error of ra cos(dec)';
COMMENT ON COLUMN dia_source.dec_err IS '[deg] standard error of dec';
COMMENT ON COLUMN dia_source.ra_dec_cov IS '[deg2] covariance of ra cos(dec) and dec';
COMMENT ON COLUMN dia_source.hpx29 IS '[] HEALPix index, nested, order 29';
COMMENT ON COLUMN dia_source.x IS '[pix] centroid, first pixel centre is 0';
COMMENT ON COLUMN dia_source.y IS '[pix] centroid, first pixel centre is 0';
COMMENT ON COLUMN dia_source.x_err IS '[pix] standard error of x';
COMMENT ON COLUMN dia_source.y_err IS '[pix] standard error of y';
COMMENT ON COLUMN dia_source.xy_cov IS '[pix2] covariance of x and y';
COMMENT ON COLUMN dia_source.is_negative IS '[] fainter than in the template';
COMMENT ON COLUMN dia_source.score IS '[] signed signal to noise: of the matched filter at the peak, or of the joint fit beside a neighbour';
COMMENT ON COLUMN dia_source.snr IS '[] |psf_flux| over its error';
COMMENT ON COLUMN dia_source.psf_flux_njy IS '[nJy] PSF flux on the difference';
COMMENT ON COLUMN dia_source.psf_flux_err_njy IS '[nJy] its standard error';
COMMENT ON COLUMN dia_source.psf_chi2 IS '[] chi2 of the PSF fit';
COMMENT ON COLUMN dia_source.psf_n_pix IS '[pix] pixels in the PSF fit';
COMMENT ON COLUMN dia_source.aperture_flux_njy IS '[nJy] aperture flux on the difference, aperture corrected';
COMMENT ON COLUMN dia_source.aperture_flux_err_njy IS '[nJy] its standard error';
COMMENT ON COLUMN dia_source.science_flux_njy IS '[nJy] forced PSF flux on the science image';
COMMENT ON COLUMN dia_source.science_flux_err_njy IS '[nJy] its standard error';
COMMENT ON COLUMN dia_source.template_flux_njy IS '[nJy] forced PSF flux on the matched template';
COMMENT ON COLUMN dia_source.template_flux_err_njy IS '[nJy] its standard error';
COMMENT ON COLUMN dia_source.ixx_arcsec2 IS '[arcsec2] second moment';
COMMENT ON COLUMN dia_source.iyy_arcsec2 IS '[arcsec2] second moment';
COMMENT ON COLUMN dia_source.ixy_arcsec2 IS '[arcsec2] second moment';
COMMENT ON COLUMN dia_source.dipole_flux_njy IS '[nJy] mean absolute flux of the two lobes';
COMMENT ON COLUMN dia_source.dipole_separation_arcsec IS '[arcsec] distance of the two lobes';
COMMENT ON COLUMN dia_source.dipole_angle_deg IS '[deg] direction from negative to positive lobe, from x towards y';
COMMENT ON COLUMN dia_source.dipole_chi2 IS '[] chi2 of the dipole model over the same pixels';
COMMENT ON COLUMN dia_source.is_primary IS '[] |score| is 5 or more';
COMMENT ON COLUMN dia_source.flag_edge IS '[] within the PSF stamp of the edge';
COMMENT ON COLUMN dia_source.flag_saturated IS '[] on a saturated pixel or bleed of science or template';
COMMENT ON COLUMN dia_source.flag_near_saturated IS '[] in the halo of a saturated star';
COMMENT ON COLUMN dia_source.flag_bad IS '[] on an unusable pixel';
COMMENT ON COLUMN dia_source.flag_cosmic_ray IS '[] on a pixel hit by a cosmic ray';
COMMENT ON COLUMN dia_source.flag_no_template IS '[] part of its PSF has no template';
COMMENT ON COLUMN dia_source.flag_template_rejected IS '[] on a pixel where template inputs were rejected';
COMMENT ON COLUMN dia_source.flag_dipole IS '[] the dipole model fits better than a single source';
COMMENT ON COLUMN dia_source.flag_fit_failed IS '[] the PSF fit did not converge';
COMMENT ON COLUMN dia_source.flag_shape IS '[] moments or goodness of fit unlike a point source';
COMMENT ON COLUMN dia_source.flag_bright_star IS '[] residual of a bright star: the difference is a small part of the science flux';
