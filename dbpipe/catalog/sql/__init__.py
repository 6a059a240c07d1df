"""SQL as text.

`queries` (ours, by name), `questions` (from outside, held to reading), `errors` (in one line), `lineage` and
`dictionary` (what columns mean), `cookbook` (questions that come with dbpipe).

Tests: cookbook in tests/sql/test_cookbook.py; errors in tests/catalog/sql/test_questions.py; lineage in
tests/catalog/sql/test_dictionary.py.
"""
