-- Difference images.
CREATE TABLE diffim (
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    template_id BIGINT NOT NULL,
    path VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    convolved VARCHAR NOT NULL,
    leave_one_out BOOLEAN NOT NULL,
    n_template_input INTEGER NOT NULL,
    template_coverage DOUBLE NOT NULL CHECK (isfinite(template_coverage)),
    template_fwhm_pix DOUBLE NOT NULL CHECK (isfinite(template_fwhm_pix)),
    science_fwhm_pix DOUBLE NOT NULL CHECK (isfinite(science_fwhm_pix)),
    kernel_sigma_pix VARCHAR NOT NULL,
    kernel_degree VARCHAR NOT NULL,
    kernel_order INTEGER NOT NULL,
    background_order INTEGER NOT NULL,
    kernel_size_pix INTEGER NOT NULL,
    kernel_sum DOUBLE NOT NULL CHECK (isfinite(kernel_sum)),
    kernel_sum_scatter DOUBLE NOT NULL CHECK (isfinite(kernel_sum_scatter)),
    n_kernel_star INTEGER NOT NULL,
    n_kernel_star_clipped INTEGER NOT NULL,
    fit_chi2 DOUBLE NOT NULL CHECK (isfinite(fit_chi2)),
    control_chi2 DOUBLE CHECK (isfinite(control_chi2)),
    n_control_star INTEGER NOT NULL,
    science_noise_e DOUBLE NOT NULL CHECK (isfinite(science_noise_e)),
    template_noise_e DOUBLE NOT NULL CHECK (isfinite(template_noise_e)),
    diff_noise_e DOUBLE NOT NULL CHECK (isfinite(diff_noise_e)),
    score_std DOUBLE NOT NULL CHECK (isfinite(score_std)),
    lag1_correlation DOUBLE NOT NULL CHECK (isfinite(lag1_correlation)),
    psf_effective_area_pix DOUBLE NOT NULL CHECK (isfinite(psf_effective_area_pix)),
    njy_per_e DOUBLE NOT NULL CHECK (isfinite(njy_per_e)),
    depth_5sigma_mag DOUBLE NOT NULL CHECK (isfinite(depth_5sigma_mag)),
    fraction_masked DOUBLE NOT NULL CHECK (isfinite(fraction_masked))
);
COMMENT ON TABLE diffim IS 'Difference images: one row per visit and detector';
COMMENT ON COLUMN diffim.visit IS '[] observation id';
COMMENT ON COLUMN diffim.detector IS '[] sensor';
COMMENT ON COLUMN diffim.template_id IS '[] template subtracted';
COMMENT ON COLUMN diffim.path IS '[] image, relative to the survey';
COMMENT ON COLUMN diffim.sha256 IS '[] hash of the image file';
COMMENT ON COLUMN diffim.convolved IS '[] which side was convolved: template or science';
COMMENT ON COLUMN diffim.leave_one_out IS '[] this visit was taken out of its template';
COMMENT ON COLUMN diffim.n_template_input IS '[] inputs of the template here';
COMMENT ON COLUMN diffim.template_coverage IS '[] fraction of pixels with a template';
COMMENT ON COLUMN diffim.template_fwhm_pix IS '[pix] FWHM of the template PSF, science pixels';
COMMENT ON COLUMN diffim.science_fwhm_pix IS '[pix] FWHM of the science PSF';
COMMENT ON COLUMN diffim.kernel_sigma_pix IS '[pix] Gaussian widths of the kernel basis';
COMMENT ON COLUMN diffim.kernel_degree IS '[] polynomial degrees of the kernel basis';
COMMENT ON COLUMN diffim.kernel_order IS '[] degree of its spatial variation';
COMMENT ON COLUMN diffim.background_order IS '[] degree of the differential background';
COMMENT ON COLUMN diffim.kernel_size_pix IS '[pix] side of the kernel';
COMMENT ON COLUMN diffim.kernel_sum IS '[] its sum at the centre';
COMMENT ON COLUMN diffim.kernel_sum_scatter IS '[] standard deviation of the sum over the image';
COMMENT ON COLUMN diffim.n_kernel_star IS '[] stars kept in the fit';
COMMENT ON COLUMN diffim.n_kernel_star_clipped IS '[] stars clipped';
COMMENT ON COLUMN diffim.fit_chi2 IS '[] reduced chi2 of the stars in the fit';
COMMENT ON COLUMN diffim.control_chi2 IS '[] reduced chi2 of the held-out stars; NULL if none were held out';
COMMENT ON COLUMN diffim.n_control_star IS '[] stars held out';
COMMENT ON COLUMN diffim.science_noise_e IS '[electron] sky noise of the science image';
COMMENT ON COLUMN diffim.template_noise_e IS '[electron] noise of the template in science units before convolution';
COMMENT ON COLUMN diffim.diff_noise_e IS '[electron] claimed noise of the decorrelated difference on blank sky';
COMMENT ON COLUMN diffim.score_std IS '[] measured standard deviation of the score image on blank sky: 1 when the noise is honest';
COMMENT ON COLUMN diffim.lag1_correlation IS '[] measured correlation of neighbouring pixels on blank sky';
COMMENT ON COLUMN diffim.psf_effective_area_pix IS '[pix] of the PSF of the difference';
COMMENT ON COLUMN diffim.njy_per_e IS '[nJy/electron] photometric calibration of the difference';
COMMENT ON COLUMN diffim.depth_5sigma_mag IS '[mag] magnitude of a point source of S/N 5 on blank sky';
COMMENT ON COLUMN diffim.fraction_masked IS '[] pixels that cannot be used';

CREATE TABLE diffim_input (
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    template_visit BIGINT NOT NULL REFERENCES visit (visit),
    template_detector INTEGER NOT NULL,
    weight DOUBLE NOT NULL CHECK (isfinite(weight))
);
COMMENT ON TABLE diffim_input IS 'Which visits made the template of which difference image';
COMMENT ON COLUMN diffim_input.visit IS '[] observation id';
COMMENT ON COLUMN diffim_input.detector IS '[] sensor';
COMMENT ON COLUMN diffim_input.template_visit IS '[] visit in the template';
COMMENT ON COLUMN diffim_input.template_detector IS '[] its sensor';
COMMENT ON COLUMN diffim_input.weight IS '[] its share of the template, sums to 1';
