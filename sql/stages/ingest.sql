-- name: work
-- One row per file that was asked for; a file that changed, or a changed instrument description, is looked at again.
SELECT
    path,
    size_byte,
    mtime_ns,
    $instrument_sha256 AS instrument_sha256
FROM ingest_request
ORDER BY path;

-- name: refuse
-- What speaks against a file that is fine in itself: another file gave the same image, or its visit is known otherwise.
WITH same_image AS (
    SELECT
        'visit and detector are in use by another file' AS reason,
        json_object(
            'visit', new_raw.visit, 'detector', new_raw.detector,
            'other_path', raw.path, 'same_bytes', raw.sha256 = new_raw.sha256
        ) AS numbers
    FROM new_raw
    JOIN raw ON raw.visit = new_raw.visit AND raw.detector = new_raw.detector AND raw.path <> new_raw.path
),
same_bytes AS (
    SELECT
        'the same bytes are in use as another image' AS reason,
        json_object(
            'visit', new_raw.visit, 'other_visit', raw.visit, 'other_detector', raw.detector, 'other_path', raw.path
        ) AS numbers
    FROM new_raw
    JOIN raw ON raw.sha256 = new_raw.sha256 AND raw.path <> new_raw.path
    WHERE raw.visit <> new_raw.visit OR raw.detector <> new_raw.detector
),
other_band AS (
    SELECT
        'visit is on record in another band' AS reason,
        json_object('visit', visit.visit, 'band', new_visit.band, 'band_on_record', visit.band) AS numbers
    FROM new_visit
    JOIN visit USING (visit)
    WHERE visit.band <> new_visit.band
),
other_time AS (
    SELECT
        'visit is on record at another time' AS reason,
        json_object(
            'visit', visit.visit, 'difference_s', 86400 * (new_visit.midpoint_mjd_tai - visit.midpoint_mjd_tai),
            'exposure_s', new_visit.exposure_s, 'exposure_s_on_record', visit.exposure_s
        ) AS numbers
    FROM new_visit
    JOIN visit USING (visit)
    WHERE abs(new_visit.midpoint_mjd_tai - visit.midpoint_mjd_tai) > 1.0 / 86400
       OR abs(new_visit.exposure_s - visit.exposure_s) > 0.5
)
SELECT reason, numbers FROM same_image
UNION ALL SELECT reason, numbers FROM same_bytes
UNION ALL SELECT reason, numbers FROM other_band
UNION ALL SELECT reason, numbers FROM other_time
ORDER BY reason;
