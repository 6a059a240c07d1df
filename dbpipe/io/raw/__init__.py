"""Raw images of any camera.

`image` (from a file to electrons), `instrument` (what keywords mean), `header`, `times`, `wcs`, `image_choice`.
"""
