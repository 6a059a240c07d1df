"""What leaves a survey.

`write` (tables and views as files), `answers` (of queries), `tree` (a folder that is kept up to date), `layouts` (by
night, by sky), `partitions`, `hats`, `votable`, and `readers` (what these have while others write).

Tests: answers, votable in tests/publish/test_formats.py; hats, layouts, partitions in tests/publish/test_tree.py.
"""
