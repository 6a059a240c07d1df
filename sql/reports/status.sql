-- What `dbpipe status` shows.

-- name: stages
-- Units of each stage by verdict.
SELECT
    stage,
    count(*) FILTER (WHERE status = 'done') AS done,
    count(*) FILTER (WHERE status = 'skipped') AS skipped,
    count(*) FILTER (WHERE status = 'failed') AS failed,
    max(finished_at) AS last_at
FROM unit
GROUP BY stage
ORDER BY stage

-- name: reasons
-- Why units were skipped or failed, grouped; for failures of which kind, and how many runs in a row met them.
SELECT
    stage,
    status,
    failure.kind,
    reason,
    count(*) AS n_unit,
    max(failure.n_attempt) AS n_attempt,
    count(failure.traceback) > 0 AS has_traceback,
    min(unit_key) AS example,
    arg_min(numbers, unit_key) AS numbers
FROM unit
LEFT JOIN unit_failure AS failure USING (stage, unit_key)
WHERE status <> 'done'
GROUP BY stage, status, failure.kind, reason
ORDER BY stage, status, failure.kind, n_unit DESC, reason

-- name: tracebacks
-- Units that met an error that nobody foresaw, lost their worker or ran into a limit.
SELECT stage, unit_key, failure.kind, failure.n_attempt, unit.reason, unit.numbers, failure.traceback
FROM unit_failure AS failure
JOIN unit USING (stage, unit_key)
WHERE (failure.kind NOT IN ('data', 'transient') OR failure.traceback IS NOT NULL)
    AND contains(concat(stage, ' ', unit_key), CAST($text AS VARCHAR))
ORDER BY unit.finished_at, stage, unit_key

-- name: by_version
-- Units of each stage by the version of the stage that made them.
SELECT stage, stage_version, count(*) AS n_unit
FROM unit
GROUP BY stage, stage_version
ORDER BY stage, stage_version

-- name: notes
-- What is to be told of raw files although they are used, grouped.
SELECT note, count(*) AS n_file, min(path) AS example
FROM raw_note
GROUP BY note
ORDER BY n_file DESC, note

-- name: notes_of_ingest
-- The same for the files that the last ingest took in.
WITH latest AS (
    SELECT unit_key FROM unit
    WHERE stage = 'ingest' AND status = 'done' AND run_id = (SELECT max(run_id) FROM unit WHERE stage = 'ingest')
)
SELECT raw_note.note, count(*) AS n_file, min(raw_note.path) AS example
FROM raw_note
JOIN latest ON latest.unit_key = raw_key(raw_note.path)
GROUP BY raw_note.note
ORDER BY n_file DESC, raw_note.note

-- name: bands
-- What has been observed and found, by band.
WITH observed AS (
    SELECT band, count(*) AS n_image FROM raw JOIN visit USING (visit) GROUP BY band
),
calibrated AS (
    SELECT
        band,
        count(*) AS n_calexp,
        min(psf_fwhm_arcsec) AS best_fwhm_arcsec,
        median(psf_fwhm_arcsec) AS median_fwhm_arcsec,
        median(depth_5sigma_mag) AS median_depth_mag
    FROM calexp JOIN visit USING (visit)
    GROUP BY band
),
subtracted AS (
    SELECT band, count(*) AS n_diffim FROM diffim JOIN visit USING (visit) GROUP BY band
),
detected AS (
    SELECT band, count(*) FILTER (WHERE is_primary) AS n_dia_source FROM dia_source GROUP BY band
)
SELECT
    band,
    n_image,
    coalesce(n_calexp, 0) AS n_calexp,
    round(best_fwhm_arcsec, 2) AS best_fwhm_arcsec,
    round(median_fwhm_arcsec, 2) AS median_fwhm_arcsec,
    round(median_depth_mag, 2) AS median_depth_mag,
    coalesce(n_diffim, 0) AS n_diffim,
    coalesce(n_dia_source, 0) AS n_dia_source
FROM observed
LEFT JOIN calibrated USING (band)
LEFT JOIN subtracted USING (band)
LEFT JOIN detected USING (band)
ORDER BY band

-- name: distrusted
-- Difference images to distrust, those with most reasons first.
SELECT visit, detector, band, reason, value, lowest, highest, meaning
FROM diffim_distrust
ORDER BY count(*) OVER (PARTITION BY visit, detector) DESC, visit, detector, reason

-- name: other_description
-- How many images were read by another description of the instrument than that of now, if any.
SELECT count(*) AS n_raw
FROM raw
WHERE instrument_sha256 NOT IN ('', $now)
HAVING n_raw > 0
