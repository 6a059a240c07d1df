"""Sources of known flux: `places` (where they go), `paint` (their light), `completeness` (what was found of them)."""
