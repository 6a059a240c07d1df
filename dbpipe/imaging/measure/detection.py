"""Sources on a single exposure."""

from dataclasses import dataclass

import numpy as np
import sep

MIN_AREA_PIX = 3
"""Pixels above the threshold that make a source."""

_KERNEL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]).astype(np.float32) / 256.0
"""Binomial smoothing, FWHM 2.4 pix: light, so that close pairs stay apart."""
_DEBLEND_LEVELS, _DEBLEND_CONTRAST = 64, 1e-5
"""Contrast is relative to the light of the whole blend.  In a crowded field half of the image is one blend, so that at
the customary 0.003 bright stars go missing; a sparse field gives the same list with both."""
_BLENDED_FLAGS = 1 | 2
"""sep: OBJ_MERGED and its SourceExtractor neighbor bit."""


@dataclass(frozen=True)
class Detections:
    """Columns of detected sources, all (n,) arrays, brightest first."""

    x: np.ndarray
    """Barycenter [pix]."""
    y: np.ndarray
    sigma_pix: np.ndarray
    """Size: square root of the product of the isophotal semi-axes [pix]."""
    flux: np.ndarray
    """Isophotal flux [electron]: a ranking, not a measurement."""
    n_pix: np.ndarray
    is_deblended: np.ndarray
    footprints: np.ndarray
    """(ny, nx) bool image of the pixels of all sources."""

    def __len__(self) -> int:
        return len(self.x)


def detect_sources(
    image: np.ndarray, variance: np.ndarray, unusable: np.ndarray, *, threshold_sigma: float = 5.0
) -> Detections:
    """Detect and deblend sources above a threshold in signal to noise.

    The image is matched-filtered with a light kernel and the noise of each pixel (sep, after Bertin & Arnouts
    1996 A&AS 117 393).

    Parameters
    ----------
    image, variance : (ny, nx) float arrays [electron, electron2], background subtracted
    unusable : (ny, nx) bool array
    threshold_sigma : float, in standard deviations of the filtered image
    """
    sep.set_extract_pixstack(max(300_000, image.size))
    sep.set_sub_object_limit(65_536)
    found, segments = sep.extract(
        np.ascontiguousarray(image, np.float32),
        threshold_sigma,
        var=np.ascontiguousarray(variance, np.float32),
        mask=unusable,
        minarea=MIN_AREA_PIX,
        filter_kernel=_KERNEL,
        deblend_nthresh=_DEBLEND_LEVELS,
        deblend_cont=_DEBLEND_CONTRAST,
        clean=True,
        segmentation_map=True,
    )
    order = np.argsort(-found["flux"], kind="stable")
    found = found[order]
    return Detections(
        x=found["x"],
        y=found["y"],
        sigma_pix=np.sqrt(np.maximum(found["a"] * found["b"], 0.0)),
        flux=found["flux"],
        n_pix=found["npix"],
        is_deblended=(found["flag"] & _BLENDED_FLAGS) > 0,
        footprints=segments > 0,
    )
