-- Forced photometry: every object on every difference image that covers it.
CREATE TABLE dia_forced_source (
    dia_object_id BIGINT NOT NULL,
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    band VARCHAR NOT NULL REFERENCES band (band),
    midpoint_mjd_tai DOUBLE NOT NULL CHECK (isfinite(midpoint_mjd_tai)),
    ra DOUBLE NOT NULL CHECK (isfinite(ra)),
    dec DOUBLE NOT NULL CHECK (isfinite(dec)),
    hpx29 BIGINT NOT NULL,
    x DOUBLE NOT NULL CHECK (isfinite(x)),
    y DOUBLE NOT NULL CHECK (isfinite(y)),
    psf_flux_njy DOUBLE CHECK (isfinite(psf_flux_njy)),
    psf_flux_err_njy DOUBLE CHECK (isfinite(psf_flux_err_njy)),
    science_flux_njy DOUBLE CHECK (isfinite(science_flux_njy)),
    science_flux_err_njy DOUBLE CHECK (isfinite(science_flux_err_njy)),
    template_flux_njy DOUBLE CHECK (isfinite(template_flux_njy)),
    template_flux_err_njy DOUBLE CHECK (isfinite(template_flux_err_njy)),
    n_blend INTEGER NOT NULL,
    flag_edge BOOLEAN NOT NULL,
    flag_saturated BOOLEAN NOT NULL,
    flag_near_saturated BOOLEAN NOT NULL,
    flag_bad BOOLEAN NOT NULL,
    flag_streak BOOLEAN NOT NULL,
    flag_cosmic_ray BOOLEAN NOT NULL,
    flag_no_template BOOLEAN NOT NULL,
    flag_template_rejected BOOLEAN NOT NULL
);
COMMENT ON TABLE dia_forced_source IS 'PSF photometry at the place of each DIAObject on every difference image that has data there, detected or not';
COMMENT ON COLUMN dia_forced_source.dia_object_id IS '[] object';
COMMENT ON COLUMN dia_forced_source.visit IS '[] observation id';
COMMENT ON COLUMN dia_forced_source.detector IS '[] sensor';
COMMENT ON COLUMN dia_forced_source.band IS '[] filter';
COMMENT ON COLUMN dia_forced_source.midpoint_mjd_tai IS '[d] MJD TAI at mid-exposure';
COMMENT ON COLUMN dia_forced_source.ra IS '[deg] ICRS right ascension measured at: the object''s mean position, rounded to the centre of its HEALPix pixel of order 23 (0.025 arcsec), so that a new detection normally does not move it';
COMMENT ON COLUMN dia_forced_source.dec IS '[deg] ICRS declination measured at, rounded in the same way';
COMMENT ON COLUMN dia_forced_source.hpx29 IS '[] HEALPix index of that place, nested, order 29; hpx29 >> 12 is the pixel of order 23';
COMMENT ON COLUMN dia_forced_source.x IS '[pix] where that is on the image, first pixel centre is 0';
COMMENT ON COLUMN dia_forced_source.y IS '[pix] where that is on the image, first pixel centre is 0';
COMMENT ON COLUMN dia_forced_source.psf_flux_njy IS '[nJy] PSF flux on the difference; NULL if no pixel is usable';
COMMENT ON COLUMN dia_forced_source.psf_flux_err_njy IS '[nJy] its standard error';
COMMENT ON COLUMN dia_forced_source.science_flux_njy IS '[nJy] PSF flux on the science image, whatever is beneath included';
COMMENT ON COLUMN dia_forced_source.science_flux_err_njy IS '[nJy] its standard error';
COMMENT ON COLUMN dia_forced_source.template_flux_njy IS '[nJy] PSF flux on the template matched to the science image';
COMMENT ON COLUMN dia_forced_source.template_flux_err_njy IS '[nJy] its standard error';
COMMENT ON COLUMN dia_forced_source.n_blend IS '[] objects fitted together because they are close, this one included';
COMMENT ON COLUMN dia_forced_source.flag_edge IS '[] the circle of the fit reaches beyond the image';
COMMENT ON COLUMN dia_forced_source.flag_saturated IS '[] on a saturated pixel or bleed of science or template';
COMMENT ON COLUMN dia_forced_source.flag_near_saturated IS '[] in the halo of a saturated star';
COMMENT ON COLUMN dia_forced_source.flag_bad IS '[] on an unusable pixel';
COMMENT ON COLUMN dia_forced_source.flag_streak IS '[] in a satellite''s streak';
COMMENT ON COLUMN dia_forced_source.flag_cosmic_ray IS '[] on a pixel hit by a cosmic ray';
COMMENT ON COLUMN dia_forced_source.flag_no_template IS '[] part of its PSF has no template';
COMMENT ON COLUMN dia_forced_source.flag_template_rejected IS '[] on a pixel where template inputs were rejected';

CREATE TABLE forced_image (
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    measured_with VARCHAR NOT NULL,
    n_object INTEGER NOT NULL,
    n_place INTEGER NOT NULL
);
COMMENT ON TABLE forced_image IS 'What the forced photometry of each difference image was made with';
COMMENT ON COLUMN forced_image.visit IS '[] observation id';
COMMENT ON COLUMN forced_image.detector IS '[] sensor';
COMMENT ON COLUMN forced_image.measured_with IS '[] hash of images, settings and code version: rows of the same hash need not be measured again';
COMMENT ON COLUMN forced_image.n_object IS '[] objects with a row';
COMMENT ON COLUMN forced_image.n_place IS '[] different places measured';
