"""The visits: when, through which filter, where to, and in what conditions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dbpipe.simulate.camera.psf import Psf
from dbpipe.simulate.sky import bands
from dbpipe.simulate.sky.fixed import offset_position

if TYPE_CHECKING:
    import pandas as pd

CCD = "R22_S11"
PIXEL_SCALE_ARCSEC = 0.2
EXPOSURE_S = 30.0
READ_NOISE_E = 5.0
FULL_WELL_E = 100_000.0
SEEING_RANGE_ARCSEC = (0.65, 1.10)
SKY_RANGE_E = (300.0, 1100.0)
DITHER_ARCSEC = 15.0
"""Largest dither in one coordinate."""


@dataclass(frozen=True)
class Visit:
    """One exposure of one CCD; pixel positions are 0-based, the header's WCS is `ra_header` and so on."""

    obsid: int
    band: str
    mjd_start_tai: float
    airmass: float
    transparency: float
    nx: int
    ny: int
    psf: Psf
    sky_e: float
    sky_gradient: tuple[float, float]
    """Relative change of the sky from the center to u = 1 and v = 1."""
    ra: float
    dec: float
    """True position of the reference pixel, ((nx, ny) / 2 counted from 1)."""
    rotation_deg: float
    flipped: bool
    """Parity: True if x runs against the sky's usual sense."""
    distortion_radial_pix: float
    distortion_quadratic_pix: tuple[float, ...]
    """Coefficients of u^2, uv, v^2 for x, then for y; (u, v) is the distance from the center over the half diagonal."""
    header_offset_arcsec: tuple[float, float]
    """How far east and north the header's WCS is off."""
    header_rotation_arcsec: float
    problems: tuple[str, ...] = ()
    has_light: bool = True
    """False if the shutter stayed closed to the sources."""

    @property
    def mjd_mid_tai(self) -> float:
        return self.mjd_start_tai + 0.5 * EXPOSURE_S / 86400.0

    @property
    def shape(self) -> tuple[int, int]:
        return self.ny, self.nx

    @property
    def zero_point_mag(self) -> float:
        """AB magnitude of one electron of the exposure."""
        extinction = bands.EXTINCTION_MAG[self.band] * (self.airmass - 1.0)
        total = 2.5 * np.log10(EXPOSURE_S * self.transparency)
        return float(bands.ZERO_POINT_1S_MAG[self.band] + total - extinction)

    @property
    def file_name(self) -> str:
        return f"lsst_e_{self.obsid}_f{bands.filter_number(self.band)}_{CCD}_E000.fits.gz"

    def cd_matrix(self, rotation_deg: float | None = None) -> np.ndarray:
        """Return the 2x2 CD matrix of the true WCS, or of one with another rotation [deg/pix]."""
        angle = np.radians(self.rotation_deg if rotation_deg is None else rotation_deg)
        scale = PIXEL_SCALE_ARCSEC / 3600.0
        turn = scale * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return turn @ np.diag([-1.0, 1.0]) if self.flipped else turn

    def header_cd_matrix(self) -> np.ndarray:
        """Return the CD matrix that the header claims [deg/pix]."""
        return self.cd_matrix(self.rotation_deg + self.header_rotation_arcsec / 3600.0)


def sky_to_pixel(
    visit: Visit, ra: "pd.Series | np.ndarray", dec: "pd.Series | np.ndarray"
) -> tuple[float | np.ndarray, float | np.ndarray]:
    """Return the true x, y of sky positions [pix]: a tangent-plane projection (Calabretta & Greisen 2002 A&A 395
    1077, eqs. 12-13 and 54), the CD matrix and the distortion."""
    a, d = np.radians(np.asarray(ra, float) - visit.ra), np.radians(np.asarray(dec, float))
    d0 = np.radians(visit.dec)
    depth = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a)
    plane = np.degrees([np.cos(d) * np.sin(a), np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(a)]) / depth
    x, y = np.tensordot(np.linalg.inv(visit.cd_matrix()), plane, 1)
    x, y = x + visit.nx / 2 - 1, y + visit.ny / 2 - 1
    half_diagonal = np.hypot(visit.nx, visit.ny) / 2
    u, v = (x - (visit.nx - 1) / 2) / half_diagonal, (y - (visit.ny - 1) / 2) / half_diagonal
    radial = visit.distortion_radial_pix * (u**2 + v**2)
    q = visit.distortion_quadratic_pix
    dx = radial * u + q[0] * u**2 + q[1] * u * v + q[2] * v**2
    dy = radial * v + q[3] * u**2 + q[4] * u * v + q[5] * v**2
    return x + dx, y + dy


def plan_visits(
    n_per_band: Mapping[str, int], *, ra: float, dec: float, size_pix: tuple[int, int], rng: np.random.Generator
) -> list[Visit]:
    """Plan the visits of a survey, in order of time.

    Parameters
    ----------
    n_per_band : dict
        Number of visits in each band.
    ra, dec : float
        Center of the field [deg].
    size_pix : (nx, ny)
    rng : numpy.random.Generator

    Returns
    -------
    list of Visit
    """
    sequence = rng.permutation([band for band, n in n_per_band.items() for _ in range(n)])
    nights = np.sort(rng.uniform(0.0, 60.0, len(sequence))).astype(int)
    starts = np.sort(59580.10 + nights + rng.uniform(0.0, 0.12, len(sequence)))
    obsids = 185_000 + np.cumsum(rng.integers(40, 700, len(sequence)))
    lens = rng.uniform(-0.05, 0.05, 6)  # the optics' own share of the distortion is the same in every visit
    return [
        _random_visit(int(obsid), str(band), float(start), ra=ra, dec=dec, size_pix=size_pix, lens=lens, rng=rng)
        for obsid, band, start in zip(obsids, sequence, starts, strict=True)
    ]


def _random_visit(
    obsid: int,
    band: str,
    start: float,
    *,
    ra: float,
    dec: float,
    size_pix: tuple[int, int],
    lens: np.ndarray,
    rng: np.random.Generator,
) -> Visit:
    east, north = rng.uniform(-1.0, 1.0, 2) * min(DITHER_ARCSEC, 0.1 * min(size_pix) * PIXEL_SCALE_ARCSEC)
    true_ra, true_dec = offset_position(ra, dec, east, north)
    seeing = np.clip(rng.lognormal(np.log(0.82), 0.17), *SEEING_RANGE_ARCSEC)
    direction, ellipticity = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.01, 0.035)
    slopes = rng.uniform(-0.012, 0.012, 4)
    psf = Psf(
        fwhm_pix=float(seeing / PIXEL_SCALE_ARCSEC),
        beta=round(float(rng.uniform(3.5, 4.8)), 3),
        g1=(float(ellipticity * np.cos(direction)), float(slopes[0]), float(slopes[1])),
        g2=(float(ellipticity * np.sin(direction)), float(slopes[2]), float(slopes[3])),
        fwhm_slope=tuple(rng.uniform(-0.02, 0.02, 2).tolist()),
    )
    return Visit(
        obsid=obsid,
        band=band,
        mjd_start_tai=start,
        airmass=float(rng.uniform(1.05, 1.6)),
        transparency=float(rng.uniform(0.8, 1.0)),
        nx=size_pix[0],
        ny=size_pix[1],
        psf=psf,
        sky_e=float(np.clip(EXPOSURE_S * bands.SKY_E_PER_S[band] * rng.uniform(0.6, 1.6), *SKY_RANGE_E)),
        sky_gradient=tuple(rng.uniform(-0.03, 0.03, 2).tolist()),
        ra=float(true_ra),
        dec=float(true_dec),
        rotation_deg=float(rng.uniform(0.0, 360.0)),
        flipped=bool(rng.random() < 0.5),
        distortion_radial_pix=float(rng.uniform(0.27, 0.36)),
        distortion_quadratic_pix=tuple((lens + rng.normal(0.0, 0.005, 6)).tolist()),
        header_offset_arcsec=tuple(rng.uniform(-1.4, 1.4, 2).tolist()),
        header_rotation_arcsec=float(rng.uniform(-20.0, 20.0)),
    )
