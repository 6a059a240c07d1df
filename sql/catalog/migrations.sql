-- The record of the schema's files, see dbpipe/catalog/migrations.py.

-- name: make_ledger
CREATE TABLE IF NOT EXISTS schema_migration (
    version INTEGER PRIMARY KEY,
    name VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    applied_at TIMESTAMP NOT NULL,
    dbpipe_version VARCHAR NOT NULL
);
COMMENT ON TABLE schema_migration IS 'Which schema files were applied to this catalog';
COMMENT ON COLUMN schema_migration.version IS '[] number of the file';
COMMENT ON COLUMN schema_migration.name IS '[] its name';
COMMENT ON COLUMN schema_migration.sha256 IS '[] hash of its text';
COMMENT ON COLUMN schema_migration.applied_at IS '[UTC] when it was applied';
COMMENT ON COLUMN schema_migration.dbpipe_version IS '[] version of dbpipe that applied it'

-- name: has_ledger
-- One row, if any was applied.
SELECT 1
FROM duckdb_tables()
WHERE table_name = 'schema_migration' AND database_name = current_database()

-- name: applied
SELECT version, name, sha256, dbpipe_version FROM schema_migration ORDER BY version

-- name: count
SELECT count(*) FROM schema_migration

-- name: record
INSERT INTO schema_migration VALUES ($version, $name, $sha256, $applied_at, $dbpipe_version)
