-- The label that says which views and macros stand in a catalog.

-- name: has_label
-- One row, if there is a label.
SELECT 1
FROM duckdb_tables()
WHERE table_name = 'schema_view' AND database_name = current_database()

-- name: read_label
SELECT sha256 FROM schema_view

-- name: make_label
CREATE OR REPLACE TABLE schema_view (sha256 VARCHAR NOT NULL);
COMMENT ON TABLE schema_view IS 'Which views and macros stand in this catalog: one row';
COMMENT ON COLUMN schema_view.sha256 IS '[] hash of their texts'

-- name: label
INSERT INTO schema_view VALUES ($sha256)
