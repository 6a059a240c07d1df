"""Bad frames among good ones: each gets its verdict on record, and the good ones come out as if it were not there."""

import gzip
import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import small_survey
from astropy.io import fits

import dbpipe
from dbpipe.simulate import write_survey

FAR_DEG = 20.0
DETECTOR = 94
"""R22_S11"""
VERDICTS = {
    "truncated": ("ingest", "not readable FITS"),
    "no_wcs": ("ingest", "WCS"),
    "nan": ("ingest", "too many bad pixels"),
    "duplicate": ("ingest", "visit and detector are in use by another file"),
    "filter": ("ingest", "filter"),
    "zero": ("ingest", "all pixels have the same value"),
    "text": ("ingest", "not readable FITS"),
    "empty": ("ingest", "not readable FITS"),
    "no_stars": ("calibrate", "no reference star in the field"),
    "far": ("skymap", "exposure is too far from the tract"),
    "lonely": ("template", "too few i exposures"),
}
"""What is wrong -> the stage that says so, and words of its reason."""
OBSID = {problem: 700_000 + number for number, problem in enumerate(VERDICTS)}


def write_variant(source, folder, problem, *, image=None, name_filter=None, **changes):
    """Write a frame like another one under an observation id of its own; a card changed to None is taken away."""
    with fits.open(source) as hdus:
        header, pixels = hdus[0].header, hdus[0].data
        for key, value in ({"OBSID": OBSID[problem]} | changes).items():
            if value is None:
                del header[key]
            else:
                header[key] = value
        number = header["FILTNM"] if name_filter is None else name_filter
        snap = "E001" if problem == "duplicate" else "E000"
        path = folder / f"lsst_e_{header['OBSID']}_f{number}_R22_S11_{snap}.fits.gz"
        buffer = io.BytesIO()
        fits.PrimaryHDU(pixels if image is None else image(pixels.astype("f4")), header).writeto(buffer)
    path.write_bytes(gzip.compress(buffer.getvalue(), compresslevel=1, mtime=0))
    return path


def spoil(pixels, fraction):
    """Return the image with this fraction of its rows NaN."""
    spoiled = pixels.copy()
    spoiled[: round(fraction * len(spoiled))] = np.nan
    return spoiled


def write_bad_frames(good, folder, *, far, late):
    """Write one frame for each problem beside the good ones, the lonely one elsewhere; returns problem -> path."""
    wcs = {f"{name}{axis}": None for name in ("CTYPE", "CRVAL", "CRPIX") for axis in (1, 2)}
    paths = {
        "truncated": write_variant(good, folder, "truncated"),
        "no_wcs": write_variant(good, folder, "no_wcs", **wcs),
        "nan": write_variant(good, folder, "nan", image=lambda pixels: spoil(pixels, 0.6)),
        "duplicate": write_variant(
            good, folder, "duplicate", image=lambda pixels: pixels + 1, OBSID=fits.getheader(good)["OBSID"]
        ),
        "filter": write_variant(good, folder, "filter", name_filter=5),
        "zero": write_variant(good, folder, "zero", image=np.zeros_like),
        "no_stars": write_variant(good, folder, "no_stars", CRVAL1=100.0),
        "far": write_variant(far, folder, "far"),
        "lonely": write_variant(good, late, "lonely", image=lambda pixels: spoil(pixels, 0.05), FILTER="i", FILTNM=3),
        "text": folder / f"lsst_e_{OBSID['text']}_f2_R22_S11_E000.fits",
        "empty": folder / f"lsst_e_{OBSID['empty']}_f2_R22_S11_E000.fits.gz",
    }
    content = paths["truncated"].read_bytes()
    paths["truncated"].write_bytes(content[: len(content) * 2 // 3])
    paths["text"].write_text("SIMPLE  = what a nice day\n")
    paths["empty"].touch()
    return paths


@pytest.fixture(scope="module")
def bad(small_sky, tmp_path_factory):
    """A survey of the good frames and the bad ones, and later one in a new band: its folder, and problem -> path."""
    folder = tmp_path_factory.mktemp("bad")
    raw, far, late = folder / "sky" / "raw", folder / "far", folder / "late" / "raw"
    late.mkdir(parents=True)
    shutil.copytree(small_sky / "raw", raw)
    (far_frame,) = write_survey(far, n_visit={"r": 1}, size_pix=small_survey.SIZE_PIX, ra=53.0 + FAR_DEG)
    good = next(path for path in sorted(raw.iterdir()) if "_f2_" in path.name)
    paths = write_bad_frames(good, raw, far=far_frame, late=late)
    elsewhere = pd.read_csv(far / "refcat.csv").assign(id=lambda table: table.id + 10**6)
    pd.concat([pd.read_csv(small_sky / "refcat.csv"), elsewhere]).to_csv(folder / "refcat.csv", index=False)
    for sky in (folder / "sky", folder / "late"):
        small_survey.process(sky, folder / "survey", n_worker=2, refcat=folder / "refcat.csv")
    return folder / "survey", paths


@pytest.mark.parametrize("problem", VERDICTS)
def test_every_bad_frame_has_its_verdict(bad, problem):
    """A bad frame fails or is skipped in the stage that notices, with a reason and the numbers or names behind it."""
    root, paths = bad
    stage, words = VERDICTS[problem]
    with dbpipe.open(root) as survey:
        verdicts = survey.sql(
            "SELECT stage, reason, numbers FROM unit "
            "WHERE status <> 'done' AND unit_key IN ($path, $visit, $overlap, $template)",
            path=f"path={paths[problem]}",
            visit=f"visit={OBSID[problem]},detector={DETECTOR}",
            overlap=f"tract=0,visit={OBSID[problem]},detector={DETECTOR}",
            template="tract=0,band=i" if problem == "lonely" else "",
        ).fetchall()
    assert len(verdicts) == 1
    assert verdicts[0][0] == stage
    assert words in verdicts[0][1]
    assert json.loads(verdicts[0][2])


def test_nothing_else_went_wrong(bad):
    """There are no other failures than those of the bad frames, and the survey is healthy."""
    with dbpipe.open(bad[0]) as survey:
        assert survey.sql("SELECT count(*) FROM unit WHERE status <> 'done'").fetchall() == [(len(VERDICTS),)]
        assert [finding for finding in survey.check() if finding.n_row] == []
        assert survey.find_garbage() == []


def test_the_good_frames_are_unharmed(bad, small_root):
    """The tract, the templates and every DIASource row are those of the survey without bad frames."""
    with_bad, without = small_survey.content(bad[0]), small_survey.content(small_root)
    for table in ("tract", "patch", "coadd_input", "diffim_input", "dia_source", "dia_forced_source"):
        assert with_bad[f"main.{table}"] == without[f"main.{table}"]
