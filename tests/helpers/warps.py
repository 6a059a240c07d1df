"""Warps by a matrix, for tests."""

import numpy as np

from dbpipe.imaging.resample import warp


def turned(angle_deg, scale):
    """Return d(in)/d(out) of a rotation and a scale."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return scale * np.array([[c, -s], [s, c]])


def affine_warp(image, matrix, *, origin, shape, mask=None, variance=None, step=32):
    """Warp about the output's pixel ``shape / 2``, which lies at ``origin`` (x, y) in the input."""
    nodes = [np.arange(-(-n // step) + 1) * step - n / 2 for n in shape]
    v, u = np.meshgrid(*nodes, indexing="ij")
    return warp(
        image,
        np.ones_like(image) if variance is None else variance,
        np.zeros(image.shape, np.uint16) if mask is None else mask,
        map_x=matrix[0, 0] * u + matrix[0, 1] * v + origin[0],
        map_y=matrix[1, 0] * u + matrix[1, 1] * v + origin[1],
        step_pix=step,
        shape=shape,
    )
