"""Windows on a tract's pixel grid: which pixels an image holds, in tract coordinates."""

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS

from dbpipe.sky.wcs import pixel_to_sky, sky_to_pixel


@dataclass(frozen=True)
class Window:
    """Pixels x0 ... x0 + nx - 1, y0 ... y0 + ny - 1 of a tract."""

    x0: int
    y0: int
    nx: int
    ny: int

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)"""
        return self.ny, self.nx

    def grown(self, margin_pix: int) -> "Window":
        """Return the window with a margin on every side."""
        return Window(self.x0 - margin_pix, self.y0 - margin_pix, self.nx + 2 * margin_pix, self.ny + 2 * margin_pix)

    def common(self, other: "Window") -> "Window | None":
        """Return the part that two windows share, or None."""
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        nx = min(self.x0 + self.nx, other.x0 + other.nx) - x0
        ny = min(self.y0 + self.ny, other.y0 + other.ny) - y0
        return Window(x0, y0, nx, ny) if nx > 0 and ny > 0 else None

    def union(self, other: "Window") -> "Window":
        """Return the smallest window that holds both."""
        x0, y0 = min(self.x0, other.x0), min(self.y0, other.y0)
        nx = max(self.x0 + self.nx, other.x0 + other.nx) - x0
        ny = max(self.y0 + self.ny, other.y0 + other.ny) - y0
        return Window(x0, y0, nx, ny)

    def slices_in(self, outer: "Window") -> tuple[slice, slice]:
        """Return the pair of slices that cuts this window out of an array of the window ``outer``."""
        y, x = self.y0 - outer.y0, self.x0 - outer.x0
        return slice(y, y + self.ny), slice(x, x + self.nx)


def footprint_window(wcs: WCS, shape: tuple[int, int], tract_frame: WCS, *, margin_pix: int = 2) -> Window:
    """Return the window of a tract that an image covers.

    Parameters
    ----------
    wcs : WCS of the image
    shape : (ny, nx) of the image
    tract_frame : WCS of the whole tract
    """
    ny, nx = shape
    # the outline, not only the corners: projected edges bend
    t = np.linspace(-0.5, 0.5, 33)
    x = np.concatenate([t * nx, t * nx, np.full(33, -0.5 * nx), np.full(33, 0.5 * nx)]) + (nx - 1) / 2.0
    y = np.concatenate([np.full(33, -0.5 * ny), np.full(33, 0.5 * ny), t * ny, t * ny]) + (ny - 1) / 2.0
    tx, ty = sky_to_pixel(tract_frame, *pixel_to_sky(wcs, x, y))
    x0, y0 = (int(np.floor(v.min())) - margin_pix for v in (tx, ty))
    x1, y1 = (int(np.ceil(v.max())) + margin_pix for v in (tx, ty))
    return Window(x0, y0, x1 - x0 + 1, y1 - y0 + 1)
