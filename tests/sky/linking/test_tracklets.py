"""Tracks of one night."""

import numpy as np
import pytest

from dbpipe.sky.linking.tracklets import find_tracklets
from dbpipe.sky.settings import Moving
from dbpipe.sky.sphere import deproject

ARCSEC = 1.0 / 3600.0


def night(rng, *, n_mover, n_noise, n_visit=6, dec0=-60.0):
    """Movers of up to 0.8 deg/day and noise: time, ra, dec, err and the mover of each detection, -1 for noise."""
    times = 60000.1 + 0.015 * np.arange(n_visit)
    start = rng.uniform(-0.3, 0.3, (n_mover, 2))
    angle, speed = rng.uniform(0, 2 * np.pi, n_mover), rng.uniform(0.05, 0.8, n_mover)
    rate = speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    rows = []
    for t in times:
        for k in range(n_mover):
            rows.append((t, *(start[k] + rate[k] * (t - times[0]) + 0.1 * ARCSEC * rng.normal(size=2)), k))
        rows += [(t, *rng.uniform(-0.3, 0.3, 2), -1) for _ in range(n_noise)]
    t, x, y, mover = np.array(rows).T
    ra, dec = deproject(x, y, ra0=359.95, dec0=dec0)
    return t, ra, dec, np.full(len(t), 0.1 * ARCSEC), mover.astype(int), rate


@pytest.mark.parametrize("dec0", [-60.0, 0.0, 89.8])
def test_movers_are_found_among_noise(dec0):
    """Every mover is one track with its speed, and chance makes none of four and more detections."""
    t, ra, dec, err, mover, rate = night(np.random.default_rng(1), n_mover=12, n_noise=60, dec0=dec0)
    found = find_tracklets(t, ra, dec, err, floor_arcsec=0.05, moving=Moving())
    whole = [k for k, line in enumerate(found.members) if len(line) == 6]
    assert sorted(mover[found.members[k][0]] for k in whole) == list(range(12))
    for k in whole:
        line = found.members[k]
        assert len(set(mover[line])) == 1
        speed = np.hypot(*found.rate[k])
        assert speed == pytest.approx(np.hypot(*rate[mover[line[0]]]), abs=5 * 0.1 * ARCSEC / 0.03)
    assert all((mover[line] == -1).all() and len(line) == 3 for line in found.members if len(line) < 6)
    chi2 = found.chi2[whole]
    assert chi2.mean() == pytest.approx(8.0 * 0.8, abs=3.0)


def test_noise_does_not_change_the_tracks():
    """Detections in no track can be taken away and the tracks stay."""
    t, ra, dec, err, mover, _ = night(np.random.default_rng(2), n_mover=5, n_noise=40)
    first = find_tracklets(t, ra, dec, err, floor_arcsec=0.05, moving=Moving())
    used = np.concatenate(first.members)
    keep = np.sort(np.concatenate([used, np.flatnonzero(mover == -1)[::3]]))
    keep = np.unique(keep)
    again = find_tracklets(t[keep], ra[keep], dec[keep], err[keep], floor_arcsec=0.05, moving=Moving())
    assert [keep[line].tolist() for line in again.members] == [line.tolist() for line in first.members]


def test_what_stays_is_no_track():
    """Detections at one place, or of one time, make no track; neither does an empty night."""
    rng = np.random.default_rng(3)
    t = 60000.0 + 0.01 * np.arange(8)
    ra = 10.0 + 0.1 * ARCSEC * rng.normal(size=8)
    moving = Moving()
    assert find_tracklets(t, ra, np.zeros(8), np.full(8, 0.1 * ARCSEC), floor_arcsec=0.05, moving=moving).members == []
    line = 10.0 + 5 * ARCSEC * np.arange(8)
    assert (
        find_tracklets(
            np.full(8, 60000.0), line, np.zeros(8), np.full(8, 1e-5), floor_arcsec=0.05, moving=moving
        ).members
        == []
    )
    empty = np.zeros(0)
    assert find_tracklets(empty, empty, empty, empty, floor_arcsec=0.05, moving=moving).members == []
