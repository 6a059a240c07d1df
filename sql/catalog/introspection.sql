-- What DuckDB says of the catalog itself: tables, columns, views, macros, words.

-- name: relations
-- Tables and views that can be asked by their bare name.
SELECT DISTINCT schema_name, table_name
FROM duckdb_columns()
WHERE NOT internal AND schema_name = 'main' AND database_name IN (current_database(), 'temp')
ORDER BY ALL

-- name: columns
-- Their columns.
SELECT table_name, column_name
FROM duckdb_columns()
WHERE NOT internal AND schema_name = 'main'

-- name: places
-- All tables and views of one name, in which database and schema they are.
SELECT DISTINCT database_name, schema_name, table_name
FROM duckdb_columns()
WHERE NOT internal
    AND lower(table_name) = lower($table)
    AND ($schema IS NULL OR lower(schema_name) = lower($schema))
    AND database_name IN (current_database(), 'temp')

-- name: comments
-- Columns of one table or view, with what is said of them.
SELECT column_name, comment
FROM duckdb_columns()
WHERE database_name = $database AND schema_name = $schema AND table_name = $table
ORDER BY column_index

-- name: view_text
-- The statement that makes a view.
SELECT sql
FROM duckdb_views()
WHERE database_name = $database AND schema_name = $schema AND view_name = $table

-- name: functions
SELECT function_name FROM duckdb_functions()

-- name: has_function
SELECT function_name FROM duckdb_functions() WHERE function_name = $name

-- name: table_macros
-- Macros that are asked like tables.
SELECT lower(function_name)
FROM duckdb_functions()
WHERE NOT internal AND function_type = 'table_macro'

-- name: table_macro
-- Text and parameters of one of them.
SELECT macro_definition, parameters
FROM duckdb_functions()
WHERE NOT internal AND function_type = 'table_macro' AND lower(function_name) = lower($name)

-- name: reserved_words
-- A name that cannot be that of a table.
SELECT keyword_name
FROM duckdb_keywords()
WHERE keyword_name = lower($name) AND keyword_category <> 'unreserved'

-- name: tree
-- A query as DuckDB parses it.
SELECT json_serialize_sql($text::VARCHAR)

-- name: sizes
-- How many rows tables have, about.
SELECT schema_name, table_name, estimated_size
FROM duckdb_tables()
WHERE database_name = current_database()

-- name: count
-- How many rows one has.
SELECT count(*) FROM query_table($table)

-- name: setting
-- What a setting of DuckDB is now.
SELECT current_setting($name)
