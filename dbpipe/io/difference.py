"""Difference images on disk."""

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.wcs import WCS

from dbpipe.disk.places import find_below
from dbpipe.errors import DataError
from dbpipe.imaging.convolve import KernelField
from dbpipe.imaging.psf.model import PsfModel
from dbpipe.io.exposure import Exposure, read_exposure
from dbpipe.io.planes import Planes, read_planes


@dataclass(frozen=True)
class Difference:
    """A whitened difference image with both sides that made it, in electrons of the science image."""

    difference: np.ndarray
    """(ny, nx) float32"""
    variance: np.ndarray
    """(ny, nx) float32, of white noise"""
    mask: np.ndarray
    """(ny, nx) uint16"""
    score: np.ndarray
    """(ny, nx) float32, signal to noise of a point source at each pixel"""
    template: np.ndarray
    """(ny, nx) float32, what was subtracted"""
    psf_field: KernelField
    """PSF of the difference"""
    wcs: WCS
    metadata: dict[str, Any]
    """CALEXP, the path of the science image, and what else the header tells"""
    science: np.ndarray | None = None
    """(ny, nx) float32, the calibrated exposure; read with the file, not written"""
    science_psf: PsfModel | None = None

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file; the science image stays in its own."""
        arrays = {
            "IMAGE": self.difference,
            "VARIANCE": self.variance,
            "MASK": self.mask,
            "SCORE": self.score,
            "TEMPLATE": self.template,
            "PSF": self.psf_field.kernels,
        }
        Planes(arrays, self.wcs, self.metadata | {"PSFBLOCK": self.psf_field.block_pix}).write(path)

    def as_read(self, exposure: Exposure) -> "Difference":
        """Return it as `read_difference` would: planes without gaps in memory, and the science image with its PSF."""
        names = ("difference", "variance", "mask", "score", "template")
        arrays: dict[str, Any] = {name: np.ascontiguousarray(getattr(self, name)) for name in names}
        return replace(self, **arrays, science=exposure.image, science_psf=exposure.psf)


def read_difference(path: str) -> Difference:
    """Read a difference image and the calibrated exposure it came from.

    Raises
    ------
    DataError
        If one of the two files cannot be read, or the header of the first names something outside of the survey.
    """
    file = read_planes(path, ["IMAGE", "VARIANCE", "MASK", "SCORE", "TEMPLATE", "PSF"])
    science = read_exposure(_science_path(path, file.metadata.get("CALEXP")), planes=("image",))
    return Difference(
        difference=file.arrays["IMAGE"],
        variance=file.arrays["VARIANCE"],
        mask=file.arrays["MASK"],
        score=file.arrays["SCORE"],
        template=file.arrays["TEMPLATE"],
        psf_field=KernelField(file.arrays["PSF"], file.metadata["PSFBLOCK"]),
        wcs=file.wcs,
        metadata=file.metadata,
        science=science.image,
        science_psf=science.psf,
    )


def _science_path(path: str, name: Any) -> str:
    """Return the path of the exposure that a header names: below the current folder, which is the survey."""
    if os.path.isabs(path) and os.path.isabs(str(name)):
        return name
    found = find_below(".", name)
    if found is None:
        raise DataError("the difference image names an exposure outside of the survey", path=str(path), calexp=name)
    return name
