"""The sky: `fixed` (stars and galaxies), `light_curves`, `variables`, `bands`.

Tests: bands, light_curves, variables in tests/simulate/sky/test_fixed.py.
"""
