-- Links and objects belong together.

-- name: image_has_its_sources
-- The linked sources of an image are its clean detections, trails aside, where they were measured.
WITH current AS (  -- an image that was measured anew since then waits for the next run
    SELECT image.visit, image.detector
    FROM association.image AS image
    JOIN unit ON unit.stage = 'detect'
        AND unit.unit_key = image_key(image.visit, image.detector)
        AND unit.fingerprint = image.detect_fingerprint
),
clean AS (
    SELECT dia_source_id, visit, detector, hpx29
    FROM dia_source_clean SEMI JOIN current USING (visit, detector)
    WHERE flag_trail IS NOT TRUE
),
linked AS (
    SELECT dia_source_id, visit, detector, hpx29
    FROM dia_association SEMI JOIN current USING (visit, detector)
)
(FROM linked EXCEPT FROM clean) UNION ALL (FROM clean EXCEPT FROM linked)

-- name: source_linked_once
-- No source is linked twice.
SELECT dia_source_id FROM dia_association GROUP BY dia_source_id HAVING count(*) > 1

-- name: object_has_its_sources
-- Every object is there once, with as many sources as it says, the first of which names it.
SELECT coalesce(object.dia_object_id, linked.dia_object_id) AS dia_object_id
FROM dia_object AS object
FULL JOIN (
    SELECT
        dia_object_id,
        count(*) AS n_source,
        count(DISTINCT (visit, detector)) AS n_image,
        min_by(dia_source_id, (midpoint_mjd_tai, dia_source_id)) AS first_id
    FROM dia_association
    WHERE dia_object_id IS NOT NULL
    GROUP BY dia_object_id
) AS linked USING (dia_object_id)
WHERE object.n_dia_source IS DISTINCT FROM linked.n_source
    OR linked.n_source IS DISTINCT FROM linked.n_image
    OR linked.first_id IS DISTINCT FROM object.dia_object_id

-- name: track_has_its_sources
-- Every track has as many sources as it says, all of one night, and none of them is an object's.
SELECT coalesce(tracklet.tracklet_id, linked.tracklet_id) AS tracklet_id
FROM tracklet
FULL JOIN (
    SELECT
        tracklet_id,
        count(*) AS n_source,
        count(dia_object_id) AS n_object,
        min(night) AS first_night,
        max(night) AS last_night
    FROM dia_association
    WHERE tracklet_id IS NOT NULL
    GROUP BY tracklet_id
) AS linked USING (tracklet_id)
WHERE tracklet.n_dia_source IS DISTINCT FROM linked.n_source
    OR linked.first_night IS DISTINCT FROM tracklet.night
    OR linked.last_night IS DISTINCT FROM tracklet.night
    OR linked.n_object <> 0

-- name: replaced_object_has_a_living_successor
-- An id on record leads, step by step, to objects that are there, or to none because its sources are gone.
SELECT history.dia_object_id
FROM dia_object_history AS history
WHERE successor_id IS NOT NULL
    AND NOT EXISTS (FROM dia_object WHERE dia_object.dia_object_id = history.successor_id)
    AND NOT EXISTS (FROM dia_object_history AS later WHERE later.dia_object_id = history.successor_id)
