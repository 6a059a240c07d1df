-- The one list of flags that speak against a flux whether it was detected or forced: its pixels mean nothing. What is
-- clean begins here: the view of clean detections adds what only a detection can be, light curves that there is a flux.
-- Views use it, so it stands among them and is made before them.
CREATE OR REPLACE MACRO is_spoiled(edge, saturated, bad, cosmic_ray, streak, no_template) AS
    edge OR saturated OR bad OR cosmic_ray OR streak OR no_template;
COMMENT ON MACRO is_spoiled IS '[] the pixels beneath a flux mean nothing: its flags of edge, saturation, bad pixel, cosmic ray, streak and missing template';
