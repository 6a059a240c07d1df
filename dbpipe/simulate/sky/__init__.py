"""The sky: `fixed` (stars and galaxies), `light_curves`, `variables`, `bands`."""
