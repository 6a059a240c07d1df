"""Units of work as rows.

`offer` (what a stage has to do, by its work query), `units` (which are due, what became of them), `judge` (what is said
to their rows before they go in), `request` (which raw files are asked for).

Tests: judge, offer, units in tests/runner/test_pipeline.py; request in tests/stages/test_ingest.py.
"""
