"""Units of work as rows.

`offer` (what a stage has to do: the units of its work query, each with its fingerprint), `units` (which of them are
due, by comparison with the fingerprint of last time, and what became of them; the rule is ``pending`` in
`sql/catalog/unit.sql`), `judge` (what is said to their rows before they go in), `request` (which raw files are asked
for).

Tests: judge, offer, units in tests/runner/test_pipeline.py; request in tests/stages/test_ingest.py.
"""
