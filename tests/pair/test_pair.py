"""Two images without a survey: what is new is found with the flux and the noise that it has."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS
from scipy import ndimage
from scipy.spatial import cKDTree
from two_images import GAIN, SIZE, field_wcs, make_two

import dbpipe
from dbpipe.errors import ConfigError, DataError
from dbpipe.imaging import mask as bits


def recovered(result, pair, *, within_pix=1.5):
    """Return the index of the new sources that were found, their row, and their pulls."""
    sources = result.sources[~result.sources.is_negative & result.sources.is_primary]
    distance, nearest = cKDTree(sources[["x", "y"]].to_numpy()).query(np.column_stack([pair.x, pair.y]))
    found = np.flatnonzero(distance < within_pix)
    rows = sources.iloc[nearest[found]]
    return found, rows, (rows.psf_flux.to_numpy() - pair.flux[found]) / rows.psf_flux_err.to_numpy()


def assert_right(result, pair, *, n_lost=1, n_false=1):
    """The noise is what the score says, what is new is found with its flux, and little else is.

    One of twelve may be lost: some lie on a star.
    """
    assert 0.96 < result.quality["score_std"] < 1.04
    assert abs(result.quality["lag1_correlation"]) < 0.03
    found, rows, pulls = recovered(result, pair)
    assert len(found) >= len(pair.x) - n_lost
    assert abs(np.mean(pulls)) < 3.5 / np.sqrt(len(pulls)) + 0.5 and np.std(pulls) < 1.8, pulls
    assert result.sources.is_clean.sum() <= len(pair.x) + n_false


@pytest.fixture(scope="module")
def same_grid():
    """A pair on one grid, the template the sharper one, as arrays."""
    pair = make_two()
    return pair, dbpipe.subtract(pair.science, pair.template, gain=GAIN, template_gain=GAIN)


def test_new_sources_are_found(same_grid):
    """On one grid nothing is resampled, and the sharper template is convolved."""
    pair, result = same_grid
    assert_right(result, pair)
    assert not result.quality["is_resampled"] and result.quality["convolved"] == "template"
    assert result.quality["kernel_sum"] == pytest.approx(1 / 0.7, rel=0.01)
    assert "ra" not in result.sources and result.wcs is None


def test_a_blunter_template_does_as_well():
    """The kernel convolves whichever side is the sharper one."""
    pair = make_two(seed=2, science_fwhm_pix=3.0, template_fwhm_pix=4.3)
    result = dbpipe.subtract(pair.science, pair.template)
    assert result.quality["convolved"] == "science"
    assert result.quality["kernel_sum"] == pytest.approx(1 / 0.7, rel=0.03)
    assert_right(result, pair)


@pytest.mark.parametrize(
    "wcs",
    [
        field_wcs(turn_deg=33.0, center=(190.3, 215.8)),
        field_wcs(turn_deg=180.0, scale_arcsec=0.45),
        field_wcs(mirrored=True),
    ],
    ids=["turned", "upside_down_and_finer", "mirrored"],
)
def test_a_template_on_another_grid_is_laid_on_the_science_image(wcs):
    """Turned, shifted, finer or mirrored: by its WCS, flux conserved, and where it does not reach there is no data."""
    pair = make_two(seed=3, template_wcs=wcs, template_fwhm_pix=2.9)
    result = dbpipe.subtract(
        CCDData(pair.science, unit="adu", wcs=pair.science_wcs),
        fits.PrimaryHDU(pair.template, header=wcs.to_header()),
    )
    assert result.quality["is_resampled"]
    covered = (result.mask & bits.NO_DATA) == 0
    column, row = np.rint(pair.x).astype(int), np.rint(pair.y).astype(int)
    seen = covered[row, column]
    found, rows, pulls = recovered(result, pair)
    assert set(np.flatnonzero(seen)) <= set(found) and np.std(pulls) < 1.8 and abs(np.mean(pulls)) < 1.5
    assert result.quality["kernel_sum"] == pytest.approx(1 / 0.7, rel=0.02)
    assert 0.96 < result.quality["score_std"] < 1.04
    sky = pair.science_wcs.all_pix2world(rows.x, rows.y, 0)
    np.testing.assert_allclose(rows[["ra", "dec"]].to_numpy().T, sky, atol=1e-9)
    assert np.isnan(result.score[ndimage.binary_erosion(~covered, iterations=12)]).all()


def test_without_a_wcs_the_stars_say_where_the_template_is():
    """A shift of some ten pixels is found by the pattern of the stars."""
    shifted = field_wcs(center=((SIZE - 1) / 2 + 12.3, (SIZE - 1) / 2 - 7.6))
    pair = make_two(seed=4, template_wcs=shifted)
    result = dbpipe.subtract(pair.science, pair.template)
    assert result.quality["is_resampled"] and result.quality["offset_pix"] == pytest.approx(
        np.hypot(12.3, 7.6), abs=0.1
    )
    found, _, pulls = recovered(result, pair)
    assert len(found) >= len(pair.x) - 1 and np.std(pulls) < 1.8


def test_a_wrong_wcs_is_put_right_by_the_stars():
    """A pointing error of 40 arcsec in one header does no harm."""
    pair = make_two(seed=5)
    wrong = field_wcs(center=(SIZE / 2 + 60.0, SIZE / 2 - 50.0))
    result = dbpipe.subtract(pair.science, pair.template, wcs=pair.science_wcs, template_wcs=wrong)
    assert_right(result, pair)
    assert not result.quality["is_resampled"]


def test_a_coadd_of_others_is_taken_as_what_it_is():
    """An average without its sky, in other units: its noise is measured, and the score stays N(0, 1)."""
    pair = make_two(seed=6, template_sky_e=20_000.0)
    template = (pair.template - np.median(pair.template)) / 77.0
    result = dbpipe.subtract(pair.science, template, gain=GAIN)
    assert_right(result, pair)
    assert any("neither sky nor gain" in note for note in result.notes["template"])


def test_where_one_of_the_two_has_no_data_nothing_is_claimed():
    """Neither a difference nor a variance; and an image that shows hardly a source is refused as a survey does."""
    pair = make_two(seed=3)
    template = pair.template.copy()
    template[:, :60] = np.nan
    result = dbpipe.subtract(pair.science, template, gain=GAIN, template_gain=GAIN)
    empty = np.isnan(result.difference)
    assert empty[:, :60].all() and empty.mean() < 0.2
    for plane in (result.difference, result.variance, result.score, result.template):
        assert np.array_equal(np.isnan(plane), empty)
    noise = np.random.default_rng(1).normal(1000.0, 10.0, pair.science.shape)
    with pytest.raises(DataError, match="the science cannot be calibrated: exposure is nearly empty"):
        dbpipe.subtract(noise, pair.template)


def test_images_of_different_fields_are_refused():
    """What does not show the same stars is not subtracted, and the message says what to do."""
    science, template = make_two(seed=7).science, make_two(seed=8).template
    with pytest.raises(DataError, match="do not show the same stars: register them first") as caught:
        dbpipe.subtract(science, template)
    assert caught.value.numbers["n_required"] > caught.value.numbers["n_common_star"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gain": -1.0}, "gain of the science = -1.0: must be a positive number"),
        ({"template_gain": np.nan}, "gain of the template"),
        ({"template_saturation": 0.0}, "saturation of the template"),
        ({"template": np.zeros((3, 400, 400))}, "has shape"),
        ({"template": np.full((400, 400), "a")}, "has shape"),
        ({"template": 5}, "the template is a int: give the path"),
    ],
)
def test_what_is_no_image_is_told(same_grid, change, message):
    """One line says which of the two it is, and what is needed."""
    pair = same_grid[0]
    with pytest.raises(ConfigError, match=message):
        dbpipe.subtract(**{"science": pair.science, "template": pair.template} | change)


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_an_image_without_noise_is_refused(same_grid, value):
    """A constant image has no noise from which a variance could be known."""
    with pytest.raises(DataError):
        dbpipe.subtract(same_grid[0].science, np.full((400, 400), value))


def test_a_file_that_is_none_is_told(tmp_path):
    """A path that leads nowhere, or to something else, is said in one line."""
    (tmp_path / "text.fits").write_text("no image")
    for name in ("text.fits", "nowhere.fits"):
        with pytest.raises(DataError):
            dbpipe.subtract(tmp_path / name, tmp_path / name)


def test_images_and_sources_are_written(same_grid, tmp_path):
    """Images and table come back as they were, with WCS, units and mask bits, and no other file is overwritten."""
    pair, result = same_grid
    image_path, source_path = result.write(tmp_path / "out")
    with fits.open(image_path) as hdus:
        assert np.array_equal(hdus["DIFF"].data, result.difference)
        assert np.array_equal(hdus["MASK"].data, result.mask)
        assert hdus["MASK"].header["MP_SATUR"] == bits.SATURATED
        assert hdus[0].header["SCORESTD"] == pytest.approx(result.quality["score_std"])
    table = pq.read_table(source_path)
    assert table.schema.field("x").metadata == {b"unit": b"pix"}
    assert table.to_pandas()["psf_flux"].tolist() == result.sources["psf_flux"].tolist()
    result.write(tmp_path / "out")
    source_path.write_text("mine")
    with pytest.raises(ConfigError):
        result.write(tmp_path / "out")
    assert source_path.read_text() == "mine"


def test_files_are_read_as_they_are(tmp_path):
    """FITS files with gain and WCS in their headers give what arrays give, and what was assumed is told."""
    pair = make_two(seed=9)
    for name in ("science", "template"):
        header = pair.science_wcs.to_header()
        header["GAIN"] = GAIN
        fits.writeto(tmp_path / f"{name}.fits.gz", getattr(pair, name), header)
    result = dbpipe.subtract(tmp_path / "science.fits.gz", tmp_path / "template.fits.gz")
    assert_right(result, pair)
    assert isinstance(result.wcs, WCS) and {"ra", "dec", "ixx_arcsec2"} <= set(result.sources)
    assert "gain 2 electron per unit from its card GAIN" in result.notes["science"]
    result.write(tmp_path)
    with fits.open(tmp_path / "difference.fits") as hdus:
        np.testing.assert_allclose(
            WCS(hdus["DIFF"].header).all_pix2world([[5, 7]], 0), [result.wcs.all_pix2world(5, 7, 0)]
        )
