-- What is foretold of difference images, and how they vary over the detector.
ALTER TABLE template_curve ADD COLUMN quantity VARCHAR;
ALTER TABLE template_curve ADD COLUMN quantity_limit DOUBLE;
ALTER TABLE template_curve ADD COLUMN is_chosen BOOLEAN DEFAULT false;
COMMENT ON COLUMN template_curve.max_psf_fwhm_pix IS '[pix] cut in psf_fwhm_det_pix, native pixels';
COMMENT ON COLUMN template_curve.target_fwhm_pix IS '[pix] FWHM of the model PSF that goes with it, native pixels';
COMMENT ON COLUMN template_curve.quantity IS '[] what was cut besides seeing: depth, ellipticity, background or transparency; NULL if nothing';
COMMENT ON COLUMN template_curve.quantity_limit IS '[] the limit of that quantity, in its unit: mag, 1, nJy per square arcsec, 1; NULL if nothing';
COMMENT ON COLUMN template_curve.is_chosen IS '[] the cut that auto took';

CREATE TABLE template_prediction (
    template_id BIGINT NOT NULL,
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    predicted_depth_mag DOUBLE CHECK (isfinite(predicted_depth_mag)),
    n_input INTEGER NOT NULL,
    coverage DOUBLE NOT NULL CHECK (isfinite(coverage))
);
COMMENT ON TABLE template_prediction IS 'Depth of the difference images foretold from calexp alone, one row per template in use and exposure';
COMMENT ON COLUMN template_prediction.template_id IS '[] template';
COMMENT ON COLUMN template_prediction.visit IS '[] observation id';
COMMENT ON COLUMN template_prediction.detector IS '[] sensor';
COMMENT ON COLUMN template_prediction.predicted_depth_mag IS '[mag] predicted magnitude of a point source of S/N 5; NULL where no input overlaps';
COMMENT ON COLUMN template_prediction.n_input IS '[] inputs where there are most of them, itself left out';
COMMENT ON COLUMN template_prediction.coverage IS '[] predicted fraction with a template, at nine places';

CREATE TABLE diffim_sample (
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    cell_x INTEGER NOT NULL,
    cell_y INTEGER NOT NULL,
    x_pix DOUBLE NOT NULL CHECK (isfinite(x_pix)),
    y_pix DOUBLE NOT NULL CHECK (isfinite(y_pix)),
    kernel_sum DOUBLE NOT NULL CHECK (isfinite(kernel_sum)),
    psf_fwhm_pix DOUBLE NOT NULL CHECK (isfinite(psf_fwhm_pix)),
    n_blank_pix INTEGER NOT NULL,
    residual_ratio DOUBLE CHECK (isfinite(residual_ratio)),
    score_std DOUBLE CHECK (isfinite(score_std)),
    score_mean DOUBLE CHECK (isfinite(score_mean)),
    lag1_correlation DOUBLE CHECK (isfinite(lag1_correlation)),
    template_noise_fraction DOUBLE CHECK (isfinite(template_noise_fraction)),
    fraction_masked DOUBLE NOT NULL CHECK (isfinite(fraction_masked)),
    fraction_no_data DOUBLE NOT NULL CHECK (isfinite(fraction_no_data)),
    fraction_near_saturated DOUBLE NOT NULL CHECK (isfinite(fraction_near_saturated)),
    fraction_rejected DOUBLE NOT NULL CHECK (isfinite(fraction_rejected)),
    n_star INTEGER NOT NULL,
    star_chi2 DOUBLE CHECK (isfinite(star_chi2)),
    n_shift_star INTEGER NOT NULL,
    shift_x_pix DOUBLE CHECK (isfinite(shift_x_pix)),
    shift_y_pix DOUBLE CHECK (isfinite(shift_y_pix))
);
COMMENT ON TABLE diffim_sample IS 'Difference images on 4 x 4 cells of the detector: where something is wrong';
COMMENT ON COLUMN diffim_sample.visit IS '[] observation id';
COMMENT ON COLUMN diffim_sample.detector IS '[] sensor';
COMMENT ON COLUMN diffim_sample.cell_x IS '[] column of the cell, 0 to 3';
COMMENT ON COLUMN diffim_sample.cell_y IS '[] row of the cell, 0 to 3';
COMMENT ON COLUMN diffim_sample.x_pix IS '[pix] centre of the cell';
COMMENT ON COLUMN diffim_sample.y_pix IS '[pix] centre of the cell';
COMMENT ON COLUMN diffim_sample.kernel_sum IS '[] sum of the matching kernel there';
COMMENT ON COLUMN diffim_sample.psf_fwhm_pix IS '[pix] 2.355 x determinant radius of the PSF of the difference';
COMMENT ON COLUMN diffim_sample.n_blank_pix IS '[pix] usable pixels without a source';
COMMENT ON COLUMN diffim_sample.residual_ratio IS '[] standard deviation of blank pixels over the claimed one; NULL with too few';
COMMENT ON COLUMN diffim_sample.score_std IS '[] standard deviation of the score on blank sky; NULL with too few pixels';
COMMENT ON COLUMN diffim_sample.score_mean IS '[] mean of the score on blank sky: the background left, in sigma of a point source; NULL with too few pixels';
COMMENT ON COLUMN diffim_sample.lag1_correlation IS '[] correlation of neighbouring blank pixels; NULL with too few';
COMMENT ON COLUMN diffim_sample.template_noise_fraction IS '[] part of the variance that comes from the template; NULL with too few pixels';
COMMENT ON COLUMN diffim_sample.fraction_masked IS '[] pixels that cannot be used';
COMMENT ON COLUMN diffim_sample.fraction_no_data IS '[] pixels without science image or template';
COMMENT ON COLUMN diffim_sample.fraction_near_saturated IS '[] pixels in the halo of a saturated star';
COMMENT ON COLUMN diffim_sample.fraction_rejected IS '[] pixels where a template input was rejected';
COMMENT ON COLUMN diffim_sample.n_star IS '[] stars of the kernel fit, held-out ones included';
COMMENT ON COLUMN diffim_sample.star_chi2 IS '[] median of their reduced chi2; NULL without stars';
COMMENT ON COLUMN diffim_sample.n_shift_star IS '[] stars whose displacement was measured';
COMMENT ON COLUMN diffim_sample.shift_x_pix IS '[pix] median displacement of stars, science minus template, along x; NULL without stars';
COMMENT ON COLUMN diffim_sample.shift_y_pix IS '[pix] the same along y';

CREATE TABLE diffim_registration (
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    n_star INTEGER NOT NULL,
    shift_x_pix DOUBLE CHECK (isfinite(shift_x_pix)),
    shift_y_pix DOUBLE CHECK (isfinite(shift_y_pix)),
    shift_x_err_pix DOUBLE CHECK (isfinite(shift_x_err_pix)),
    shift_y_err_pix DOUBLE CHECK (isfinite(shift_y_err_pix)),
    scatter_pix DOUBLE CHECK (isfinite(scatter_pix)),
    axis_deg DOUBLE CHECK (isfinite(axis_deg)),
    alignment DOUBLE CHECK (isfinite(alignment)),
    chance_of_alignment DOUBLE CHECK (isfinite(chance_of_alignment))
);
COMMENT ON TABLE diffim_registration IS 'How well science image and template lie on each other, from the dipoles that stars leave: one row per difference image';
COMMENT ON COLUMN diffim_registration.visit IS '[] observation id';
COMMENT ON COLUMN diffim_registration.detector IS '[] sensor';
COMMENT ON COLUMN diffim_registration.n_star IS '[] stars whose displacement is known to 0.05 pix';
COMMENT ON COLUMN diffim_registration.shift_x_pix IS '[pix] median displacement, science minus template, along x; NULL without stars';
COMMENT ON COLUMN diffim_registration.shift_y_pix IS '[pix] the same along y';
COMMENT ON COLUMN diffim_registration.shift_x_err_pix IS '[pix] standard error of shift_x_pix; NULL with fewer than 5 stars';
COMMENT ON COLUMN diffim_registration.shift_y_err_pix IS '[pix] standard error of shift_y_pix; NULL with fewer than 5 stars';
COMMENT ON COLUMN diffim_registration.scatter_pix IS '[pix] scatter of the displacements on one axis beyond their errors; NULL with fewer than 5 stars';
COMMENT ON COLUMN diffim_registration.axis_deg IS '[deg] direction in which they scatter most, from x towards y, -90 to 90; NULL with fewer than 5 stars';
COMMENT ON COLUMN diffim_registration.alignment IS '[] 0: displacements in any direction, 1: all along one axis; NULL with fewer than 5 stars';
COMMENT ON COLUMN diffim_registration.chance_of_alignment IS '[] probability of such an alignment without a cause (Rayleigh test); NULL with fewer than 5 stars';

CREATE TABLE visit_zenith (
    visit BIGINT PRIMARY KEY REFERENCES visit (visit),
    altitude_deg DOUBLE NOT NULL CHECK (isfinite(altitude_deg)),
    parallactic_angle_deg DOUBLE NOT NULL CHECK (isfinite(parallactic_angle_deg))
);
COMMENT ON TABLE visit_zenith IS 'Where the zenith was, for the visits of instruments whose site is described; at the first detector taken in';
COMMENT ON COLUMN visit_zenith.visit IS '[] observation id';
COMMENT ON COLUMN visit_zenith.altitude_deg IS '[deg] altitude above the horizon';
COMMENT ON COLUMN visit_zenith.parallactic_angle_deg IS '[deg] position angle of the zenith, from north through east';
