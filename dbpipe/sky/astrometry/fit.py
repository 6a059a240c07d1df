"""Fit the WCS of an exposure to a reference catalog.

The header gives the first plate, distortion included. A pattern match finds which star is which. Then corrections to
the plate are fitted by linear least squares (`platefit`), of the degree that foretells stars left out of the fit best,
and stars are matched anew in a radius that follows the residuals.
"""

import math
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS

from dbpipe.constants import ARCSEC_PER_DEG, robust_sigma
from dbpipe.errors import DataError
from dbpipe.sky.astrometry.pattern import match_pattern
from dbpipe.sky.astrometry.plate_fit import MIN_STAR, Fit, Pairs, choose_model, similar_plate
from dbpipe.sky.astrometry.tansip import Plate, plate_from_wcs, wcs_from_plate
from dbpipe.sky.matching import match_points
from dbpipe.sky.sphere import local_axes, separation_deg
from dbpipe.sky.wcs import check_celestial, sky_to_pixel

MATCH_RADIUS_SIGMA = 6.0
MIN_MATCH_RADIUS_PIX = 0.3


@dataclass(frozen=True)
class AstrometrySolution:
    """A fitted WCS and how well it holds."""

    wcs: WCS
    """TAN, or TAN-SIP with inverse polynomials; ICRS; its reference pixel is the image center."""
    source_index: np.ndarray
    """Stars kept in the fit: indices into the sources."""
    reference_index: np.ndarray
    """Indices of the same stars in the reference catalog."""
    rms_arcsec: float
    """Robust standard deviation of the residuals along one axis."""
    held_out_rms_arcsec: float
    """The same for stars about fits without them: what the WCS is off by where there is no star."""
    residual_mas: np.ndarray
    """(n, 2) of the stars kept, measured minus catalog, to the east and north."""
    n_star: int
    sip_order: int
    """Degree of the distortion; 1 means none."""
    offset_arcsec: float
    """How far the header was off at the image center."""
    rotation_deg: float
    """How far the x axis of the header was turned, from east to north positive."""


def solve_astrometry(
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
    ra: np.ndarray,
    dec: np.ndarray,
    mag: np.ndarray,
    *,
    wcs: WCS,
    shape: tuple[int, int],
    xy_err_pix: np.ndarray | None = None,
    max_offset_arcsec: float = 60.0,
    sip_order_max: int = 3,
) -> AstrometrySolution:
    """Match detected sources to reference stars and fit a TAN-SIP WCS.

    Parameters
    ----------
    x, y, flux : (n,) float arrays [pix, pix, any]
        Sources fit for astrometry (not saturated, not at the edge); galaxies and artifacts may be among them.
    ra, dec, mag : (m,) float arrays [deg, deg, mag]
        Reference stars at the epoch of the exposure, of the field and around it. Of mag only the order counts.
    wcs : WCS
        Of the header: any celestial WCS that astropy understands.
    shape : (ny, nx)
    xy_err_pix : (n,) float array or None
        Standard error of x and of y, one axis; a floor is added in quadrature until the residuals are explained.
    max_offset_arcsec : float
        Largest header error that is searched.
    sip_order_max : int
        Highest degree tried. A distortion that the header has is kept and corrected, whatever its degree.

    Returns
    -------
    AstrometrySolution

    Raises
    ------
    DataError
        If the WCS is not celestial, the lists do not match, or fewer than three stars survive.
    """
    check_celestial(wcs)
    x, y, flux, ra, dec, mag = (np.asarray(v, float) for v in (x, y, flux, ra, dec, mag))
    err = np.zeros(len(x)) if xy_err_pix is None else np.nan_to_num(np.asarray(xy_err_pix, float), nan=1.0)
    header = plate_from_wcs(wcs, shape)
    max_offset_pix = max_offset_arcsec / (header.pixel_scale_deg * ARCSEC_PER_DEG)
    near = _near_image(wcs, ra, dec, shape, max_offset_pix)
    source, reference = _first_pairs(wcs, (x, y, flux), (ra, dec, mag, near), shape, max_offset_pix)
    pairs = Pairs(x, y, err, ra, dec)
    plate = _first_plate(header, _take(pairs, source, reference))
    source, reference, fit = _fit_and_rematch(plate, pairs, near, source, reference, sip_order_max)
    pixel_arcsec = fit.plate.pixel_scale_deg * ARCSEC_PER_DEG
    residual = _take(pairs, source, reference).residuals_pix(fit.plate) * pixel_arcsec
    return AstrometrySolution(
        wcs=wcs_from_plate(fit.plate, shape),
        source_index=source,
        reference_index=reference,
        rms_arcsec=_robust_rms(residual, fit.model.n_parameter),
        held_out_rms_arcsec=_robust_rms(fit.held_out_pix[fit.keep] * pixel_arcsec, 0),
        residual_mas=1000.0 * residual,
        n_star=len(source),
        sip_order=fit.plate.degree,
        offset_arcsec=float(separation_deg(header.ra, header.dec, fit.plate.ra, fit.plate.dec)) * ARCSEC_PER_DEG,
        rotation_deg=_x_axis_turn_deg(header, fit.plate),
    )


def _near_image(wcs: WCS, ra: np.ndarray, dec: np.ndarray, shape: tuple[int, int], max_offset_pix: float) -> np.ndarray:
    """Return the indices of the reference stars that the header puts on the image, or as far off as it may err."""
    x, y = sky_to_pixel(wcs, ra, dec)
    margin = max_offset_pix + 0.05 * max(shape)
    with np.errstate(invalid="ignore"):
        inside = (x > -margin) & (x < shape[1] + margin) & (y > -margin) & (y < shape[0] + margin)
    return np.flatnonzero(inside)


def _first_pairs(
    wcs: WCS,
    source: tuple[np.ndarray, np.ndarray, np.ndarray],
    reference: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    shape: tuple[int, int],
    max_offset_pix: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Match the pattern of stars; returns indices into the sources and the reference stars."""
    x, y, flux = source
    ra, dec, mag, near = reference
    expected = np.stack(sky_to_pixel(wcs, ra[near], dec[near]), axis=-1)
    good = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    detected = np.stack([x[good], y[good]], axis=-1)
    pattern = match_pattern(detected, expected, shape, flux=flux[good], mag=mag[near], max_offset_pix=max_offset_pix)
    return good[pattern.source_index], near[pattern.reference_index]


def _take(pairs: Pairs, source: np.ndarray, reference: np.ndarray) -> Pairs:
    """Return the matched stars of two index lists."""
    return Pairs(pairs.x[source], pairs.y[source], pairs.err_pix[source], pairs.ra[reference], pairs.dec[reference])


def _first_plate(header: Plate, pairs: Pairs) -> Plate:
    """Turn and shift the header's plate onto the matched stars, mirrored if that is what they say."""
    fits = []
    for mirror in (np.eye(2), np.diag([-1.0, 1.0])):
        plate = similar_plate(header.turned(mirror), pairs, np.ones(len(pairs.x)))
        fits.append((np.median(np.abs(pairs.residuals_pix(plate))), plate))
    return min(fits, key=lambda fit: fit[0])[1]


def _fit_and_rematch(
    plate: Plate, pairs: Pairs, near: np.ndarray, source: np.ndarray, reference: np.ndarray, sip_order_max: int
) -> tuple[np.ndarray, np.ndarray, Fit]:
    """Fit, match all stars anew with the fitted plate, and repeat; returns the kept pairs and the last fit."""
    xy = np.stack([pairs.x, pairs.y])
    for _ in range(4):
        if len(source) < MIN_STAR:
            raise DataError("too few stars for astrometry", n_star=len(source), n_required=MIN_STAR)
        matched = _take(pairs, source, reference)
        fit = choose_model(plate, matched, sip_order_max)
        kept = source[fit.keep], reference[fit.keep]
        radius = max(MATCH_RADIUS_SIGMA * float(np.median(fit.sigma_pix[fit.keep])), MIN_MATCH_RADIUS_PIX)
        radius *= fit.plate.pixel_scale_deg
        before = source
        expected = fit.plate.project(pairs.ra[near], pairs.dec[near])
        source, index = match_points(fit.plate.plane(*xy), expected, radius=radius)
        reference = near[index]
        if np.array_equal(source, before):
            break
    if len(kept[0]) < MIN_STAR:
        raise DataError("too few stars for astrometry", n_star=len(kept[0]), n_required=MIN_STAR)
    return *kept, fit


def _robust_rms(residual: np.ndarray, n_parameter: int) -> float:
    """Return the standard deviation along one axis from the median of |residual|, freed of the fitted parameters."""
    freedom = residual.size
    return robust_sigma(residual, 0.0) * math.sqrt(freedom / max(freedom - n_parameter, 1.0))


def _x_axis_turn_deg(header: Plate, plate: Plate) -> float:
    """Return the angle from the header's x axis to the fitted one, both as seen at the fitted center, -180 to 180."""
    angles = []
    for p in (header, plate):
        axis = p.jacobian[:, 0] @ np.stack(local_axes(p.ra, p.dec))
        east, north = local_axes(plate.ra, plate.dec)
        angles.append(math.atan2(north @ axis, east @ axis))
    return math.degrees(math.remainder(angles[1] - angles[0], 2.0 * math.pi))
