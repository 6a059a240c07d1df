"""From raw pixels to sky-subtracted ones: `background`, `cosmic_rays`, `defects`, `thin_lines`, `streaks` (by `radon`),
`plateau` (where stars are cut off), `variance`, `sky_structure` (what two backgrounds took differently).

Tests: radon in tests/imaging/clean/test_streaks.py.
"""
