-- What the stars of an exposure show beyond its calibration.
CREATE TABLE calexp_residual (
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    astrom_held_out_rms_arcsec DOUBLE NOT NULL CHECK (isfinite(astrom_held_out_rms_arcsec)),
    total_flux_ratio DOUBLE CHECK (isfinite(total_flux_ratio)),
    total_flux_ratio_err DOUBLE CHECK (isfinite(total_flux_ratio_err)),
    n_total_flux_star INTEGER NOT NULL,
    colour_blue VARCHAR,
    colour_red VARCHAR,
    reference_colour_mag DOUBLE CHECK (isfinite(reference_colour_mag)),
    colour_term DOUBLE CHECK (isfinite(colour_term)),
    colour_term_err DOUBLE CHECK (isfinite(colour_term_err)),
    colour_term_is_applied BOOLEAN NOT NULL,
    scatter_before_colour_mag DOUBLE CHECK (isfinite(scatter_before_colour_mag)),
    scatter_after_colour_mag DOUBLE CHECK (isfinite(scatter_after_colour_mag)),
    n_colour_star INTEGER NOT NULL,
    refraction_mas_per_mag DOUBLE CHECK (isfinite(refraction_mas_per_mag)),
    refraction_err_mas_per_mag DOUBLE CHECK (isfinite(refraction_err_mas_per_mag)),
    across_mas_per_mag DOUBLE CHECK (isfinite(across_mas_per_mag)),
    across_err_mas_per_mag DOUBLE CHECK (isfinite(across_err_mas_per_mag)),
    n_refraction_star INTEGER NOT NULL,
    aperture_offset_mag DOUBLE CHECK (isfinite(aperture_offset_mag)),
    aperture_slope_mag DOUBLE CHECK (isfinite(aperture_slope_mag)),
    aperture_slope_err_mag DOUBLE CHECK (isfinite(aperture_slope_err_mag)),
    aperture_mag_per_mag DOUBLE CHECK (isfinite(aperture_mag_per_mag)),
    aperture_mag_per_mag_err DOUBLE CHECK (isfinite(aperture_mag_per_mag_err)),
    aperture_scatter_mag DOUBLE CHECK (isfinite(aperture_scatter_mag)),
    n_aperture_star INTEGER NOT NULL
);
COMMENT ON TABLE calexp_residual IS 'What the stars of calibrated exposures show beyond the calibration: one row per visit and detector';
COMMENT ON COLUMN calexp_residual.visit IS '[] observation id';
COMMENT ON COLUMN calexp_residual.detector IS '[] sensor';
COMMENT ON COLUMN calexp_residual.astrom_held_out_rms_arcsec IS '[arcsec] rms distance to the reference catalogue of stars left out of the fit of the WCS, one axis; the degree of the distortion is the one with the least chi2 of these';
COMMENT ON COLUMN calexp_residual.total_flux_ratio IS '[] total light of a star over its PSF flux in electrons: what the PSF image does not hold; NULL where the stars do not tell it to 0.4%';
COMMENT ON COLUMN calexp_residual.total_flux_ratio_err IS '[] its standard error; NULL where the ratio is';
COMMENT ON COLUMN calexp_residual.n_total_flux_star IS '[] stars that made it';
COMMENT ON COLUMN calexp_residual.colour_blue IS '[] first band of the colour of reference stars; NULL if the catalogue has no second band of the system';
COMMENT ON COLUMN calexp_residual.colour_red IS '[] second band of the colour';
COMMENT ON COLUMN calexp_residual.reference_colour_mag IS '[mag] colour of a star for which the zero point holds; NULL if no colour term was fitted';
COMMENT ON COLUMN calexp_residual.colour_term IS '[mag/mag] change of the zero point with the colour of the star; NULL if not fitted';
COMMENT ON COLUMN calexp_residual.colour_term_err IS '[mag/mag] its standard error from the stars';
COMMENT ON COLUMN calexp_residual.colour_term_is_applied IS '[] the zero point takes it into account: it was given, or is beyond 3 standard errors over colours of 0.5 mag at least';
COMMENT ON COLUMN calexp_residual.scatter_before_colour_mag IS '[mag] robust scatter of stars about the zero point without the colour term';
COMMENT ON COLUMN calexp_residual.scatter_after_colour_mag IS '[mag] the same with it';
COMMENT ON COLUMN calexp_residual.n_colour_star IS '[] stars that made the colour term';
COMMENT ON COLUMN calexp_residual.refraction_mas_per_mag IS '[mas/mag] displacement of stars towards the zenith by colour, measured minus catalogue: negative where blue light is refracted more; NULL if the colour or the direction of the zenith is not known';
COMMENT ON COLUMN calexp_residual.refraction_err_mas_per_mag IS '[mas/mag] its standard error from the scatter of the stars; what the catalogue''s errors and unknown motions have to do with colour is in all visits alike';
COMMENT ON COLUMN calexp_residual.across_mas_per_mag IS '[mas/mag] the same across, on the side of increasing parallactic angle: zero but for errors';
COMMENT ON COLUMN calexp_residual.across_err_mas_per_mag IS '[mas/mag] its standard error';
COMMENT ON COLUMN calexp_residual.n_refraction_star IS '[] stars that made the slope towards the zenith';
COMMENT ON COLUMN calexp_residual.aperture_offset_mag IS '[mag] PSF minus large-aperture magnitude of stars, neighbours subtracted; NULL with too few stars';
COMMENT ON COLUMN calexp_residual.aperture_slope_mag IS '[mag] its change from the centre of the chip over half the longer side, along the steepest direction';
COMMENT ON COLUMN calexp_residual.aperture_slope_err_mag IS '[mag] its standard error; a flat chip shows slopes of one to two of them';
COMMENT ON COLUMN calexp_residual.aperture_mag_per_mag IS '[mag/mag] its change with the magnitude of the star';
COMMENT ON COLUMN calexp_residual.aperture_mag_per_mag_err IS '[mag/mag] its standard error';
COMMENT ON COLUMN calexp_residual.aperture_scatter_mag IS '[mag] robust scatter of single stars about the fit';
COMMENT ON COLUMN calexp_residual.n_aperture_star IS '[] stars that made the fit';
COMMENT ON COLUMN calexp.zero_point_mag IS '[mag] AB magnitude of one electron of PSF flux, for a source of the reference colour';
COMMENT ON COLUMN calexp.njy_per_e IS '[nJy/electron] photometric calibration of PSF fluxes, for a source of the reference colour';
COMMENT ON COLUMN calexp.sip_order IS '[] degree of the SIP distortion, the one that foretells stars left out of the fit best';
