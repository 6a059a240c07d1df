-- The sources to trust: primary detections that no flag speaks against. flag_template_rejected is no defect: it says that
-- the template here is made of fewer inputs than elsewhere; nor is flag_trail: it says that the source moved. What a star
-- leaves is part of the score's noise, so beside one a high score is a source. `dbpipe inject` calls recovered what is
-- clean by the same rule (is_clean in dbpipe/stages/shared/columns.py; a test holds the two together).
CREATE OR REPLACE VIEW dia_source_clean AS
SELECT
    *,
    -- two fitted coordinates add 2 to the expected square of the signal to noise
    CASE WHEN x_err IS NULL THEN psf_flux_njy
        ELSE psf_flux_njy * sqrt(greatest(1 - 2 / (snr * snr), 0))
    END AS psf_flux_debiased_njy
FROM dia_source
WHERE is_primary
    AND NOT is_spoiled(flag_edge, flag_saturated, flag_bad, flag_cosmic_ray, flag_streak, flag_no_template)
    AND NOT flag_dipole
    AND NOT flag_fit_failed
    AND NOT flag_shape
    AND NOT ((flag_near_saturated OR flag_bright_star) AND abs(score) < 10);
COMMENT ON VIEW dia_source_clean IS 'Primary DIASources that no flag speaks against';
COMMENT ON COLUMN dia_source_clean.psf_flux_debiased_njy IS '[nJy] psf_flux_njy without the bias of the fitted position: times sqrt(1 - 2 / snr^2) (Portillo, Speagle & Finkbeiner 2020 AJ 159 165)';
