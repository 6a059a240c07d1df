-- Where the sources of one object are.

-- name: place
-- The place of a source; ids grow with the visits, so that few row groups are read.
SELECT hpx29 FROM dia_source WHERE dia_source_id = $dia_source_id AND visit = $visit AND detector = $detector

-- name: linked
-- The sources of an object in some tiles.
SELECT dia_source_id FROM association.source WHERE dia_object_id = $dia_object_id

-- name: detections
-- Some sources, in time.
SELECT * FROM dia_source WHERE dia_source_id IN (SELECT NULL) ORDER BY midpoint_mjd_tai, dia_source_id
