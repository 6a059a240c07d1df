"""Which detections are one object: `grouping`, `objects` (as rows), `tracklets` (what moves).

Tests: objects in tests/association/test_association.py.
"""
