import warnings

import numpy as np
import pytest
import sep
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from astropy.wcs.utils import fit_wcs_from_points

from dbpipe.errors import DataError
from dbpipe.sky.astrometry.fit import solve_astrometry
from dbpipe.sky.astrometry.tansip import Plate, wcs_from_plate
from dbpipe.sky.sphere import deproject, separation_deg
from dbpipe.sky.wcs import pixel_to_sky, tan_wcs

SHAPE = (1024, 1024)
CENTER = (511.5, 511.5)
SCALE = 0.2 / 3600.0
PLACES = [(53.0, -27.4), (0.001, 10.0), (120.0, 89.5)]


def camera(angle_deg, *, scale=SCALE, mirror=-1.0):
    """Return the matrix of a camera turned by an angle."""
    a = np.radians(angle_deg)
    return scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ np.diag([mirror, 1.0])


def true_wcs(ra, dec, *, angle_deg=30.0, distortion_pix=0.0, mirror=-1.0):
    """Return a WCS with a radial cubic distortion of this size in the corners, and half as much quadratic."""
    linear = camera(angle_deg, mirror=mirror)
    pixels = np.zeros((2, 10))
    pixels[0, 1] = pixels[1, 2] = 512.0
    radial = distortion_pix / np.sqrt(8.0)
    pixels[0, [6, 8]] = pixels[1, [9, 7]] = radial
    pixels[0, 3], pixels[1, 4] = 0.3 * radial, -0.2 * radial
    degree_terms = 10 if distortion_pix else 3
    return wcs_from_plate(Plate(ra, dec, CENTER, 512.0, (linear @ pixels)[:, :degree_terms]), SHAPE)


def observe(wcs, n_star, *, seed=1, noise_pix=0.02, n_false=0, n_missing=0):
    """Return x, y, flux of detections and ra, dec, mag of reference stars of a field, both with strangers."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(5, 1018, (2, n_star))
    mag = 20.0 + 3.0 * np.log10(rng.uniform(0.003, 1.0, n_star))
    ra, dec = pixel_to_sky(wcs, x, y)
    other_ra, other_dec = pixel_to_sky(wcs, *rng.uniform(-200, 1224, (2, n_missing)))
    false_x, false_y = rng.uniform(5, 1018, (2, n_false))
    noise = rng.normal(0.0, noise_pix, (2, n_star))
    source = (
        np.concatenate([x + noise[0], false_x]),
        np.concatenate([y + noise[1], false_y]),
        np.concatenate([10.0 ** (-0.4 * mag), 10.0 ** (-0.4 * rng.choice(mag, n_false))]),
    )
    reference = (
        np.concatenate([ra, other_ra]),
        np.concatenate([dec, other_dec]),
        np.concatenate([mag, rng.choice(mag, n_missing)]),
    )
    return source, reference


def header_wcs(wcs, *, offset_arcsec=(0.0, 0.0), turn_deg=0.0, angle_deg=30.0, scale=1.0, mirror=-1.0):
    """Return the linear WCS that a telescope would write: off by an offset, a rotation and a scale."""
    ra, dec = pixel_to_sky(wcs, *CENTER)
    ra, dec = deproject(*(np.array(offset_arcsec) / 3600.0), ra0=float(ra), dec0=float(dec))
    return tan_wcs(
        float(ra), float(dec), crpix=CENTER, cd=camera(angle_deg + turn_deg, scale=SCALE * scale, mirror=mirror)
    )


def error_mas(solution, wcs):
    """Return the rms distance along one axis between a solution and the truth, over the image [mas]."""
    x, y = (g.ravel() for g in np.meshgrid(np.linspace(0, 1023, 15), np.linspace(0, 1023, 15)))
    distance = separation_deg(*pixel_to_sky(solution.wcs, x, y), *pixel_to_sky(wcs, x, y))
    return np.sqrt(np.mean(distance**2) / 2.0) * 3.6e6


@pytest.mark.parametrize("ra, dec", PLACES)
def test_distortion_is_captured_with_a_hundred_stars(ra, dec):
    """A distortion of 0.3 px that the header lacks is fitted to 2 mas with 100 stars, at RA 0 and near the pole too."""
    truth = true_wcs(ra, dec, distortion_pix=0.3)
    source, reference = observe(truth, 100, n_false=50, n_missing=80)
    header = header_wcs(truth, offset_arcsec=(6.0, -8.0), turn_deg=0.05)
    solution = solve_astrometry(*source, *reference, wcs=header, shape=SHAPE)
    assert error_mas(solution, truth) < 2.0
    assert solution.sip_order == 3
    assert solution.offset_arcsec == pytest.approx(10.0, abs=0.01)
    if abs(dec) < 80.0:  # near the pole the shift itself turns the header's north
        assert solution.rotation_deg == pytest.approx(-0.05, abs=0.003)
    assert solution.rms_arcsec == pytest.approx(0.02 * 0.2, rel=0.25)
    assert solution.n_star == len(solution.source_index) == len(solution.reference_index) > 90
    assert np.array_equal(solution.source_index, solution.reference_index)


@pytest.mark.parametrize("n_star", [3, 5, 8, 12, 20, 40])
def test_few_stars_are_not_overfitted(n_star):
    """Without distortion, the error over the image stays near the noise of the stars, however few there are."""
    truth = true_wcs(53.0, -27.4)
    errors, orders = [], []
    for seed in range(6):
        source, reference = observe(truth, n_star, seed=seed)
        solution = solve_astrometry(*source, *reference, wcs=header_wcs(truth, offset_arcsec=(1.0, 1.0)), shape=SHAPE)
        errors.append(error_mas(solution, truth))
        orders.append(solution.sip_order)
    assert np.median(orders) == 1
    assert np.median(errors) < 0.02 * 200.0 * np.sqrt(8.0 / n_star)


def test_errors_are_what_the_noise_predicts():
    """With 200 stars the error of a linear solution is the noise times the root of parameters over stars."""
    truth = true_wcs(53.0, -27.4)
    errors = []
    for seed in range(20):
        source, reference = observe(truth, 200, seed=seed)
        solution = solve_astrometry(*source, *reference, wcs=header_wcs(truth), shape=SHAPE, sip_order_max=1)
        errors.append(error_mas(solution, truth))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(0.02 * 200.0 * np.sqrt(3.0 / 200.0), rel=0.2)


def test_agrees_with_astropy_fit():
    """The linear solution is that of astropy's non-linear fit to the same stars, to 0.1 mas."""
    truth = true_wcs(53.0, -27.4)
    (x, y, flux), (ra, dec, mag) = observe(truth, 60)
    solution = solve_astrometry(x, y, flux, ra, dec, mag, wcs=header_wcs(truth), shape=SHAPE, sip_order_max=1)
    i, j = solution.source_index, solution.reference_index
    proj_point = SkyCoord(*(p * u.deg for p in pixel_to_sky(truth, *CENTER)))
    other = fit_wcs_from_points((x[i], y[i]), SkyCoord(ra[j] * u.deg, dec[j] * u.deg), proj_point=proj_point)
    assert error_mas(solution, other) < 0.1


@pytest.mark.parametrize(
    "header",
    [
        {"offset_arcsec": (10.0, 12.0), "turn_deg": 2.0, "scale": 1.02},
        {"offset_arcsec": (-9.0, 3.0), "turn_deg": -1.0, "scale": 0.98},
        {"turn_deg": 180.0},
        {"offset_arcsec": (5.0, 5.0), "mirror": 1.0},
    ],
    ids=["turned", "shrunk", "upside down", "mirrored"],
)
def test_bad_headers_are_overcome(header):
    """A header that is off, turned, scaled or mirrored ends at the same solution."""
    truth = true_wcs(53.0, -27.4, distortion_pix=0.3)
    source, reference = observe(truth, 150, n_false=100, n_missing=100)
    solution = solve_astrometry(*source, *reference, wcs=header_wcs(truth, **header), shape=SHAPE)
    assert error_mas(solution, truth) < 2.0
    handedness = [np.linalg.det(wcs.pixel_scale_matrix) > 0 for wcs in (solution.wcs, truth)]
    assert handedness[0] == handedness[1]


def test_moving_stars_are_clipped():
    """Reference stars that have moved by 0.1 to 1 px are left out and do not pull the solution."""
    truth = true_wcs(53.0, -27.4, distortion_pix=0.3)
    source, (ra, dec, mag) = observe(truth, 100)
    moved = np.arange(0, 100, 8)
    dec = dec.copy()
    dec[moved] += np.linspace(0.15, 1.0, len(moved)) * SCALE
    solution = solve_astrometry(*source, ra, dec, mag, wcs=header_wcs(truth), shape=SHAPE)
    assert not np.isin(solution.reference_index, moved).any()
    assert error_mas(solution, truth) < 2.5


def test_stars_weigh_by_their_errors():
    """Faint stars with large errors do no harm when the errors are given, and help less than bright ones."""
    truth = true_wcs(53.0, -27.4)
    errors = {"given": [], "equal": []}
    for seed in range(10):
        (x, y, flux), reference = observe(truth, 120, seed=seed, noise_pix=0.0)
        rng = np.random.default_rng(seed)
        err = np.where(np.arange(120) % 3, 0.2, 0.01)
        x, y = x + rng.normal(0, err), y + rng.normal(0, err)
        for name, given in (("given", err), ("equal", None)):
            solution = solve_astrometry(
                x, y, flux, *reference, wcs=header_wcs(truth), shape=SHAPE, xy_err_pix=given, sip_order_max=1
            )
            errors[name].append(error_mas(solution, truth))
    assert np.mean(errors["given"]) < 0.6 < 0.5 * np.mean(errors["equal"])


def test_header_distortion_is_kept_with_few_stars():
    """Eight stars cannot fit a distortion of 3 px, but a header that has it keeps it."""
    truth = true_wcs(53.0, -27.4, distortion_pix=3.0)
    source, reference = observe(truth, 8)
    header = truth.deepcopy()
    header.wcs.crval = [header.wcs.crval[0] + 2e-4, header.wcs.crval[1] - 3e-4]
    header.wcs.set()
    solution = solve_astrometry(*source, *reference, wcs=header, shape=SHAPE)
    assert solution.sip_order == 3
    assert error_mas(solution, truth) < 5.0


def test_solution_survives_its_header():
    """The fitted WCS as FITS text is the fitted WCS, distortion included."""
    truth = true_wcs(0.001, 10.0, distortion_pix=0.5)
    source, reference = observe(truth, 100)
    solution = solve_astrometry(*source, *reference, wcs=header_wcs(truth), shape=SHAPE)
    header = fits.Header.fromstring(solution.wcs.to_header(relax=True).tostring())
    assert error_mas(solution, WCS(header)) < 1e-3


def test_what_cannot_be_solved_is_refused():
    """Unrelated stars, too few of them, or a header without sky coordinates fail the unit."""
    truth = true_wcs(53.0, -27.4)
    source, reference = observe(truth, 40)
    with pytest.raises(DataError, match="match failed"):
        strangers = observe(true_wcs(53.0, -27.4, angle_deg=77.0), 40, seed=9)[0]
        solve_astrometry(*strangers, *reference, wcs=header_wcs(truth), shape=SHAPE)
    with pytest.raises(DataError, match="match failed"):
        solve_astrometry(*(v[:2] for v in source), *reference, wcs=header_wcs(truth), shape=SHAPE)
    with pytest.raises(DataError, match="not a map"):
        solve_astrometry(*source, *reference, wcs=WCS(naxis=2), shape=SHAPE)


def test_real_frames_through_a_wrong_header(shared_data):
    """Frames of a 1-m telescope whose header is off by 36 arcsec are tied to the catalog within 0.05 arcsec."""
    folder = shared_data / "nickel_kalliope"
    catalog = np.genfromtxt(folder / "derived" / "refcat_derived_kalliope_abs.csv", delimiter=",", names=True)
    reference = (catalog["ra_deg"], catalog["dec_deg"], catalog["mag_instr"])
    for path in sorted((folder / "reduced").iterdir())[:3]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            image, header = fits.getdata(path).astype(np.float32), fits.getheader(path)
            wcs = WCS(header)
        bad = ~np.isfinite(image)
        image[bad] = np.nanmedian(image)
        background = sep.Background(image, mask=bad)
        found = sep.extract(image - background.back(), 5.0, err=background.globalrms, mask=bad)
        solution = solve_astrometry(found["x"], found["y"], found["flux"], *reference, wcs=wcs, shape=image.shape)
        assert solution.n_star > 60 and solution.rms_arcsec < 0.08
        assert 25.0 < solution.offset_arcsec < 45.0 and abs(solution.rotation_deg) < 0.02
