-- Injected sources: how many of known flux are found again, and how right their measured fluxes are.
CREATE TYPE injection_place AS ENUM ('blank', 'galaxy', 'bright_star', 'star');

CREATE TABLE injected_source (
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    number INTEGER NOT NULL,
    round INTEGER NOT NULL,
    band VARCHAR NOT NULL REFERENCES band (band),
    place injection_place NOT NULL,
    ra DOUBLE NOT NULL CHECK (isfinite(ra)),
    dec DOUBLE NOT NULL CHECK (isfinite(dec)),
    x DOUBLE NOT NULL CHECK (isfinite(x)),
    y DOUBLE NOT NULL CHECK (isfinite(y)),
    true_flux_njy DOUBLE NOT NULL CHECK (isfinite(true_flux_njy)),
    true_flux_err_njy DOUBLE NOT NULL CHECK (isfinite(true_flux_err_njy)),
    true_snr DOUBLE NOT NULL CHECK (isfinite(true_snr)),
    is_confused BOOLEAN NOT NULL,
    is_detected BOOLEAN NOT NULL,
    is_recovered BOOLEAN NOT NULL,
    psf_flux_njy DOUBLE CHECK (isfinite(psf_flux_njy)),
    psf_flux_err_njy DOUBLE CHECK (isfinite(psf_flux_err_njy)),
    score DOUBLE CHECK (isfinite(score)),
    separation_arcsec DOUBLE CHECK (isfinite(separation_arcsec)),
    flags VARCHAR,
    forced_flux_njy DOUBLE CHECK (isfinite(forced_flux_njy)),
    forced_flux_err_njy DOUBLE CHECK (isfinite(forced_flux_err_njy)),
    flux_before_njy DOUBLE CHECK (isfinite(flux_before_njy))
);
COMMENT ON TABLE injected_source IS 'Point sources put into copies of the calibrated exposures, and what detection made of them; no row of dia_source knows of them';
COMMENT ON COLUMN injected_source.visit IS '[] observation id';
COMMENT ON COLUMN injected_source.detector IS '[] sensor';
COMMENT ON COLUMN injected_source.number IS '[] running number in the image';
COMMENT ON COLUMN injected_source.round IS '[] copy of the exposure that it was put into, from 0';
COMMENT ON COLUMN injected_source.band IS '[] filter';
COMMENT ON COLUMN injected_source.place IS '[] where it was put: blank sky, on a galaxy, near a bright star, on a star';
COMMENT ON COLUMN injected_source.ra IS '[deg] true ICRS right ascension';
COMMENT ON COLUMN injected_source.dec IS '[deg] true ICRS declination';
COMMENT ON COLUMN injected_source.x IS '[pix] true place, first pixel centre is 0';
COMMENT ON COLUMN injected_source.y IS '[pix] true place, first pixel centre is 0';
COMMENT ON COLUMN injected_source.true_flux_njy IS '[nJy] flux put in';
COMMENT ON COLUMN injected_source.true_flux_err_njy IS '[nJy] error that its PSF flux should have, from the variance of the difference at its place and its own light';
COMMENT ON COLUMN injected_source.true_snr IS '[] true_flux over true_flux_err';
COMMENT ON COLUMN injected_source.is_confused IS '[] the difference image has a DIASource of either sign there without injection, within 1 FWHM, or 2.5 FWHM of a primary one: not counted';
COMMENT ON COLUMN injected_source.is_detected IS '[] a primary DIASource is there, flagged or not';
COMMENT ON COLUMN injected_source.is_recovered IS '[] a primary DIASource is there that no flag speaks against';
COMMENT ON COLUMN injected_source.psf_flux_njy IS '[nJy] measured PSF flux of the DIASource there, primary or fainter; NULL if there is none';
COMMENT ON COLUMN injected_source.psf_flux_err_njy IS '[nJy] its standard error';
COMMENT ON COLUMN injected_source.score IS '[] its score';
COMMENT ON COLUMN injected_source.separation_arcsec IS '[arcsec] its distance from the true place';
COMMENT ON COLUMN injected_source.flags IS '[] its flags, names separated by blanks; empty if there are none';
COMMENT ON COLUMN injected_source.forced_flux_njy IS '[nJy] PSF flux at the true place, found or not; NULL where no pixel is usable';
COMMENT ON COLUMN injected_source.forced_flux_err_njy IS '[nJy] its standard error';
COMMENT ON COLUMN injected_source.flux_before_njy IS '[nJy] PSF flux at the place in the difference image without injection: what forced_flux would be for no flux';

CREATE TABLE injection_summary (
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    diffim_sha256 VARCHAR NOT NULL,
    n_injected INTEGER NOT NULL,
    n_confused INTEGER NOT NULL,
    n_blank INTEGER NOT NULL,
    snr_50 DOUBLE CHECK (isfinite(snr_50)),
    snr_50_err DOUBLE CHECK (isfinite(snr_50_err)),
    depth_50_mag DOUBLE CHECK (isfinite(depth_50_mag)),
    depth_50_mag_err DOUBLE CHECK (isfinite(depth_50_mag_err)),
    n_above_7 INTEGER NOT NULL,
    completeness_above_7 DOUBLE CHECK (isfinite(completeness_above_7)),
    detected_above_7 DOUBLE CHECK (isfinite(detected_above_7)),
    n_flux INTEGER NOT NULL,
    flux_bias DOUBLE CHECK (isfinite(flux_bias)),
    flux_bias_err DOUBLE CHECK (isfinite(flux_bias_err)),
    pull_mean DOUBLE CHECK (isfinite(pull_mean)),
    pull_std DOUBLE CHECK (isfinite(pull_std)),
    pull_robust_std DOUBLE CHECK (isfinite(pull_robust_std)),
    forced_bias DOUBLE CHECK (isfinite(forced_bias)),
    forced_bias_err DOUBLE CHECK (isfinite(forced_bias_err)),
    forced_pull_mean DOUBLE CHECK (isfinite(forced_pull_mean)),
    forced_pull_std DOUBLE CHECK (isfinite(forced_pull_std)),
    forced_pull_robust_std DOUBLE CHECK (isfinite(forced_pull_robust_std))
);
COMMENT ON TABLE injection_summary IS 'What the injected sources say of each difference image; confused ones are left out of every number but n_injected';
COMMENT ON COLUMN injection_summary.visit IS '[] observation id';
COMMENT ON COLUMN injection_summary.detector IS '[] sensor';
COMMENT ON COLUMN injection_summary.diffim_sha256 IS '[] hash of the difference image that this is about';
COMMENT ON COLUMN injection_summary.n_injected IS '[] sources put in';
COMMENT ON COLUMN injection_summary.n_confused IS '[] of them where the difference image has a DIASource of its own';
COMMENT ON COLUMN injection_summary.n_blank IS '[] of the others on blank sky';
COMMENT ON COLUMN injection_summary.snr_50 IS '[] true S/N at which half are recovered on blank sky; NULL if the sources do not say';
COMMENT ON COLUMN injection_summary.snr_50_err IS '[] its standard error';
COMMENT ON COLUMN injection_summary.depth_50_mag IS '[mag] magnitude at which half are recovered on blank sky; NULL if the sources do not say';
COMMENT ON COLUMN injection_summary.depth_50_mag_err IS '[mag] its standard error';
COMMENT ON COLUMN injection_summary.n_above_7 IS '[] sources of true S/N above 7, all places';
COMMENT ON COLUMN injection_summary.completeness_above_7 IS '[] fraction of them recovered; NULL if there are none';
COMMENT ON COLUMN injection_summary.detected_above_7 IS '[] fraction of them detected, flagged or not; NULL if there are none';
COMMENT ON COLUMN injection_summary.n_flux IS '[] sources of true S/N above 7 recovered: those of the next columns';
COMMENT ON COLUMN injection_summary.flux_bias IS '[] mean of measured over true PSF flux, minus 1, weighted with the square of the true S/N; NULL if too few';
COMMENT ON COLUMN injection_summary.flux_bias_err IS '[] its standard error';
COMMENT ON COLUMN injection_summary.forced_bias IS '[] the same of the forced fluxes of all sources: nothing is selected, no place is fitted; NULL if too few';
COMMENT ON COLUMN injection_summary.forced_bias_err IS '[] its standard error';
COMMENT ON COLUMN injection_summary.forced_pull_mean IS '[] mean of (forced - true) / error; NULL if too few';
COMMENT ON COLUMN injection_summary.forced_pull_std IS '[] standard deviation of it; NULL if too few';
COMMENT ON COLUMN injection_summary.forced_pull_robust_std IS '[] 1.4826 x median absolute deviation of it; NULL if too few';
COMMENT ON COLUMN injection_summary.pull_mean IS '[] mean of (measured - true) / error of the PSF flux; NULL if too few';
COMMENT ON COLUMN injection_summary.pull_std IS '[] standard deviation of it; NULL if too few';
COMMENT ON COLUMN injection_summary.pull_robust_std IS '[] 1.4826 x median absolute deviation of it; NULL if too few';
