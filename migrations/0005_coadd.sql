-- The template: the decision, its warps and its coadds.
CREATE TABLE template (
    template_id BIGINT NOT NULL,
    tract INTEGER NOT NULL REFERENCES tract (tract),
    band VARCHAR NOT NULL REFERENCES band (band),
    version INTEGER NOT NULL,
    how VARCHAR NOT NULL,
    how_value VARCHAR,
    target_fwhm_pix DOUBLE NOT NULL CHECK (isfinite(target_fwhm_pix)),
    predicted_depth_mag DOUBLE CHECK (isfinite(predicted_depth_mag)),
    n_input INTEGER NOT NULL,
    run_id BIGINT NOT NULL
);
COMMENT ON TABLE template IS 'Decisions which exposures make the template of a band; the newest version of a tract and band is the one in use';
COMMENT ON COLUMN template.template_id IS '[] running number of the decision';
COMMENT ON COLUMN template.tract IS '[] tract';
COMMENT ON COLUMN template.band IS '[] filter';
COMMENT ON COLUMN template.version IS '[] 1 for the first decision';
COMMENT ON COLUMN template.how IS '[] max_psf_fwhm_pix, quantile, auto or sql';
COMMENT ON COLUMN template.how_value IS '[] the number or the SELECT of the user';
COMMENT ON COLUMN template.target_fwhm_pix IS '[pix] FWHM of the Gaussian model PSF, in tract pixels';
COMMENT ON COLUMN template.predicted_depth_mag IS '[mag] 5 sigma point source depth of the typical difference image by the figure of merit';
COMMENT ON COLUMN template.n_input IS '[] exposures that go in';
COMMENT ON COLUMN template.run_id IS '[] run that decided';

CREATE TABLE template_input (
    template_id BIGINT NOT NULL,
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    selected BOOLEAN NOT NULL,
    reason VARCHAR NOT NULL
);
COMMENT ON TABLE template_input IS 'Every exposure considered for a template: in or out, and why';
COMMENT ON COLUMN template_input.template_id IS '[] template';
COMMENT ON COLUMN template_input.visit IS '[] observation id';
COMMENT ON COLUMN template_input.detector IS '[] sensor';
COMMENT ON COLUMN template_input.selected IS '[] it goes in';
COMMENT ON COLUMN template_input.reason IS '[] why, with the numbers';

CREATE TABLE template_curve (
    template_id BIGINT NOT NULL,
    max_psf_fwhm_pix DOUBLE NOT NULL CHECK (isfinite(max_psf_fwhm_pix)),
    target_fwhm_pix DOUBLE NOT NULL CHECK (isfinite(target_fwhm_pix)),
    n_input INTEGER NOT NULL,
    predicted_depth_mag DOUBLE NOT NULL CHECK (isfinite(predicted_depth_mag))
);
COMMENT ON TABLE template_curve IS 'Figure of merit of each cut that was weighed by auto';
COMMENT ON COLUMN template_curve.template_id IS '[] template';
COMMENT ON COLUMN template_curve.max_psf_fwhm_pix IS '[pix] cut, half-maximum FWHM in native pixels';
COMMENT ON COLUMN template_curve.target_fwhm_pix IS '[pix] FWHM of the model PSF that goes with it';
COMMENT ON COLUMN template_curve.n_input IS '[] exposures that pass';
COMMENT ON COLUMN template_curve.predicted_depth_mag IS '[mag] predicted 5 sigma depth of the typical difference image';

CREATE TABLE warp (
    template_id BIGINT NOT NULL,
    tract INTEGER NOT NULL REFERENCES tract (tract),
    patch INTEGER NOT NULL,
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    path VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    kernel_sum DOUBLE NOT NULL CHECK (isfinite(kernel_sum)),
    kernel_negative DOUBLE NOT NULL CHECK (isfinite(kernel_negative)),
    psf_residual DOUBLE NOT NULL CHECK (isfinite(psf_residual)),
    noise_gain DOUBLE NOT NULL CHECK (isfinite(noise_gain)),
    fraction_valid DOUBLE NOT NULL CHECK (isfinite(fraction_valid))
);
COMMENT ON TABLE warp IS 'Exposures on the tract grid with the model PSF, in nJy';
COMMENT ON COLUMN warp.template_id IS '[] template';
COMMENT ON COLUMN warp.tract IS '[] tract';
COMMENT ON COLUMN warp.patch IS '[] patch';
COMMENT ON COLUMN warp.visit IS '[] observation id';
COMMENT ON COLUMN warp.detector IS '[] sensor';
COMMENT ON COLUMN warp.path IS '[] image, relative to the survey';
COMMENT ON COLUMN warp.sha256 IS '[] hash of the image file';
COMMENT ON COLUMN warp.kernel_sum IS '[] sum of the homogenisation kernel at the patch centre';
COMMENT ON COLUMN warp.kernel_negative IS '[] sum of |negative kernel pixels| over the sum: large when ill conditioned';
COMMENT ON COLUMN warp.psf_residual IS '[] rms of (matched PSF - model) over the rms of the model';
COMMENT ON COLUMN warp.noise_gain IS '[] sum of the squared kernel: variance after over variance before';
COMMENT ON COLUMN warp.fraction_valid IS '[] pixels with data';

CREATE TABLE coadd (
    template_id BIGINT NOT NULL,
    tract INTEGER NOT NULL REFERENCES tract (tract),
    patch INTEGER NOT NULL,
    path VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    n_input INTEGER NOT NULL,
    mean_n_input DOUBLE NOT NULL CHECK (isfinite(mean_n_input)),
    fraction_valid DOUBLE NOT NULL CHECK (isfinite(fraction_valid)),
    fraction_rejected DOUBLE NOT NULL CHECK (isfinite(fraction_rejected)),
    noise_njy DOUBLE NOT NULL CHECK (isfinite(noise_njy))
);
COMMENT ON TABLE coadd IS 'Template images';
COMMENT ON COLUMN coadd.template_id IS '[] template';
COMMENT ON COLUMN coadd.tract IS '[] tract';
COMMENT ON COLUMN coadd.patch IS '[] patch';
COMMENT ON COLUMN coadd.path IS '[] image, relative to the survey';
COMMENT ON COLUMN coadd.sha256 IS '[] hash of the image file';
COMMENT ON COLUMN coadd.n_input IS '[] warps that went in';
COMMENT ON COLUMN coadd.mean_n_input IS '[] mean number of inputs over pixels with data';
COMMENT ON COLUMN coadd.fraction_valid IS '[] pixels with data';
COMMENT ON COLUMN coadd.fraction_rejected IS '[] input pixels rejected as being in few epochs';
COMMENT ON COLUMN coadd.noise_njy IS '[nJy] median predicted standard deviation per pixel';

CREATE TABLE coadd_input (
    template_id BIGINT NOT NULL,
    tract INTEGER NOT NULL REFERENCES tract (tract),
    patch INTEGER NOT NULL,
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    input_number INTEGER NOT NULL,
    weight DOUBLE NOT NULL CHECK (isfinite(weight)),
    background_njy DOUBLE NOT NULL CHECK (isfinite(background_njy)),
    fraction_rejected DOUBLE NOT NULL CHECK (isfinite(fraction_rejected))
);
COMMENT ON TABLE coadd_input IS 'Inputs of each coadd with their weights';
COMMENT ON COLUMN coadd_input.template_id IS '[] template';
COMMENT ON COLUMN coadd_input.tract IS '[] tract';
COMMENT ON COLUMN coadd_input.patch IS '[] patch';
COMMENT ON COLUMN coadd_input.visit IS '[] observation id';
COMMENT ON COLUMN coadd_input.detector IS '[] sensor';
COMMENT ON COLUMN coadd_input.input_number IS '[] bit of this input in the rejection planes of the coadd';
COMMENT ON COLUMN coadd_input.weight IS '[nJy-2] weight in the mean';
COMMENT ON COLUMN coadd_input.background_njy IS '[nJy] constant added to match backgrounds';
COMMENT ON COLUMN coadd_input.fraction_rejected IS '[] pixels of this input rejected as being in few epochs';
