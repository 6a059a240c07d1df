"""A simulated survey on disk is complete, reproducible, and as troubled as was asked for."""

import gzip

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from manifest import read_manifest

from dbpipe.errors import ConfigError
from dbpipe.simulate import write_survey
from dbpipe.simulate.scene import SCENES, SKY_SCENES


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated")
    return out, write_survey(out, n_visit={"g": 1, "r": 2}, size_pix=256)


def _truth(out, name):
    return pd.read_parquet(out / "truth" / f"{name}.parquet")


def test_the_same_seed_gives_the_same_bytes(survey, tmp_path):
    """Two surveys of one seed are identical files; another seed gives others."""
    again = write_survey(tmp_path / "again", n_visit={"g": 1, "r": 2}, size_pix=256)
    other = write_survey(tmp_path / "other", n_visit={"g": 1, "r": 2}, size_pix=256, seed=2)
    assert [path.read_bytes() for path in survey[1]] == [path.read_bytes() for path in again]
    assert survey[1][0].read_bytes() != other[0].read_bytes()


def test_images_are_eimages_in_electrons(survey):
    """One float32 HDU of whole electrons, never above full well, with the cards that ingest needs."""
    for path in survey[1]:
        image, header = fits.getdata(path, header=True)
        assert image.dtype == np.dtype(">f4")
        assert image.shape == (256, 256)
        np.testing.assert_array_equal(image, np.rint(image))
        assert image.max() == 100_000.0
        assert {"OBSID", "TAI", "MJD-OBS", "FILTER", "FILTNM", "EXPTIME", "CHIPID", "AIRMASS", "CD1_1"} <= set(header)
        assert f"_f{header['FILTNM']}_" in path.name


def test_stars_are_where_and_as_bright_as_the_truth_says(survey):
    """A weighted centroid of bright lone stars is within 0.2 pix of truth, their aperture flux within 3%."""
    out, paths = survey
    stars, visits = _truth(out, "star_visits"), _truth(out, "visits")
    for visit, path in zip(visits.itertuples(), paths, strict=True):
        image = fits.getdata(path).astype(float) - visit.sky_e
        y, x = np.indices(image.shape)
        mine = stars[(stars.obsid == visit.obsid) & ~stars.saturated & (stars.flux_e > 1e5)]
        ratio = []
        for star in mine.itertuples():
            near = np.hypot(x - star.x, y - star.y) < 12
            if near.sum() < 440 or not 15 < star.x < 240 or not 15 < star.y < 240:
                continue
            core = np.where(np.hypot(x - star.x, y - star.y) < 4, image.clip(0), 0)
            assert abs((core * x).sum() / core.sum() - star.x) < 0.3
            assert abs((core * y).sum() / core.sum() - star.y) < 0.3
            ratio.append(image[near].sum() / star.flux_e)
        assert np.median(ratio) == pytest.approx(1.0, abs=0.03)


def test_zero_points_turn_magnitudes_into_electrons(survey):
    """Truth is consistent: flux_e = 10^(0.4 (zp - mag)) for stars and variables alike."""
    out, _ = survey
    zero_point = _truth(out, "visits").set_index("obsid").zp
    for name in ("star_visits", "variable_visits"):
        table = _truth(out, name)
        expected = 10.0 ** (0.4 * (zero_point.loc[table.obsid].to_numpy() - table.mag))
        np.testing.assert_allclose(table.flux_e, expected, rtol=1e-9)


def test_noise_alone_has_the_noise_of_the_sky(tmp_path):
    """Without sources the image is flat sky, Poisson plus read noise, and there are no reference stars."""
    paths = write_survey(tmp_path, n_visit=1, bands=("r",), size_pix=200, scene=("noise_only",))
    visit = _truth(tmp_path, "visits").iloc[0]
    image = fits.getdata(paths[0]).astype(float)
    good = image[image > 0]
    assert good.mean() == pytest.approx(visit.sky_e, rel=0.01)
    slope = visit.sky_e * np.hypot(visit.sky_grad_x, visit.sky_grad_y) / np.sqrt(3)
    assert good.var() == pytest.approx(visit.sky_e + 25.0 + slope**2, rel=0.04)
    assert len(pd.read_csv(tmp_path / "refcat.csv")) == 0


def test_nothing_changes_on_a_static_sky(tmp_path):
    """The static scene has no variable object and no moving star."""
    write_survey(tmp_path, n_visit=1, bands=("r",), size_pix=100, scene=("static",))
    assert len(_truth(tmp_path, "objects")) == 0
    assert (_truth(tmp_path, "stars").pm_dec == 0).all()


def test_every_trouble_is_there_and_in_the_manifest(tmp_path):
    """All kinds of trouble at once leave their mark on files, and the manifest says on which."""
    scene = [name for name in SCENES if name not in SKY_SCENES]
    paths = write_survey(tmp_path, n_visit={"r": 4, "g": 1}, size_pix=128, scene=scene)
    entries = {problem: e for e in read_manifest(tmp_path)["visits"] for problem in e["problems"]}
    assert set(scene) - set(entries) == {"utc_clock"}
    file = {problem: tmp_path / "raw" / e["files"][-1] for problem, e in entries.items()}
    assert sum(e["score"] for e in read_manifest(tmp_path)["visits"]) == 5
    assert np.isnan(fits.getdata(file["nan_block"])).sum() == 21**2
    assert fits.getheader(file["duplicate_id"])["OBSID"] == entries["duplicate_id"]["obsid"]
    assert len(entries["duplicate_id"]["files"]) == 2
    assert "CRVAL1" not in fits.getheader(file["no_wcs"])
    assert f"_f{fits.getheader(file['filter_mismatch'])['FILTNM']}_" not in file["filter_mismatch"].name
    with pytest.raises(EOFError):
        gzip.decompress(file["truncated"].read_bytes())
    assert len(paths) == 12


@pytest.mark.parametrize("settings", [{"scene": ("meteor",)}, {"n_visit": {"q": 1}}, {"size_pix": 10}, {"n_visit": 0}])
def test_nonsense_is_refused(settings, tmp_path):
    """A setting that makes no sense is a ConfigError before anything is written."""
    with pytest.raises(ConfigError):
        write_survey(tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()
