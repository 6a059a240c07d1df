-- What leaves the survey in partitions. Of each table: its rows, and what tells whether a row has changed, cheap to read.
-- A row is measured anew only by another run of its stage, so ids and run say enough. Arithmetic and md5 are the same in
-- every version of DuckDB, which hash() is not.

-- name: mix
-- A number of 30 bits from one before and the next value; squaring makes the sum over rows tell who has which value.
CREATE OR REPLACE TEMP MACRO mix(h, x) AS (h + x % 1500450271 + 1) * (h + x % 1500450271 + 1) % 1500450271

-- name: dia_source
-- DIASources with the object and the track that they belong to.
SELECT
    dia_source.*,
    visit.night,
    dia_association.dia_object_id,
    dia_association.tracklet_id
FROM dia_source
JOIN visit USING (visit)
LEFT JOIN dia_association USING (dia_source_id)

-- name: dia_source_content
-- One row per DIASource: where it goes and what it is.
WITH stamp AS (
    SELECT diffim.visit, diffim.detector, unit.run_id
    FROM diffim
    JOIN unit ON unit.stage = 'detect'
        AND unit.unit_key = image_key(diffim.visit, diffim.detector)
)
SELECT
    dia_source.visit,
    dia_source.hpx29,
    mix(mix(mix(mix(mix(mix(
        0, dia_source_id), dia_source_id // 1500450271), coalesce(dia_association.dia_object_id, -1)),
        coalesce(dia_association.tracklet_id, -1)), coalesce(stamp.run_id, -1)), visit.night) AS content
FROM dia_source
JOIN visit USING (visit)
LEFT JOIN stamp ON stamp.visit = dia_source.visit AND stamp.detector = dia_source.detector
LEFT JOIN dia_association USING (dia_source_id)

-- name: dia_source_row_content
-- The same of the table alone, without its links.
WITH stamp AS (
    SELECT diffim.visit, diffim.detector, unit.run_id
    FROM diffim
    JOIN unit ON unit.stage = 'detect'
        AND unit.unit_key = image_key(diffim.visit, diffim.detector)
)
SELECT
    dia_source.visit,
    mix(mix(mix(0, dia_source_id), dia_source_id // 1500450271), coalesce(stamp.run_id, -1)) AS content
FROM dia_source
LEFT JOIN stamp ON stamp.visit = dia_source.visit AND stamp.detector = dia_source.detector

-- name: dia_object
-- DIAObjects.
SELECT * FROM dia_object

-- name: dia_object_content
-- One row per DIAObject: where it goes and what it is.
SELECT
    hpx29,
    md5_number_lower(concat_ws(
        '|', dia_object_id, ra, dec, ra_err, dec_err, ra_dec_cov, position_chi2, n_dia_source, n_night, first_mjd_tai,
        last_mjd_tai, max_score, min_score
    )) AS content
FROM dia_object

-- name: tile_source_content
-- One row per linked source of a tile: what it is.
SELECT
    mix(mix(mix(mix(mix(
        0, dia_source_id), dia_source_id // 1500450271), coalesce(dia_object_id, -1)),
        coalesce(tracklet_id, -1)), hpx29) AS content
FROM query_table($table)

-- name: tile_object_content
-- One row per object of a tile: what it is.
SELECT
    md5_number_lower(concat_ws(
        '|', dia_object_id, ra, dec, position_chi2, n_dia_source, n_night, last_mjd_tai, max_score, min_score
    )) AS content
FROM query_table($table)

-- name: dia_forced_source
-- Forced photometry.
SELECT
    dia_forced_source.*,
    visit.night
FROM dia_forced_source
JOIN visit USING (visit)

-- name: dia_forced_source_content
-- One row per object and image: where it goes and what it is.
WITH stamp AS (
    SELECT forced_image.visit, forced_image.detector, unit.run_id
    FROM forced_image
    JOIN unit ON unit.stage = 'forced'
        AND unit.unit_key = image_key(forced_image.visit, forced_image.detector)
)
SELECT
    dia_forced_source.visit,
    dia_forced_source.hpx29,
    mix(mix(mix(mix(mix(mix(
        0, dia_object_id), dia_object_id // 1500450271), dia_forced_source.visit),
        dia_forced_source.detector), coalesce(stamp.run_id, -1)), visit.night) AS content
FROM dia_forced_source
JOIN visit USING (visit)
LEFT JOIN stamp ON stamp.visit = dia_forced_source.visit AND stamp.detector = dia_forced_source.detector

-- name: nights
-- Which visit is of which night.
SELECT visit AS cell, CAST(night AS VARCHAR) AS part FROM visit
