"""What comes of a pair: images, sources, and how good they are."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.wcs import WCS

from dbpipe.disk.ledger import write_output
from dbpipe.imaging.convolve import KernelField
from dbpipe.imaging.mask import NAMES
from dbpipe.io.wcs_text import exact_card, wcs_cards
from dbpipe.sky.wcs import pixel_scale_arcsec
from dbpipe.stages.shared.columns import is_clean

IMAGE_FILE, SOURCE_FILE = "difference.fits", "sources.parquet"
_OF_SURVEYS = ("dia_source_id", "visit", "detector", "band", "template_id", "midpoint_mjd_tai", "hpx29")
_ON_SKY = ("ra", "dec", "ra_err", "dec_err", "ra_dec_cov")
_CARDS = {
    "science_fwhm_pix": ("FWHM", "[pix] PSF FWHM of the science image"),
    "template_fwhm_pix": ("TFWHM", "[pix] PSF FWHM of the template"),
    "convolved": ("CONVOLVD", "the side that was convolved"),
    "n_kernel_star": ("NKERNEL", "stars that made the kernel"),
    "kernel_sum": ("KERNSUM", "science per template flux"),
    "template_coverage": ("COVERAGE", "of pixels with a template"),
    "score_std": ("SCORESTD", "of the score on blank sky: 1"),
    "lag1_correlation": ("LAG1CORR", "of neighbors on blank sky"),
    "noise": ("NOISE", "of a pixel of the difference"),
    "n_common_star": ("NCOMMON", "stars that both images have"),
    "offset_pix": ("OFFSET", "[pix] of the two pixel grids"),
    "is_resampled": ("RESAMPLD", "laid on another grid?"),
    "registration_scatter_pix": ("REGSCAT", "[pix] of common stars"),
    "gain": ("GAIN", "[electron/unit] of the science image"),
}


@dataclass(frozen=True)
class PairDifference:
    """The difference of two images, in the unit of the science image's pixels.

    Attributes
    ----------
    difference : (ny, nx) float32, science less template, its noise white; NaN, as all planes but that of the science
        image, where one of the two has no data
    variance : (ny, nx) float32, of the difference
    mask : (ny, nx) uint16, bits of `dbpipe.imaging.mask`
    score : (ny, nx) float32, signal to noise of a point source at every pixel; N(0, 1) on blank sky
    template : (ny, nx) float32, the template as it was subtracted
    science : (ny, nx) float32, the science image without its sky
    psf : KernelField, PSF of the difference, in blocks
    wcs : WCS of all of these, or None
    sources : DataFrame, one row for each source; columns as in the table dia_source of a survey, fluxes in the unit of
        the science image, and ``is_clean``: primary, and nothing speaks against it
    quality : numbers by name
    notes : "science", "template", "difference" -> what was assumed of them, or is to be said of them, in words
    """

    difference: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    score: np.ndarray
    template: np.ndarray
    science: np.ndarray
    psf: KernelField
    wcs: WCS | None
    sources: pd.DataFrame
    quality: Mapping[str, Any]
    notes: Mapping[str, tuple[str, ...]]

    @property
    def pixel_scale_arcsec(self) -> float | None:
        """Side of the pixel at the center, None without a WCS."""
        return None if self.wcs is None else float(pixel_scale_arcsec(self.wcs, self.difference.shape))

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write ``difference.fits`` and ``sources.parquet`` into a folder, which is made if need be.

        Raises
        ------
        ConfigError
            If a file of that name is there that dbpipe did not make.
        """
        paths = [Path(folder) / IMAGE_FILE, Path(folder) / SOURCE_FILE]
        write_output(paths[0], self._write_images)
        write_output(paths[1], self._write_sources)
        return paths

    def _write_images(self, path: Path) -> None:
        planes = {
            "DIFF": self.difference,
            "VARIANCE": self.variance,
            "MASK": self.mask,
            "SCORE": self.score,
            "TEMPLATE": self.template,
            "SCIENCE": self.science,
        }
        primary = fits.PrimaryHDU(header=self._header())
        cards = fits.Header() if self.wcs is None else _wcs_header(self.wcs)
        hdus = [fits.ImageHDU(array, name=name, header=cards.copy()) for name, array in planes.items()]
        for plane, bit in NAMES.items():
            hdus[2].header[f"MP_{plane}"[:8]] = bit
        hdus.append(fits.ImageHDU(self.psf.kernels, name="PSF"))
        hdus[-1].header["PSFBLOCK"] = (self.psf.block_pix, "[pix] side of the block of each PSF")
        fits.HDUList([primary, *hdus]).writeto(path, overwrite=True)

    def _header(self) -> fits.Header:
        header = fits.Header()
        for name, (keyword, comment) in _CARDS.items():
            value = self.quality[name]
            if not isinstance(value, float) or np.isfinite(value):
                header[keyword] = (exact_card(keyword, value).value, comment)
        for name, notes in self.notes.items():
            for note in notes:
                header["HISTORY"] = f"{name}: {note}".encode("ascii", "replace").decode()
        return header

    def _write_sources(self, path: Path) -> None:
        table = pa.Table.from_pandas(self.sources, preserve_index=False)
        fields = [field.with_metadata({"unit": _unit(field.name)}) for field in table.schema]
        pq.write_table(table.cast(pa.schema(fields, metadata=table.schema.metadata)), path, compression="zstd")


def _wcs_header(wcs: WCS) -> fits.Header:
    """Return a WCS with all its digits; one of a kind that only astropy can write, as astropy does."""
    try:
        return fits.Header(wcs_cards(wcs))
    except ValueError:
        return wcs.to_header(relax=True)


def source_table(columns: Mapping[str, Any], *, has_wcs: bool) -> pd.DataFrame:
    """Return the columns of dia_source that mean something without a survey, best score first."""
    columns = dict(columns) | {"is_clean": is_clean(columns)}
    kept = {
        name.replace("_njy", ""): values
        for name, values in columns.items()
        if name not in _OF_SURVEYS and (has_wcs or not (name in _ON_SKY or "arcsec" in name))
    }
    frame = pd.DataFrame(kept)
    first = [name for name in ("x", "y", "ra", "dec", "score", "psf_flux", "psf_flux_err", "is_clean") if name in kept]
    frame = frame[[*first, *(name for name in frame if name not in first)]]
    return frame.sort_values("score", key=np.abs, ascending=False, kind="stable", ignore_index=True)


def _unit(name: str) -> str:
    """Return the unit that the name of a column tells."""
    if "flux" in name and not name.startswith("flag"):
        return "unit of the science image"
    suffixes = {"arcsec2": "arcsec2", "arcsec": "arcsec", "deg": "deg", "pix": "pix"}
    known = {"x": "pix", "y": "pix", "x_err": "pix", "y_err": "pix", "xy_cov": "pix2", "ra_dec_cov": "deg2"}
    known |= dict.fromkeys(("ra", "dec", "ra_err", "dec_err"), "deg")
    return known.get(name) or suffixes.get(name.rpartition("_")[2], "")
