"""Lay the pixel grid of the survey on the sky and find which exposure touches which patch."""

from dataclasses import asdict, dataclass

import numpy as np

from dbpipe.errors import DataError
from dbpipe.sky.skymap import Tract, make_tract, patch_centre, patches_for
from dbpipe.stage import Outputs, Stage


@dataclass(frozen=True)
class SkymapConfig:
    """Settings of the skymap stage. They shape a new tract; one that is there keeps what it was made with."""

    patch_size_pix: int = 2048
    """Side of a patch in pixels of the tract."""
    pixel_scale_arcsec: float = 0.0
    """Pixel size of the tract; 0 means that of the calibrated exposures (their median)."""


def skymap(unit, inputs, config):
    """Keep the tract if there is one, else make it around all exposures; add the patches that the exposures touch."""
    footprints = inputs["footprints"].to_pylist()
    tract = _existing_tract(inputs["tracts"]) or _new_tract(unit["tract"], footprints, config)
    patches, overlaps = {}, []
    for exposure in footprints:
        for patch in _patches_of(tract, exposure):
            patches[patch.patch] = patch
            overlaps.append(_overlap(tract, patch, exposure))
    return Outputs(
        rows={
            "tract": [asdict(tract)],
            "patch": [_patch_row(tract, patches[number]) for number in sorted(patches)],
            "patch_overlap": overlaps,
        }
    )


def _existing_tract(tracts):
    """Return the tract of the catalogue, or None."""
    return next((Tract(**row) for row in tracts.to_pylist()), None)


def _new_tract(number, footprints, config):
    """Make a tract around all exposures."""
    native = float(np.median([exposure["pixel_scale_arcsec"] for exposure in footprints]))
    return make_tract(
        np.array([exposure["corner_ra"] for exposure in footprints]),
        np.array([exposure["corner_dec"] for exposure in footprints]),
        tract=number,
        pixel_scale_arcsec=config.pixel_scale_arcsec or native,
        patch_size_pix=config.patch_size_pix,
    )


def _patches_of(tract, exposure):
    """Return the patches of an exposure; if it is out of reach, say which one it is."""
    try:
        return patches_for(tract, np.array(exposure["corner_ra"]), np.array(exposure["corner_dec"]))
    except DataError as error:
        where = {"visit": exposure["visit"], "detector": exposure["detector"]}
        raise DataError(error.message, **where, **error.numbers) from error


def _patch_row(tract, patch):
    """Return the row of a patch."""
    ra, dec = patch_centre(tract, patch)
    return {"tract": tract.tract, "patch": patch.patch, **asdict(patch), "ra": ra, "dec": dec}


def _overlap(tract, patch, exposure):
    """Return the row that links a patch and an exposure."""
    return {
        "tract": tract.tract,
        "patch": patch.patch,
        "visit": exposure["visit"],
        "detector": exposure["detector"],
    }


SKYMAP = Stage(
    "skymap",
    key=("tract",),
    version=1,
    writes=("patch_overlap",),
    inserts=("tract", "patch"),
    run=skymap,
    config=SkymapConfig,
    inputs=("footprints", "tracts"),
)
