-- What is clean. A flux, detected or forced, is spoiled where its pixels mean nothing; light curves ask for no more than
-- that there is a flux that is not. A detection is clean by the second macro, which adds what only a detection can be.
CREATE OR REPLACE MACRO is_spoiled(edge, saturated, bad, cosmic_ray, streak, no_template) AS
    edge OR saturated OR bad OR cosmic_ray OR streak OR no_template;
COMMENT ON MACRO is_spoiled IS '[] the pixels beneath a flux mean nothing: its flags of edge, saturation, bad pixel, cosmic ray, streak and missing template';

-- A rejected template input is no defect: the template here is made of fewer inputs than elsewhere; nor is a trail: the
-- source moved. What a star leaves is part of the score's noise, so beside one a high score is a source.
CREATE OR REPLACE MACRO is_clean_detection(is_primary, spoiled, dipole, fit_failed, shape, beside_star, score) AS
    is_primary AND NOT spoiled AND NOT dipole AND NOT fit_failed AND NOT shape AND NOT (beside_star AND abs(score) < 10);
COMMENT ON MACRO is_clean_detection IS '[] a primary detection that no flag speaks against: is_spoiled, dipole, failed fit, shape, or near a star with a score below 10';
