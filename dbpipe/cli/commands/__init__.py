"""The commands, a file for each kind; `dbpipe.cli.app` has them in the order of the help page.

`work` (init, ingest, refcat, template), `run`, `inject`, `ask` (schema, config, export), `query` (sql, explain),
`lightcurve`, `check` (status, check, gc), `make` (simulate, demo), what `demo` does,
`pair` (subtract) and `guide`.

What a command alone needs it imports when it is called: its own help page loads nothing that calculates.

Tests: ask, check, guide, inject, lightcurve, make, pair, work in tests/end_to_end/test_readme.py; demo in
tests/cli/test_demo.py; query in tests/cli/test_query.py; run in tests/cli/test_nightly.py.
"""
