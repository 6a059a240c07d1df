-- The files that the catalog names.

-- name: paths
-- In a catalog from elsewhere columns may be of other types: so here and below.
SELECT CAST(path AS VARCHAR) FROM file

-- name: products
-- What dbpipe made.
SELECT CAST(path AS VARCHAR), CAST(sha256 AS VARCHAR), TRY_CAST(size_byte AS BIGINT) FROM file ORDER BY path

-- name: raws
-- What was taken in.
SELECT CAST(path AS VARCHAR), CAST(sha256 AS VARCHAR), TRY_CAST(size_byte AS BIGINT) FROM raw ORDER BY path

-- name: strangers
-- A product that cannot be the survey's own.
SELECT path
FROM file
WHERE NOT starts_with(path, $folder || '/')
    OR list_has_any(string_split(path, '/'), ['', '.', '..'])
ORDER BY path
LIMIT 1
