"""Tables from elsewhere.

`table` (any common kind), `text`, `angles`, `refcat` (stars, whatever the `columns` are called).

Tests: angles, columns in tests/io/tables/test_refcat.py; text in tests/io/tables/test_table.py.
"""
