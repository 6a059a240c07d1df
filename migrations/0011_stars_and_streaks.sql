-- What bright stars and satellites leave in the images.
CREATE TABLE streak (
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    streak_number INTEGER NOT NULL,
    x0 DOUBLE NOT NULL CHECK (isfinite(x0)),
    y0 DOUBLE NOT NULL CHECK (isfinite(y0)),
    x1 DOUBLE NOT NULL CHECK (isfinite(x1)),
    y1 DOUBLE NOT NULL CHECK (isfinite(y1)),
    ra0 DOUBLE NOT NULL CHECK (isfinite(ra0)),
    dec0 DOUBLE NOT NULL CHECK (isfinite(dec0)),
    ra1 DOUBLE NOT NULL CHECK (isfinite(ra1)),
    dec1 DOUBLE NOT NULL CHECK (isfinite(dec1)),
    length_arcsec DOUBLE NOT NULL CHECK (isfinite(length_arcsec)),
    fwhm_arcsec DOUBLE NOT NULL CHECK (isfinite(fwhm_arcsec)),
    mask_width_arcsec DOUBLE NOT NULL CHECK (isfinite(mask_width_arcsec)),
    brightness_njy_per_arcsec DOUBLE NOT NULL CHECK (isfinite(brightness_njy_per_arcsec)),
    brightness_err_njy_per_arcsec DOUBLE NOT NULL CHECK (isfinite(brightness_err_njy_per_arcsec)),
    line_snr DOUBLE NOT NULL CHECK (isfinite(line_snr))
);
COMMENT ON TABLE streak IS 'Streaks of satellites and aircraft on the calibrated exposures';
COMMENT ON COLUMN streak.visit IS '[] observation id';
COMMENT ON COLUMN streak.detector IS '[] sensor';
COMMENT ON COLUMN streak.streak_number IS '[] running number in the exposure';
COMMENT ON COLUMN streak.x0 IS '[pix] one end, or where it leaves the image; first pixel centre is 0';
COMMENT ON COLUMN streak.y0 IS '[pix] the same end';
COMMENT ON COLUMN streak.x1 IS '[pix] other end';
COMMENT ON COLUMN streak.y1 IS '[pix] other end';
COMMENT ON COLUMN streak.ra0 IS '[deg] ICRS right ascension of one end';
COMMENT ON COLUMN streak.dec0 IS '[deg] ICRS declination of the same end';
COMMENT ON COLUMN streak.ra1 IS '[deg] ICRS right ascension of the other end';
COMMENT ON COLUMN streak.dec1 IS '[deg] ICRS declination of the other end';
COMMENT ON COLUMN streak.length_arcsec IS '[arcsec] length on the image';
COMMENT ON COLUMN streak.fwhm_arcsec IS '[arcsec] width at half maximum';
COMMENT ON COLUMN streak.mask_width_arcsec IS '[arcsec] width of the mask, to where its light is lost in the noise';
COMMENT ON COLUMN streak.brightness_njy_per_arcsec IS '[nJy/arcsec] flux of one arcsecond of its length';
COMMENT ON COLUMN streak.brightness_err_njy_per_arcsec IS '[nJy/arcsec] its standard error';
COMMENT ON COLUMN streak.line_snr IS '[] signal to noise of the line sum by which it was found';

ALTER TABLE diffim ADD COLUMN n_bright_star INTEGER;
ALTER TABLE diffim ADD COLUMN wing_fraction DOUBLE;
ALTER TABLE diffim ADD COLUMN star_noise_fraction DOUBLE;
ALTER TABLE diffim ADD COLUMN fraction_saturated DOUBLE;
ALTER TABLE diffim ADD COLUMN fraction_bleed DOUBLE;
ALTER TABLE diffim ADD COLUMN fraction_halo DOUBLE;
ALTER TABLE diffim ADD COLUMN fraction_streak DOUBLE;
ALTER TABLE diffim ADD COLUMN fraction_star_flagged DOUBLE;
COMMENT ON COLUMN diffim.n_bright_star IS '[] stars bright enough that their wings and residuals are looked after';
COMMENT ON COLUMN diffim.wing_fraction IS '[] part of a star''s flux in the wings that the kernel had left and that were taken out';
COMMENT ON COLUMN diffim.star_noise_fraction IS '[] part of a star''s flux by which a flux measured on it is wrong; in the variance';
COMMENT ON COLUMN diffim.fraction_saturated IS '[] pixels that are saturated, bleeds included, in exposure or template';
COMMENT ON COLUMN diffim.fraction_bleed IS '[] pixels in a bleed of the exposure';
COMMENT ON COLUMN diffim.fraction_halo IS '[] pixels in the halo of a saturated star, the star itself not counted';
COMMENT ON COLUMN diffim.fraction_streak IS '[] pixels under a streak';
COMMENT ON COLUMN diffim.fraction_star_flagged IS '[] pixels saturated or in a halo: those that a bright star costs';

ALTER TABLE dia_source ADD COLUMN flag_streak BOOLEAN;
COMMENT ON COLUMN dia_source.flag_streak IS '[] on a streak of a satellite';
