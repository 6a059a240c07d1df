-- Where the sources of one object are.

-- name: place
-- The place of a source; ids grow with the visits, so that few row groups are read.
SELECT hpx29 FROM dia_source WHERE dia_source_id = $dia_source_id AND visit = $visit AND detector = $detector

-- name: linked
-- The sources of an object in some tiles.
SELECT dia_source_id FROM query_table($tables) WHERE dia_object_id = $dia_object_id

-- name: detections
-- What a light curve needs of a source.
SELECT
    dia_source_id,
    visit,
    detector,
    band,
    midpoint_mjd_tai,
    ra,
    dec,
    ra_err,
    dec_err,
    score,
    snr,
    psf_flux_njy,
    psf_flux_err_njy,
    science_flux_njy,
    science_flux_err_njy,
    template_flux_njy,
    template_flux_err_njy
FROM dia_source

-- name: count_of_image
-- How many sources one image has.
SELECT count(*) FROM dia_source WHERE visit = $visit AND detector = $detector
