-- The runner's own statements: which units are due, what became of them.

-- name: pending
-- Offered units that are new, whose inputs, settings or code changed, or that failed and shall be tried again.
SELECT offered.work_order
FROM offered
LEFT JOIN unit ON unit.stage = $stage AND unit.unit_key = offered.unit_key
WHERE unit.fingerprint IS DISTINCT FROM offered.fingerprint
   OR ($retry_failed AND unit.status = 'failed')
ORDER BY offered.work_order

-- name: stale
-- Units done before that the work query no longer offers.
SELECT unit.unit_key
FROM unit
ANTI JOIN offered ON offered.unit_key = unit.unit_key
WHERE unit.stage = $stage
ORDER BY unit.unit_key

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

-- name: forget
-- Forget a unit.
DELETE FROM unit WHERE stage = $stage AND unit_key = $unit_key

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
