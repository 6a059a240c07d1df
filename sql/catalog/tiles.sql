-- The tables per tile of the sky, see dbpipe/catalog/sky_shards.py.

-- name: tiles
-- Numbers of the tiles that have tables; in a snapshot those may be views of files.
SELECT CAST(split_part(table_name, '_', 2) AS BIGINT) AS tile
FROM information_schema.tables
WHERE table_schema = 'association'
    AND regexp_full_match(table_name, 'source_[0-9]+')
    AND table_catalog = current_database()
ORDER BY tile

-- name: unlike
-- Tables of tiles that have not the columns of their pattern, in the same order.
WITH found AS (
    SELECT
        table_name,
        split_part(table_name, '_', 1) AS kind,
        list((column_name, data_type, is_nullable, column_default) ORDER BY column_index) AS columns
    FROM duckdb_columns()
    WHERE schema_name = 'association' AND database_name = current_database()
    GROUP BY ALL
)

SELECT found.table_name
FROM found
LEFT JOIN found AS pattern ON pattern.table_name = found.kind
WHERE found.columns IS DISTINCT FROM pattern.columns
ORDER BY found.table_name

-- name: comments
-- Columns of a pattern with their comments.
SELECT column_name, comment
FROM duckdb_columns()
WHERE schema_name = 'association'
    AND table_name = $kind
    AND database_name = current_database()
    AND comment IS NOT NULL
ORDER BY column_index

-- name: definition
-- The statement that makes a pattern.
SELECT sql
FROM duckdb_tables()
WHERE schema_name = 'association' AND table_name = $kind AND database_name = current_database()
