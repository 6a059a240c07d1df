-- What the association reads; it runs in the parent, for it reads what it writes.

-- name: due
-- Detector images whose detections are new or have changed since they were linked, or could not be linked.
WITH detected AS (
    SELECT
        diffim.visit,
        diffim.detector,
        visit.band,
        visit.night,
        unit.unit_key,
        unit.fingerprint AS detect_fingerprint,
        sha256(unit.fingerprint || visit.night || $settings) AS fingerprint
    FROM diffim
    JOIN visit USING (visit)
    JOIN unit ON unit.stage = 'detect'
        AND unit.status = 'done'
        AND unit.unit_key = image_key(diffim.visit, diffim.detector)
)
SELECT detected.*
FROM detected
LEFT JOIN unit ON unit.stage = 'associate' AND unit.unit_key = detected.unit_key
WHERE unit.fingerprint IS DISTINCT FROM detected.fingerprint
    OR ($retry_failed AND unit.status = 'failed')
ORDER BY visit, detector

-- name: stale
-- Detector images that were linked and are no more.
SELECT image.visit, image.detector, image_key(visit, detector) AS unit_key
FROM association.image AS image
ANTI JOIN diffim ON diffim.visit = image.visit AND diffim.detector = image.detector
ORDER BY visit, detector

-- name: sources
-- The detections of some images that are to be linked: the clean ones that are no trails.
SELECT
    dia_source_id,
    source.visit,
    source.detector,
    visit.night,
    source.midpoint_mjd_tai,
    ra,
    dec,
    coalesce(ra_err, $vague_deg) AS ra_err,
    coalesce(dec_err, $vague_deg) AS dec_err,
    coalesce(ra_dec_cov, 0.0) AS ra_dec_cov,
    hpx29,
    score
FROM dia_source_clean AS source
JOIN batch USING (visit, detector)
JOIN visit ON visit.visit = source.visit
WHERE source.visit BETWEEN $first_visit AND $last_visit
    AND flag_trail IS NOT TRUE
ORDER BY source.midpoint_mjd_tai, dia_source_id

-- name: count_sources
-- How many detections of some images there are to link.
SELECT source.visit, source.detector, count(*) AS n_source
FROM dia_source_clean AS source
JOIN batch USING (visit, detector)
WHERE source.visit BETWEEN $first_visit AND $last_visit
    AND flag_trail IS NOT TRUE
GROUP BY ALL

-- name: tiles_of_images
-- The tiles that hold linked sources of some images.
SELECT DISTINCT unnest(tiles) AS tile
FROM association.image
JOIN batch USING (visit, detector)

-- name: tiles_of_nights
-- The tiles that hold linked sources of some nights.
SELECT DISTINCT unnest(tiles) AS tile
FROM association.image
JOIN visit USING (visit)
WHERE night IN (SELECT night FROM affected)

-- name: of_images
-- The linked sources of some images.
SELECT source.* FROM query_table($tables) AS source SEMI JOIN batch USING (visit, detector)

-- name: in_cells
-- The linked sources in some cells of the sky, without those of some images.
SELECT source.*
FROM query_table($tables) AS source
SEMI JOIN near ON near.cell = source.hpx29 >> $shift
ANTI JOIN batch ON batch.visit = source.visit AND batch.detector = source.detector

-- name: in_nights
-- The linked sources of some nights.
SELECT source.* FROM query_table($tables) AS source SEMI JOIN affected USING (night)

-- name: lone
-- Those of some objects that have one source.
SELECT dia_object_id
FROM query_table($tables) AS object
SEMI JOIN asked USING (dia_object_id)
WHERE n_dia_source = 1

-- name: delete_sources
DELETE FROM association.source WHERE dia_source_id IN (SELECT dia_source_id FROM changed)

-- name: insert_sources
INSERT INTO association.source BY NAME SELECT * FROM changed ORDER BY midpoint_mjd_tai, dia_source_id

-- name: relink
UPDATE association.source AS source
SET dia_object_id = changed.dia_object_id, tracklet_id = changed.tracklet_id
FROM changed
WHERE source.dia_source_id = changed.dia_source_id

-- name: delete_objects
DELETE FROM association.object WHERE dia_object_id IN (SELECT dia_object_id FROM changed)

-- name: insert_objects
INSERT INTO association.object BY NAME SELECT * FROM changed ORDER BY dia_object_id

-- name: forget_images
DELETE FROM association.image
WHERE visit BETWEEN $first_visit AND $last_visit
    AND EXISTS (FROM batch WHERE batch.visit = image.visit AND batch.detector = image.detector)

-- name: remember_images
INSERT INTO association.image BY NAME SELECT * FROM linked

-- name: delete_tracklets
DELETE FROM tracklet WHERE night IN (SELECT night FROM affected)

-- name: insert_tracklets
INSERT INTO tracklet BY NAME SELECT * FROM found

-- name: insert_history
INSERT INTO dia_object_history BY NAME SELECT * FROM changes
