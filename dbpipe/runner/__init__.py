"""The loop: `pipeline` (work, run, commit), a stage after the other.

`order` (all stages in their order), `intake` (raw files), `pool` (worker processes), `worker` (one unit), `report`
(what is told), `outlook` (what would be done).

Tests: intake, report in tests/cli/test_ingest_report.py; order, outlook in tests/survey/test_upgrade.py.
"""
