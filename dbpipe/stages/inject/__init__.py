"""Put sources of known flux into copies of an exposure and find them again: the stage is in `stage`.

Tests: copies, stage in tests/stages/test_inject.py.
"""
