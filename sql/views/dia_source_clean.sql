-- The sources to trust: the rows that is_clean_detection has nothing against. `dbpipe inject` calls recovered what is clean
-- by the same rule, without a database (is_clean in dbpipe/stages/shared/columns.py; a test holds the two together).
CREATE OR REPLACE VIEW dia_source_clean AS
SELECT
    *,
    -- two fitted coordinates add 2 to the expected square of the signal to noise
    CASE WHEN x_err IS NULL THEN psf_flux_njy
        ELSE psf_flux_njy * sqrt(greatest(1 - 2 / (snr * snr), 0))
    END AS psf_flux_debiased_njy
FROM dia_source
WHERE is_clean_detection(
    is_primary,
    is_spoiled(flag_edge, flag_saturated, flag_bad, flag_cosmic_ray, flag_streak, flag_no_template),
    flag_dipole,
    flag_fit_failed,
    flag_shape,
    flag_near_saturated OR flag_bright_star,
    score
);
COMMENT ON VIEW dia_source_clean IS 'Primary DIASources that no flag speaks against';
COMMENT ON COLUMN dia_source_clean.psf_flux_debiased_njy IS '[nJy] psf_flux_njy without the bias of the fitted position: times sqrt(1 - 2 / snr^2) (Portillo, Speagle & Finkbeiner 2020 AJ 159 165)';
