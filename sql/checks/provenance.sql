-- Rows, units and files belong together.

-- name: calexp_has_unit
-- Every calexp row comes from a unit that is done.
SELECT visit, detector FROM calexp
ANTI JOIN unit ON unit.stage = 'calibrate' AND unit.status = 'done'
    AND unit.unit_key = image_key(visit, detector)

-- name: diffim_has_unit
-- Every diffim row comes from a unit that is done.
SELECT visit, detector FROM diffim
ANTI JOIN unit ON unit.stage = 'difference' AND unit.status = 'done'
    AND unit.unit_key = image_key(visit, detector)

-- name: raw_has_unit
-- Every raw row comes from a unit that is done.
SELECT path FROM raw
ANTI JOIN unit ON unit.stage = 'ingest' AND unit.status = 'done' AND unit.unit_key = raw_key(raw.path)

-- name: unit_has_raw
-- Every ingest unit that is done has its raw row.
SELECT unit_key FROM unit
ANTI JOIN raw ON unit.unit_key = raw_key(raw.path)
WHERE unit.stage = 'ingest' AND unit.status = 'done'

-- name: unit_has_calexp
-- Every calibrate unit that is done has its calexp row.
SELECT unit_key FROM unit
ANTI JOIN calexp ON unit.unit_key = image_key(calexp.visit, calexp.detector)
WHERE unit.stage = 'calibrate' AND unit.status = 'done'

-- name: product_has_file
-- Every product row names a file on record, with its hash.
WITH product AS (
    SELECT path, sha256 FROM calexp
    UNION ALL SELECT path, sha256 FROM warp
    UNION ALL SELECT path, sha256 FROM coadd
    UNION ALL SELECT path, sha256 FROM diffim
)
SELECT product.path FROM product ANTI JOIN file ON file.path = product.path AND file.sha256 = product.sha256

-- name: file_has_unit
-- Every file on record belongs to a unit that is done.
SELECT path FROM file
ANTI JOIN unit ON unit.stage = file.stage AND unit.unit_key = file.unit_key AND unit.status = 'done'

-- name: file_has_product
-- Every file on record is named by a row of its product table.
SELECT path FROM file
ANTI JOIN (
    SELECT path FROM calexp
    UNION ALL SELECT path FROM warp
    UNION ALL SELECT path FROM coadd
    UNION ALL SELECT path FROM diffim
) AS product ON product.path = file.path

-- name: unit_has_run
-- Every verdict names a run on record.
SELECT unit.stage, unit.unit_key FROM unit ANTI JOIN run ON run.run_id = unit.run_id

-- name: failure_has_unit
-- Every failure on record is of a unit whose verdict is failed.
SELECT failure.stage, failure.unit_key FROM unit_failure AS failure
ANTI JOIN unit ON unit.stage = failure.stage AND unit.unit_key = failure.unit_key AND unit.status = 'failed'

-- name: failed_unit_has_failure
-- Every unit that failed has the kind of its failure on record.
SELECT unit.stage, unit.unit_key FROM unit
ANTI JOIN unit_failure AS failure ON failure.stage = unit.stage AND failure.unit_key = unit.unit_key
WHERE unit.status = 'failed'
