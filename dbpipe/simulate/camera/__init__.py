"""The camera: `visits`, `psf`, `detector`, `render`, `exposure`."""
