"""Real frames through the whole pipeline: a microlensing event, an asteroid, and a field where nothing happens."""

import csv

import numpy as np
import pytest
from astropy.io import fits

import dbpipe
from dbpipe.imaging.psf.spline import spline_coefficients
from dbpipe.imaging.sources.forced_fit import joint_flux
from dbpipe.io.difference import read_difference
from dbpipe.io.exposure import read_exposure
from dbpipe.sky.wcs import sky_to_pixel
from dbpipe.survey import Survey

pytestmark = pytest.mark.slow

EVENT_RA, EVENT_DEC = 273.86777, -25.28848
"""MOA-2013-BLG-475 in the system of the reference catalog."""


def process(root, instrument, frames, *, refcat=None, mapping=None, from_exposure=None):
    """Run everything on a folder of frames and return the survey's folder."""
    with Survey.init(root, instrument=instrument) as survey:
        survey.ingest([frames])
        if refcat is not None:
            survey.set_reference_catalog(refcat, mapping=mapping)
        else:
            survey.set_reference_from_exposure(from_exposure)
        survey.run()
    return root


def read_rows(path):
    """Return the rows of a CSV file as dictionaries."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def event_survey(shared_data, tmp_path_factory):
    """The survey of the microlensing event."""
    folder = shared_data / "saao_mb13475"
    root = tmp_path_factory.mktemp("saao") / "survey"
    return process(root, "saao-ste3", folder / "with_wcs", refcat=folder / "refcat.csv")


@pytest.fixture(scope="module")
def asteroid_survey(shared_data, tmp_path_factory):
    """The survey of asteroid (22) Kalliope."""
    folder = shared_data / "nickel_kalliope"
    catalog = folder / "derived" / "refcat_derived_kalliope.csv"
    mapping = {"magnitudes": {"R": "mag_instr"}}
    root = tmp_path_factory.mktemp("nickel") / "survey"
    return process(root, "nickel", folder / "reduced", refcat=catalog, mapping=mapping)


@pytest.fixture(scope="module")
def quiet_survey(shared_data, tmp_path_factory):
    """A survey of a field in which nothing changes."""
    root = tmp_path_factory.mktemp("rise") / "survey"
    return process(root, "rise", shared_data / "rise_lhs3250", from_exposure=2020083001041)


def measure_event(root, monkeypatch):
    """Return visit, forced flux on the difference and its error [nJy], and whether a DIASource is there."""
    monkeypatch.chdir(root)
    with dbpipe.open(".") as survey:
        diffims = survey.sql("SELECT visit, path, njy_per_e, science_fwhm_pix FROM diffim ORDER BY visit").fetchall()
        measured = []
        for visit, path, njy_per_e, fwhm_pix in diffims:
            image = read_difference(path)
            x, y = sky_to_pixel(image.wcs, np.array([EVENT_RA]), np.array([EVENT_DEC]))
            spline = spline_coefficients(image.psf_field.at(x[0], y[0])[None].astype(np.float32))
            radius = min(2.0 * fwhm_pix, spline.shape[-1] // 2)
            flux, err = joint_flux(
                image.difference, image.variance, image.mask, psf_spline=spline, x=x, y=y, radius_pix=radius
            )
            ((n_near,),) = survey.sql(
                "SELECT count(*) FROM dia_source "
                "WHERE visit = $visit AND is_primary AND pow(x - $x, 2) + pow(y - $y, 2) < 4",
                visit=visit, x=float(x[0]), y=float(y[0]),
            ).fetchall()  # fmt: skip
            measured.append((visit, flux[0] * njy_per_e, err[0] * njy_per_e, n_near > 0))
    return measured


def light_curves(shared_data, measured):
    """Return our flux, that of the other code, and the error the other code gives it, epoch by epoch."""
    rows = {int(r["file"][9:13]): r for r in read_rows(shared_data / "saao_mb13475" / "derived" / "truth_event.csv")}
    theirs = [float(rows[visit]["dflux_adu_200s_vs_ref_AKB13475I0100"]) for visit, *_ in measured]
    return np.array([m[1] for m in measured]), np.array(theirs), np.array([float(rows[m[0]]["err"]) for m in measured])


def test_microlensing_event_is_found_and_its_light_curve_is_right(shared_data, event_survey, monkeypatch):
    """The event is a DIASource wherever it differs by 10 sigma; its flux follows that of another code within errors."""
    measured = measure_event(event_survey, monkeypatch)
    assert len(measured) >= 26  # one frame of 27 is trailed
    assert [visit for visit, flux, err, found in measured if abs(flux) > 10.0 * err and not found] == []
    ours, theirs, err = light_curves(shared_data, measured)
    covariance = np.cov(ours, theirs, aweights=err**-2)
    assert covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) > 0.995


@pytest.mark.xfail(
    reason="0.985: in the three frames with FWHM 7.6..8.5 pix the two codes differ by three of its errors"
)
def test_light_curve_without_weights(shared_data, event_survey, monkeypatch):
    """With every epoch counting alike the correlation is 0.99 too."""
    ours, theirs, _ = light_curves(shared_data, measure_event(event_survey, monkeypatch))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.99


def test_the_event_is_one_object(shared_data, event_survey):
    """Its detections are one object, no other one is near, and its forced light curve follows that of another code."""
    with dbpipe.open(event_survey) as survey:
        near = survey.fetch(
            "SELECT dia_object_id, n_dia_source FROM dia_object WHERE separation_arcsec(ra, dec, $ra, $dec) < 1.5",
            ra=EVENT_RA, dec=EVENT_DEC,
        ).to_pylist()  # fmt: skip
        assert len(near) == 1 and near[0]["n_dia_source"] >= 15
        curve = survey.light_curve(near[0]["dia_object_id"]).to_pylist()
    measured = [(row["visit"], row["psf_flux_njy"]) for row in curve if row["psf_flux_njy"] is not None]
    ours, theirs, err = light_curves(shared_data, measured)
    covariance = np.cov(ours, theirs, aweights=err**-2)
    assert len(measured) >= 26
    assert covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) > 0.995


def test_seeing_agrees_with_the_observatory(shared_data, event_survey):
    """The FWHM of crowded frames follows what the observatory's own software measured."""
    with dbpipe.open(event_survey) as survey:
        rows = survey.sql("SELECT visit, psf_fwhm_pix FROM calexp ORDER BY visit").fetchall()
    frames = shared_data / "saao_mb13475" / "with_wcs"
    header = [fits.getval(frames / f"AKB13475I{visit:04d}.fits.gz", "PFWHM") for visit, _ in rows]
    ours = np.array([fwhm for _, fwhm in rows])
    assert np.corrcoef(ours, header)[0, 1] > 0.95


def asteroid_epochs(shared_data, root):
    """Yield visit, distances [pix] of its sources from the asteroid in every epoch, scores, number, other epochs."""
    track = read_rows(shared_data / "nickel_kalliope" / "derived" / "truth_mover_kalliope.csv")
    ra, dec = (np.array([float(row[name]) for row in track]) for name in ("ra_ref", "dec_ref"))
    with dbpipe.open(root) as survey:
        for k, row in enumerate(track):
            visit = int(row["file"][1:5])
            ((path,),) = survey.sql("SELECT path FROM calexp WHERE visit = $visit", visit=visit).fetchall()
            x, y = sky_to_pixel(read_exposure(root / path, planes=()).wcs, ra, dec)
            sources = survey.fetch("SELECT x, y, score FROM dia_source WHERE visit = $visit", visit=visit)
            found_x, found_y, score = (sources[name].to_numpy() for name in ("x", "y", "score"))
            elsewhere = np.hypot(x - x[k], y - y[k]) > 12.0
            yield visit, np.hypot(found_x[:, None] - x, found_y[:, None] - y), score, k, elsewhere


def test_asteroid_is_found_wherever_it_is(shared_data, asteroid_survey):
    """The asteroid is a DIASource within 1 pix in every epoch."""
    for visit, distance, score, k, _ in asteroid_epochs(shared_data, asteroid_survey):
        assert distance[score > 50.0, k].min() < 1.0, visit


def test_asteroid_leaves_no_ghost(shared_data, asteroid_survey):
    """Nowhere is a hole where the asteroid was in another epoch."""
    for visit, distance, score, _, elsewhere in asteroid_epochs(shared_data, asteroid_survey):
        assert not (distance[score < -5.0][:, elsewhere] < 3.0).any(), visit


def test_the_asteroid_is_a_track(asteroid_survey):
    """Its clean detections are one track of 2.5 hours, and none of them is an object's."""
    with dbpipe.open(asteroid_survey) as survey:
        ((tracklet_id, n, arc_h),) = survey.sql(
            "SELECT tracklet_id, n_dia_source, arc_h FROM tracklet ORDER BY n_dia_source DESC LIMIT 1"
        ).fetchall()
        scores = survey.sql(
            "SELECT min(score), count(dia_object_id) FROM dia_association WHERE tracklet_id = $tracklet",
            tracklet=tracklet_id,
        ).fetchall()
    assert n >= 9 and 2.0 < arc_h < 2.6
    assert scores[0][0] > 50.0 and scores[0][1] == 0


def test_quiet_field_gives_few_sources(quiet_survey):
    """Six frames of a field where nothing changes are all subtracted, and few sources pass all flags."""
    with dbpipe.open(quiet_survey) as survey:
        ((n_diffim,),) = survey.sql("SELECT count(*) FROM diffim").fetchall()
        ((n_clean,),) = survey.sql("SELECT count(*) FROM dia_source_clean").fetchall()
    assert n_diffim == 6
    assert n_clean < 60 * n_diffim
