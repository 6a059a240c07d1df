-- The runner's own statements: which units are due, what became of them.

-- name: pending
-- Offered units that are new, whose inputs, settings or code changed, or that failed and shall be tried again: on
-- request, or because it was not their fault. A program error may be gone when dbpipe or a library is another one.
SELECT offered.work_order
FROM offered
LEFT JOIN unit ON unit.stage = $stage AND unit.unit_key = offered.unit_key
LEFT JOIN unit_failure AS failure ON failure.stage = unit.stage AND failure.unit_key = unit.unit_key
LEFT JOIN run ON run.run_id = unit.run_id
WHERE unit.fingerprint IS DISTINCT FROM offered.fingerprint
   OR (unit.status = 'failed' AND ($retry_failed
       OR failure.kind = 'transient'
       OR (failure.kind IN ('died', 'time_limit', 'memory_limit') AND failure.n_attempt < $max_run)
       OR (failure.kind = 'bug' AND run.versions <> (SELECT arg_max(versions, run_id) FROM run))))
ORDER BY offered.work_order

-- name: stale
-- Units done before that the work query no longer offers.
SELECT unit.unit_key
FROM unit
ANTI JOIN offered ON offered.unit_key = unit.unit_key
WHERE unit.stage = $stage
ORDER BY unit.unit_key

-- name: is_done
-- The unit, if it is done.
SELECT unit_key FROM unit WHERE stage = $stage AND unit_key = $unit_key AND status = 'done'

-- name: files_of_unit
-- Files that a unit owns.
SELECT path FROM file WHERE stage = $stage AND unit_key = $unit_key ORDER BY path

-- name: delete_files
-- Forget the files of a unit.
DELETE FROM file WHERE stage = $stage AND unit_key = $unit_key

-- name: insert_files
-- Remember the files that a unit made.
INSERT OR REPLACE INTO file BY NAME SELECT * FROM new_file

-- name: record
-- Write down the verdict on a unit.
INSERT OR REPLACE INTO unit BY NAME SELECT * FROM new_unit

-- name: record_failures
-- Write down what failed and how often in a row; before the verdicts, for those of before say what has changed since.
INSERT OR REPLACE INTO unit_failure BY NAME
SELECT
    new_failure.stage,
    new_failure.unit_key,
    new_failure.kind,
    CASE WHEN unit.fingerprint = new_failure.fingerprint THEN coalesce(before.n_attempt, 0) ELSE 0 END + 1 AS n_attempt,
    new_failure.traceback
FROM new_failure
LEFT JOIN unit ON unit.stage = new_failure.stage AND unit.unit_key = new_failure.unit_key
LEFT JOIN unit_failure AS before ON before.stage = new_failure.stage AND before.unit_key = new_failure.unit_key

-- name: forget_failures
-- Forget the failures of units that are done or skipped now.
DELETE FROM unit_failure
USING new_unit
WHERE unit_failure.stage = new_unit.stage AND unit_failure.unit_key = new_unit.unit_key AND new_unit.status <> 'failed'

-- name: forget
-- Forget a unit.
DELETE FROM unit WHERE stage = $stage AND unit_key = $unit_key

-- name: forget_failure
-- Forget the failure of a unit.
DELETE FROM unit_failure WHERE stage = $stage AND unit_key = $unit_key

-- name: start_run
-- Open the record of a command.
INSERT INTO run BY NAME
SELECT
    coalesce(max(run_id), 0) + 1 AS run_id,
    $started_at AS started_at,
    $command AS command,
    $versions AS versions,
    $settings AS settings
FROM run
RETURNING run_id

-- name: finish_run
-- Close the record of a command.
UPDATE run SET finished_at = $finished_at WHERE run_id = $run_id

-- name: fingerprint
-- What a unit was made from when it was done last.
SELECT fingerprint FROM unit WHERE stage = $stage AND unit_key = $unit_key
