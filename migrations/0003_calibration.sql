-- The reference catalogue and what calibration measured.
CREATE TABLE reference_star (
    reference_id BIGINT PRIMARY KEY,
    original_id VARCHAR NOT NULL,
    ra DOUBLE NOT NULL CHECK (isfinite(ra)),
    dec DOUBLE NOT NULL CHECK (isfinite(dec)),
    epoch_mjd_tai DOUBLE CHECK (isfinite(epoch_mjd_tai)),
    pm_ra_mas_per_yr DOUBLE CHECK (isfinite(pm_ra_mas_per_yr)),
    pm_dec_mas_per_yr DOUBLE CHECK (isfinite(pm_dec_mas_per_yr)),
    hpx29 BIGINT NOT NULL
);
COMMENT ON TABLE reference_star IS 'Reference catalogue: positions';
COMMENT ON COLUMN reference_star.reference_id IS '[] running number in the order of the file';
COMMENT ON COLUMN reference_star.original_id IS '[] id as the catalogue gives it';
COMMENT ON COLUMN reference_star.ra IS '[deg] ICRS right ascension at epoch';
COMMENT ON COLUMN reference_star.dec IS '[deg] ICRS declination at epoch';
COMMENT ON COLUMN reference_star.epoch_mjd_tai IS '[d] MJD TAI of the position; NULL if unknown';
COMMENT ON COLUMN reference_star.pm_ra_mas_per_yr IS '[mas/yr] proper motion in right ascension times cos(dec); NULL if unknown';
COMMENT ON COLUMN reference_star.pm_dec_mas_per_yr IS '[mas/yr] proper motion in declination; NULL if unknown';
COMMENT ON COLUMN reference_star.hpx29 IS '[] HEALPix index, nested, order 29';

CREATE TABLE reference_magnitude (
    reference_id BIGINT NOT NULL,
    band VARCHAR NOT NULL,
    magnitude_ab DOUBLE NOT NULL CHECK (isfinite(magnitude_ab)),
    magnitude_err DOUBLE CHECK (isfinite(magnitude_err))
);
COMMENT ON TABLE reference_magnitude IS 'Reference catalogue: magnitudes, one row per star and band';
COMMENT ON COLUMN reference_magnitude.reference_id IS '[] star';
COMMENT ON COLUMN reference_magnitude.band IS '[] filter';
COMMENT ON COLUMN reference_magnitude.magnitude_ab IS '[mag] magnitude';
COMMENT ON COLUMN reference_magnitude.magnitude_err IS '[mag] its error; NULL if unknown';

CREATE TABLE calexp (
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    path VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    nx INTEGER NOT NULL,
    ny INTEGER NOT NULL,
    wcs VARCHAR NOT NULL,
    ra DOUBLE NOT NULL CHECK (isfinite(ra)),
    dec DOUBLE NOT NULL CHECK (isfinite(dec)),
    corner_ra DOUBLE[4] NOT NULL,
    corner_dec DOUBLE[4] NOT NULL,
    pixel_scale_arcsec DOUBLE NOT NULL CHECK (isfinite(pixel_scale_arcsec)),
    psf_fwhm_pix DOUBLE NOT NULL CHECK (isfinite(psf_fwhm_pix)),
    psf_fwhm_arcsec DOUBLE NOT NULL CHECK (isfinite(psf_fwhm_arcsec)),
    psf_fwhm_det_pix DOUBLE NOT NULL CHECK (isfinite(psf_fwhm_det_pix)),
    psf_e1 DOUBLE NOT NULL CHECK (isfinite(psf_e1)),
    psf_e2 DOUBLE NOT NULL CHECK (isfinite(psf_e2)),
    psf_effective_area_pix DOUBLE NOT NULL CHECK (isfinite(psf_effective_area_pix)),
    psf_order INTEGER NOT NULL,
    n_psf_star INTEGER NOT NULL,
    sky_e DOUBLE NOT NULL CHECK (isfinite(sky_e)),
    sky_noise_e DOUBLE NOT NULL CHECK (isfinite(sky_noise_e)),
    aperture_radius_pix DOUBLE NOT NULL CHECK (isfinite(aperture_radius_pix)),
    aperture_correction DOUBLE NOT NULL CHECK (isfinite(aperture_correction)),
    njy_per_e DOUBLE NOT NULL CHECK (isfinite(njy_per_e)),
    njy_per_e_err DOUBLE NOT NULL CHECK (isfinite(njy_per_e_err)),
    zero_point_mag DOUBLE NOT NULL CHECK (isfinite(zero_point_mag)),
    zero_point_scatter_mag DOUBLE NOT NULL CHECK (isfinite(zero_point_scatter_mag)),
    n_zero_point_star INTEGER NOT NULL,
    depth_5sigma_mag DOUBLE NOT NULL CHECK (isfinite(depth_5sigma_mag)),
    astrom_rms_arcsec DOUBLE NOT NULL CHECK (isfinite(astrom_rms_arcsec)),
    n_astrom_star INTEGER NOT NULL,
    sip_order INTEGER NOT NULL,
    wcs_offset_arcsec DOUBLE NOT NULL CHECK (isfinite(wcs_offset_arcsec)),
    wcs_rotation_deg DOUBLE NOT NULL CHECK (isfinite(wcs_rotation_deg)),
    n_source INTEGER NOT NULL,
    fraction_masked DOUBLE NOT NULL CHECK (isfinite(fraction_masked)),
    n_cosmic_ray_pix BIGINT NOT NULL,
    n_saturated_pix BIGINT NOT NULL
);
COMMENT ON TABLE calexp IS 'Calibrated exposures: one row per visit and detector';
COMMENT ON COLUMN calexp.visit IS '[] observation id';
COMMENT ON COLUMN calexp.detector IS '[] sensor';
COMMENT ON COLUMN calexp.path IS '[] calibrated image, relative to the survey';
COMMENT ON COLUMN calexp.sha256 IS '[] hash of the image file';
COMMENT ON COLUMN calexp.nx IS '[pix] width';
COMMENT ON COLUMN calexp.ny IS '[pix] height';
COMMENT ON COLUMN calexp.wcs IS '[] fitted TAN-SIP WCS as FITS header text';
COMMENT ON COLUMN calexp.ra IS '[deg] ICRS right ascension of the centre';
COMMENT ON COLUMN calexp.dec IS '[deg] ICRS declination of the centre';
COMMENT ON COLUMN calexp.corner_ra IS '[deg] right ascension of the corners (0,0) (nx,0) (nx,ny) (0,ny)';
COMMENT ON COLUMN calexp.corner_dec IS '[deg] declination of the corners';
COMMENT ON COLUMN calexp.pixel_scale_arcsec IS '[arcsec] pixel size at the centre';
COMMENT ON COLUMN calexp.psf_fwhm_pix IS '[pix] half-maximum diameter of the PSF model at the centre, native pixels';
COMMENT ON COLUMN calexp.psf_fwhm_arcsec IS '[arcsec] the same';
COMMENT ON COLUMN calexp.psf_fwhm_det_pix IS '[pix] 2.355 x determinant radius of the PSF model: the measure of the recipe''s cut';
COMMENT ON COLUMN calexp.psf_e1 IS '[] (Ixx - Iyy) / (Ixx + Iyy) of the PSF, weighted moments';
COMMENT ON COLUMN calexp.psf_e2 IS '[] 2 Ixy / (Ixx + Iyy) of the PSF, weighted moments';
COMMENT ON COLUMN calexp.psf_effective_area_pix IS '[pix] (sum P)^2 / sum P^2 of the PSF: pixels of sky noise in a PSF flux';
COMMENT ON COLUMN calexp.psf_order IS '[] degree of the spatial variation of the PSF model';
COMMENT ON COLUMN calexp.n_psf_star IS '[] stars that made the PSF model';
COMMENT ON COLUMN calexp.sky_e IS '[electron] median background';
COMMENT ON COLUMN calexp.sky_noise_e IS '[electron] robust standard deviation of blank sky pixels';
COMMENT ON COLUMN calexp.aperture_radius_pix IS '[pix] radius of the aperture flux';
COMMENT ON COLUMN calexp.aperture_correction IS '[] PSF flux over aperture flux of bright stars';
COMMENT ON COLUMN calexp.njy_per_e IS '[nJy/electron] photometric calibration';
COMMENT ON COLUMN calexp.njy_per_e_err IS '[nJy/electron] its standard error';
COMMENT ON COLUMN calexp.zero_point_mag IS '[mag] AB magnitude of one electron in the exposure';
COMMENT ON COLUMN calexp.zero_point_scatter_mag IS '[mag] robust scatter of single stars about it';
COMMENT ON COLUMN calexp.n_zero_point_star IS '[] stars kept in the zero point';
COMMENT ON COLUMN calexp.depth_5sigma_mag IS '[mag] magnitude of a point source at S/N 5 on blank sky';
COMMENT ON COLUMN calexp.astrom_rms_arcsec IS '[arcsec] rms distance of stars to the reference catalogue, one axis';
COMMENT ON COLUMN calexp.n_astrom_star IS '[] stars kept in the WCS fit';
COMMENT ON COLUMN calexp.sip_order IS '[] degree of the SIP distortion';
COMMENT ON COLUMN calexp.wcs_offset_arcsec IS '[arcsec] how far the header WCS was off at the centre';
COMMENT ON COLUMN calexp.wcs_rotation_deg IS '[deg] how far the header WCS was rotated';
COMMENT ON COLUMN calexp.n_source IS '[] sources detected';
COMMENT ON COLUMN calexp.fraction_masked IS '[] fraction of pixels that cannot be used';
COMMENT ON COLUMN calexp.n_cosmic_ray_pix IS '[pix] pixels hit by cosmic rays';
COMMENT ON COLUMN calexp.n_saturated_pix IS '[pix] saturated pixels, bleeds included';

CREATE TABLE source (
    source_id BIGINT NOT NULL,
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    x DOUBLE NOT NULL CHECK (isfinite(x)),
    y DOUBLE NOT NULL CHECK (isfinite(y)),
    x_err DOUBLE CHECK (isfinite(x_err)),
    y_err DOUBLE CHECK (isfinite(y_err)),
    ra DOUBLE NOT NULL CHECK (isfinite(ra)),
    dec DOUBLE NOT NULL CHECK (isfinite(dec)),
    hpx29 BIGINT NOT NULL,
    psf_flux_njy DOUBLE CHECK (isfinite(psf_flux_njy)),
    psf_flux_err_njy DOUBLE CHECK (isfinite(psf_flux_err_njy)),
    aperture_flux_njy DOUBLE CHECK (isfinite(aperture_flux_njy)),
    aperture_flux_err_njy DOUBLE CHECK (isfinite(aperture_flux_err_njy)),
    ixx_pix2 DOUBLE CHECK (isfinite(ixx_pix2)),
    iyy_pix2 DOUBLE CHECK (isfinite(iyy_pix2)),
    ixy_pix2 DOUBLE CHECK (isfinite(ixy_pix2)),
    is_star BOOLEAN NOT NULL,
    is_psf_star BOOLEAN NOT NULL,
    is_saturated BOOLEAN NOT NULL,
    is_edge BOOLEAN NOT NULL,
    is_blended BOOLEAN NOT NULL,
    is_bad BOOLEAN NOT NULL,
    reference_id BIGINT
);
COMMENT ON TABLE source IS 'Sources of the single calibrated exposures';
COMMENT ON COLUMN source.source_id IS '[] packed from visit, detector and running number';
COMMENT ON COLUMN source.visit IS '[] observation id';
COMMENT ON COLUMN source.detector IS '[] sensor';
COMMENT ON COLUMN source.x IS '[pix] windowed centroid, first pixel centre is 0';
COMMENT ON COLUMN source.y IS '[pix] windowed centroid, first pixel centre is 0';
COMMENT ON COLUMN source.x_err IS '[pix] standard error of x';
COMMENT ON COLUMN source.y_err IS '[pix] standard error of y';
COMMENT ON COLUMN source.ra IS '[deg] ICRS right ascension';
COMMENT ON COLUMN source.dec IS '[deg] ICRS declination';
COMMENT ON COLUMN source.hpx29 IS '[] HEALPix index, nested, order 29';
COMMENT ON COLUMN source.psf_flux_njy IS '[nJy] PSF flux';
COMMENT ON COLUMN source.psf_flux_err_njy IS '[nJy] its standard error';
COMMENT ON COLUMN source.aperture_flux_njy IS '[nJy] aperture flux times the aperture correction';
COMMENT ON COLUMN source.aperture_flux_err_njy IS '[nJy] its standard error';
COMMENT ON COLUMN source.ixx_pix2 IS '[pix2] second moment';
COMMENT ON COLUMN source.iyy_pix2 IS '[pix2] second moment';
COMMENT ON COLUMN source.ixy_pix2 IS '[pix2] second moment';
COMMENT ON COLUMN source.is_star IS '[] its size is that of the PSF';
COMMENT ON COLUMN source.is_psf_star IS '[] it helped to make the PSF model';
COMMENT ON COLUMN source.is_saturated IS '[] touches a saturated pixel';
COMMENT ON COLUMN source.is_edge IS '[] its stamp leaves the image';
COMMENT ON COLUMN source.is_blended IS '[] deblended or with a close neighbour';
COMMENT ON COLUMN source.is_bad IS '[] touches another unusable pixel';
COMMENT ON COLUMN source.reference_id IS '[] matched reference star; NULL if none';
