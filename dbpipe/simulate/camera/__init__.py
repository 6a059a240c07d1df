"""The camera: `visits`, `psf`, `detector`, `render`, `exposure`.

Tests: exposure in tests/simulate/test_write.py; psf in tests/simulate/camera/test_render.py.
"""
