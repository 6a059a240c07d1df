"""The catalog: rows and bytes, never pixels.

`migrations` (the schema), `sky_shards` (the tables per tile of the sky), `views` (and macros, what analysts ask),
`files` (the files that rows name), `checks` (data quality), `refcat`. Below them are three rooms: `store` (DuckDB
itself), `sql` (statements, ours and those from outside) and `work` (units of work and what became of them).

Tests: refcat in tests/survey/test_survey.py; sky_shards in tests/catalog/test_migrations.py.
"""
