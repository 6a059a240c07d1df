-- name: work
-- One row per file that was asked for; a file that changed, or a changed instrument description, is looked at again.
-- Files that are in use come first: what they are now is known then, when new ones ask for their place.
WITH known AS (
    SELECT
        path,
        any_value(raw.sha256 || ' ' || raw.instrument_sha256) AS known_file,
        any_value(raw_content.made_from) AS known_made_from
    FROM raw
    LEFT JOIN raw_content USING (path, visit, detector)
    GROUP BY path
)
SELECT
    path,
    size_byte,
    mtime_ns,
    $instrument_sha256 AS instrument_sha256,
    known_file,
    known_made_from
FROM ingest_request
LEFT JOIN known USING (path)
ORDER BY known_file IS NULL, path;

-- name: look
-- Other files on record that have to do with a file that is fine in itself: of its image, of its bytes, of its visit.
-- One is due if it, or the description that it was read with, has changed: it will be looked at again. And it is gone if
-- it is not where it was, or another name of this one, or due: it then holds something else.
CREATE OR REPLACE TEMP TABLE rival AS
WITH related AS MATERIALIZED (
    SELECT
        raw.path,
        raw.visit,
        raw.detector,
        raw.visit = new_raw.visit AS is_same_visit,
        raw.visit = new_raw.visit AND raw.detector = new_raw.detector AS is_same_place,
        raw.sha256 = new_raw.sha256 AS is_same_file,
        raw.sha256 = new_raw.sha256 OR coalesce(raw_content.content_sha256 = new_raw_content.content_sha256, false)
            AS is_same_image,
        offered.fingerprint IS NOT NULL AND offered.fingerprint IS DISTINCT FROM unit.fingerprint AS is_asked_for,
        raw.instrument_sha256 <> new_raw.instrument_sha256 AS is_of_other_description,
        new_visit.band,
        visit.band AS other_band,
        new_visit.exposure_s,
        visit.exposure_s AS other_exposure_s,
        86400 * (new_visit.midpoint_mjd_tai - visit.midpoint_mjd_tai) AS difference_s
    FROM new_raw
    JOIN new_raw_content ON new_raw_content.path = new_raw.path
    JOIN new_visit ON new_visit.visit = new_raw.visit
    JOIN raw ON raw.path <> new_raw.path AND (raw.visit = new_raw.visit OR raw.sha256 = new_raw.sha256)
    JOIN visit ON visit.visit = raw.visit
    LEFT JOIN raw_content ON raw_content.path = raw.path AND raw_content.visit = raw.visit
        AND raw_content.detector = raw.detector
    LEFT JOIN unit ON unit.stage = 'ingest' AND unit.unit_key = raw_key(raw.path)
    LEFT JOIN offered ON offered.unit_key = unit.unit_key
)
SELECT
    *,
    is_asked_for OR is_of_other_description AS is_due,
    is_asked_for OR coalesce(real_path(path) = $path, true) AS is_gone,
    abs(difference_s) > 1.0 AS is_other_time,
    is_other_time OR abs(exposure_s - other_exposure_s) > 0.5 AS is_other_exposure,
    band <> other_band AS is_other_band
FROM related;

-- name: skip
-- A second file of an image that is in use.
SELECT 'same image as another file' AS reason, json_object('other_path', path) AS numbers
FROM rival
WHERE is_same_place AND is_same_image AND NOT is_gone AND NOT is_other_exposure AND NOT is_other_band
ORDER BY path;

-- name: refuse
-- What speaks against a file: another one gave the same image, or those of its visit say otherwise.
WITH same_image AS (
    SELECT
        'visit and detector are in use by another file' AS reason,
        json_object(
            'visit', visit, 'detector', detector, 'other_path', path, 'same_pixels', is_same_image,
            'difference_s', difference_s, 'band', band, 'other_band', other_band
        ) AS numbers
    FROM rival
    WHERE is_same_place AND NOT is_gone
),
lost_image AS (
    SELECT
        'visit and detector are in use by a file that is not there any more, of another exposure' AS reason,
        json_object('visit', visit, 'detector', detector, 'lost_path', path, 'difference_s', difference_s) AS numbers
    FROM rival
    WHERE is_same_place AND is_gone AND NOT is_asked_for AND NOT is_same_image AND is_other_time
),
same_bytes AS (
    SELECT
        'the same bytes are in use as another image' AS reason,
        json_object('other_visit', visit, 'other_detector', detector, 'other_path', path) AS numbers
    FROM rival
    WHERE NOT is_same_place AND is_same_file AND NOT is_gone
),
other_band AS (
    SELECT
        'another file of the visit says another band' AS reason,
        json_object('visit', visit, 'band', band, 'other_band', other_band, 'other_path', path) AS numbers
    FROM rival
    WHERE NOT is_same_place AND is_same_visit AND NOT is_due AND is_other_band
),
other_time AS (
    SELECT
        'another file of the visit says another time' AS reason,
        json_object(
            'visit', visit, 'difference_s', difference_s, 'exposure_s', exposure_s,
            'other_exposure_s', other_exposure_s, 'other_path', path
        ) AS numbers
    FROM rival
    WHERE NOT is_same_place AND is_same_visit AND NOT is_due AND is_other_exposure
)
SELECT reason, numbers FROM same_image
UNION ALL SELECT reason, numbers FROM lost_image
UNION ALL SELECT reason, numbers FROM same_bytes
UNION ALL SELECT reason, numbers FROM other_band
UNION ALL SELECT reason, numbers FROM other_time
ORDER BY reason, numbers;

-- name: supersede
-- Files whose image this one is now: they were moved, renamed or packed otherwise, or hold something else by now.
SELECT path
FROM rival
WHERE is_gone AND (is_same_place OR is_same_file)
ORDER BY path;

-- name: rekeyed
-- The visit, if its band changes: of a column with a foreign key DuckDB updates only rows that nothing refers to.
SELECT visit.visit
FROM visit
JOIN new_visit USING (visit)
WHERE visit.band <> new_visit.band;

-- name: rekey_name
-- A band that is new, before anything is of it.
INSERT INTO band SELECT band FROM new_band ON CONFLICT DO NOTHING;

-- name: rekey_band
-- The band of a visit is that of its files.
UPDATE visit SET band = new_visit.band FROM new_visit WHERE visit.visit = new_visit.visit AND visit.band <> new_visit.band;

-- name: follow_visit
-- The facts of a visit are those of its files: of the one with the lowest detector number, where they agree.
UPDATE visit
SET instrument = new_visit.instrument,
    midpoint_mjd_tai = new_visit.midpoint_mjd_tai,
    exposure_s = new_visit.exposure_s,
    airmass = new_visit.airmass,
    night = new_visit.night
FROM new_visit
WHERE visit.visit = new_visit.visit
    AND NOT EXISTS (
        SELECT 1
        FROM rival
        JOIN new_raw USING (visit)
        WHERE rival.detector < new_raw.detector AND NOT rival.is_due
    );

-- name: follow_zenith
-- And for where the zenith was.
UPDATE visit_zenith
SET altitude_deg = new_visit_zenith.altitude_deg, parallactic_angle_deg = new_visit_zenith.parallactic_angle_deg
FROM new_visit_zenith
WHERE visit_zenith.visit = new_visit_zenith.visit
    AND NOT EXISTS (
        SELECT 1
        FROM rival
        JOIN new_raw USING (visit)
        WHERE rival.detector < new_raw.detector AND NOT rival.is_due
    );

-- name: follow_site
-- A description that has lost its site knows of no zenith.
DELETE FROM visit_zenith
WHERE visit IN (SELECT visit FROM new_visit) AND NOT EXISTS (SELECT 1 FROM new_visit_zenith);

-- name: follow_detector
-- A sensor has the name that the description or the header gives it now.
UPDATE detector
SET name = new_detector.name
FROM new_detector
WHERE detector.detector = new_detector.detector AND detector.name <> new_detector.name;

-- name: follow_image
-- What could not be done while the file was elsewhere is tried again.
UPDATE unit
SET fingerprint = ''
WHERE stage = 'calibrate'
    AND status = 'failed'
    AND unit_key IN (SELECT image_key(visit, detector) FROM new_raw);

-- name: retry_refused
-- So is a file that was refused, or left out, because of what this one was.
UPDATE unit
SET fingerprint = ''
WHERE stage = 'ingest'
    AND status <> 'done'
    AND coalesce(numbers ->> 'other_path', numbers ->> 'lost_path') = $path;

-- name: waiting
-- Files that were refused, or left out, because of another one that is not there any more or not in use.
WITH other AS MATERIALIZED (
    SELECT unit.unit_key, unit.fingerprint, unit.numbers ->> 'other_path' AS path
    FROM unit
    WHERE stage = 'ingest' AND status <> 'done' AND (numbers ->> 'other_path') IS NOT NULL
)
SELECT substr(unit_key, 6) AS path
FROM other
WHERE fingerprint = '' OR real_path(path) IS NULL OR path NOT IN (SELECT path FROM raw)
ORDER BY path;

-- name: retry
-- Have a file that was refused looked at again.
UPDATE unit SET fingerprint = '' WHERE stage = 'ingest' AND unit_key = raw_key($path);

-- name: gone
-- Files that were refused or left out, are not there any more, and were not asked for this time.
SELECT unit_key
FROM unit
WHERE stage = 'ingest'
    AND status <> 'done'
    AND real_path(substr(unit_key, 6)) IS NULL
    AND substr(unit_key, 6) NOT IN (SELECT path FROM raw)
    AND substr(unit_key, 6) NOT IN (SELECT path FROM ingest_request)
ORDER BY unit_key;

-- name: remember_images
-- The images in use, to tell afterward what is new.
CREATE OR REPLACE TEMP TABLE raw_before AS SELECT visit, detector, path FROM raw;

-- name: changes
-- What has become of the images: new, moved, read again, or no longer in use.
SELECT
    coalesce(raw.path, raw_before.path) AS path,
    raw_before.path AS path_before,
    CASE
        WHEN raw_before.path IS NULL THEN 'new'
        WHEN raw.path IS NULL THEN 'taken back'
        WHEN raw.path <> raw_before.path THEN 'moved'
        ELSE 'read again'
    END AS change,
    unit.reason,
    unit.numbers
FROM raw
FULL JOIN raw_before USING (visit, detector)
LEFT JOIN unit ON unit.stage = 'ingest' AND unit.unit_key = raw_key(coalesce(raw.path, raw_before.path))
WHERE raw.path IS NULL OR raw_before.path IS NULL OR unit.run_id = $run_id
ORDER BY path;

-- name: verdicts
-- How the files of one command were judged.
SELECT status, reason, count(*) AS n_unit
FROM unit
WHERE stage = 'ingest' AND run_id = $run_id
GROUP BY status, reason
ORDER BY n_unit DESC, reason;

-- name: kinds
-- Of which kind the failures among them are.
SELECT unit_failure.kind, count(*)
FROM unit
JOIN unit_failure USING (stage, unit_key)
WHERE unit.stage = 'ingest' AND unit.status = 'failed' AND unit.run_id = $run_id
GROUP BY unit_failure.kind
ORDER BY unit_failure.kind;

-- name: unused_visits
-- Visits that no image is of any more.
SELECT visit FROM visit ANTI JOIN raw USING (visit) ORDER BY visit;

-- name: forget_zenith
DELETE FROM visit_zenith WHERE visit = $visit;

-- name: forget_visit
DELETE FROM visit WHERE visit = $visit;

-- name: request
-- What the work query reads.
CREATE OR REPLACE TEMP TABLE ingest_request AS SELECT * FROM requested
