"""Files on disk, never in the place of somebody else's.

`beside` (whole or not at all), `ledger` (what dbpipe made for a user), `places` (paths, seen with distrust), `trees`
(folders of an export), `content` (the bytes of a file, up to a limit).

Tests: content in tests/io/fits/test_hostile_fits.py; trees in tests/publish/test_tree.py.
"""
