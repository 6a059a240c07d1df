"""Pictures can be drawn without a display, from plain arrays."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from dbpipe.pictures import charts

pytest.importorskip("matplotlib")


def _is_png(path):
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_stretch_is_linear_in_noise_and_logarithmic_in_stars():
    """At one softening the stretch is nearly linear; from there each factor of e in flux adds one."""
    assert charts.asinh_stretch(np.array([0.0]), 2.0)[0] == 0.0
    assert charts.asinh_stretch(np.array([0.6]), 2.0)[0] == pytest.approx(0.1, rel=0.01)
    faint, bright = charts.asinh_stretch(np.array([1e4, 1e4 * np.e]), 2.0)
    assert bright - faint == pytest.approx(1.0, abs=1e-4)


def test_every_picture_is_written(tmp_path):
    """Each function writes the PNG that it returns, making folders as needed, NaN pixels and all."""
    rng = np.random.default_rng(0)
    images = {name: rng.normal(0, 1, (31, 41)) for name in ("science", "template", "difference")}
    images["science"][3, 4] = np.nan
    here = tmp_path / "pictures"
    drawn = [
        charts.draw_triplet(here / "a.png", images, noise=1.0, pixel_scale_arcsec=0.2, center=(20, 15), title="t"),
        charts.draw_completeness(here / "b.png", [2, 5.5, 8, -30], [False, True, True, True], snr_at_half=5.1),
        charts.draw_seeing(here / "c.png", [1, 2, 3], [4, 5, 3.5], list("rrV"), [1, 0, 1], cut_pix={"r": 4}),
        charts.draw_light_curve(here / "d.png", [1, 2], [10, -5], [2, 2], ["g", "r"], truth=([1], [9], ["g"])),
    ]  # fmt: skip
    assert [path.name for path in drawn] == ["a.png", "b.png", "c.png", "d.png"]
    assert all(_is_png(path) for path in drawn)


@pytest.mark.parametrize("reached", [None, 23.9])
def test_the_cuts_of_a_template_are_drawn(tmp_path, reached):
    """With and without difference images, for a band of any name, the cuts weighed become a picture."""
    keys = ("max_psf_fwhm_pix", "n_input", "predicted_depth_mag", "quantity", "is_chosen")
    cuts = [(4.0, 2, 24.0, None, False), (4.5, 3, 24.1, None, True), (4.5, 2, 24.05, "ellipticity", False)]
    curve = [dict(zip(keys, cut, strict=True)) for cut in cuts]
    decisions = [SimpleNamespace(band=band, tract=0, place=(0, band), curve=curve) for band in ("r", "V")]
    depth = {"tract": 0, "band": "V", "is_input": True, "predicted_depth_mag": 24.1, "measured_depth_mag": reached}
    depth["difference_mag"] = None if reached is None else reached - 24.1
    assert _is_png(charts.draw_template_curve(tmp_path / "a.png", decisions, [depth]))


def test_importing_pictures_does_not_import_matplotlib():
    """The module is cheap to import: matplotlib comes only when something is drawn."""
    import subprocess

    code = "import sys, dbpipe.pictures.charts; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
