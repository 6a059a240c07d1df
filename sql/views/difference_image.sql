-- Difference images with what injected sources say of them, where that was asked (`dbpipe inject`): NULL elsewhere, and
-- where the image was made anew since.
CREATE OR REPLACE VIEW difference_image AS
SELECT
    diffim.*,
    visit.band,
    visit.midpoint_mjd_tai,
    injected.n_injected,
    injected.snr_50,
    injected.snr_50_err,
    injected.depth_50_mag,
    injected.depth_50_mag_err,
    injected.completeness_above_7,
    injected.detected_above_7,
    injected.flux_bias,
    injected.flux_bias_err,
    injected.pull_mean,
    injected.pull_std,
    injected.pull_robust_std,
    injected.forced_bias,
    injected.forced_pull_mean,
    injected.forced_pull_std
FROM diffim
JOIN visit USING (visit)
LEFT JOIN injection_summary AS injected
    ON injected.visit = diffim.visit
    AND injected.detector = diffim.detector
    AND injected.diffim_sha256 = diffim.sha256;
COMMENT ON VIEW difference_image IS 'Difference images with their depth as injected sources measure it';
COMMENT ON COLUMN difference_image.visit IS '[] observation id';
COMMENT ON COLUMN difference_image.detector IS '[] sensor';
COMMENT ON COLUMN difference_image.band IS '[] filter';
COMMENT ON COLUMN difference_image.midpoint_mjd_tai IS '[d] MJD TAI at mid-exposure';
