"""DuckDB itself.

`connection`, `lock` (one writer), `snapshot` (a copy for readers), `arrow` (the border of rows), `lent` (tables of
Python in a statement), `rekey` (keys that change), `undisturbed` (a request to stop waits).

Tests: rekey in tests/survey/test_follow.py; snapshot in tests/survey/test_readers.py.
"""
