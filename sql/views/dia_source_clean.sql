-- The sources to trust: primary detections that no flag speaks against. flag_template_rejected is no defect: it says that
-- the template here is made of fewer inputs than elsewhere. What a star leaves is part of the score's noise, so beside
-- one a high score is a source.
CREATE OR REPLACE VIEW dia_source_clean AS
SELECT *
FROM dia_source
WHERE is_primary
    AND NOT flag_edge
    AND NOT flag_saturated
    AND NOT flag_bad
    AND NOT flag_cosmic_ray
    AND NOT flag_streak
    AND NOT flag_no_template
    AND NOT flag_dipole
    AND NOT flag_fit_failed
    AND NOT flag_shape
    AND NOT ((flag_near_saturated OR flag_bright_star) AND abs(score) < 10);
COMMENT ON VIEW dia_source_clean IS 'Primary DIASources that no flag speaks against';
