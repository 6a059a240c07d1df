"""What a terminal sees: `console` (tables, progress), `text` (from data, made harmless), `stop` (on request).

Tests: console in tests/cli/test_query.py.
"""
