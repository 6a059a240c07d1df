"""The commands, a file for each kind; `dbpipe.cli.app` has them in the order of the help page.

`work` (init, ingest, refcat, template), `run`, `inject`, `ask` (schema, config, export), `query` (sql, explain),
`lightcurve`, `check` (status, check, gc), `make` (simulate, demo), what `demo` does, and `guide`.
"""
