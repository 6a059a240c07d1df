-- What `dbpipe schema` shows.

-- name: columns
-- Every column of every table and view, with its comment.
SELECT table_name, column_name, data_type, is_nullable, comment
FROM duckdb_columns()
WHERE NOT internal AND schema_name = 'main' AND database_name = current_database()
ORDER BY table_name, column_index

-- name: relations
-- What each table and view is.
SELECT table_name, comment FROM duckdb_tables()
UNION ALL
SELECT view_name, comment FROM duckdb_views() WHERE NOT internal

-- name: macros
-- What each macro gives.
SELECT function_name, parameters, comment
FROM duckdb_functions()
WHERE NOT internal
ORDER BY ALL
