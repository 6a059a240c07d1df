"""Pictures: `charts` (arrays in, a PNG out) and `object_page` (one object).

Tests: object_page in tests/ask/test_light_curves.py.
"""
