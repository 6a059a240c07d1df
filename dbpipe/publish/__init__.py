"""What leaves a survey.

`write` (tables and views as files), `answers` (of queries), `tree` (a folder that is kept up to date: it drives
`layouts`, which rows go where, by night or by tile of the sky, `partitions`, which writes each part, and
`hats_metadata`, what lies beside the tiles), `votable`, and `readers` (what readers have while others write).

Tests: answers, votable in tests/publish/test_formats.py; hats_metadata, layouts, partitions in
tests/publish/test_tree.py.
"""
