"""Pictures: `charts` (arrays in, a PNG out) and `object_page` (one object)."""
