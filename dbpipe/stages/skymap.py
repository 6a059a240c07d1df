"""Lay the pixel grid of the survey on the sky and find which exposure touches which patch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from dbpipe.sky.skymap import Patch, Tract, find_main_field, make_tract, patch_center, patches_for
from dbpipe.stage import Outputs
from dbpipe.stages.contracts.skymap import SkymapConfig


def skymap(unit: Mapping[str, Any], inputs: Mapping[str, pa.Table], config: SkymapConfig) -> Outputs:
    """Find the patches that one exposure touches; the first exposures make the tract around all.

    Units that start before the tract is on record all make it from the same outlines, so they make the same one.

    Raises
    ------
    DataError
        If the exposure is too far from the tract: it is left out, and the others go on.
    """
    tract = _existing_tract(inputs["tracts"]) or _new_tract(unit["tract"], inputs["footprints"].to_pylist(), config)
    patches = patches_for(tract, np.array(unit["corner_ra"]), np.array(unit["corner_dec"]))
    where = {name: unit[name] for name in ("tract", "visit", "detector")}
    return Outputs(
        rows={
            "tract": [asdict(tract)],
            "patch": [_patch_row(tract, patch) for patch in patches],
            "patch_overlap": [{**where, "patch": patch.patch} for patch in patches],
        }
    )


def _existing_tract(tracts: pa.Table) -> Tract | None:
    """Return the tract of the catalog, or None."""
    return next((Tract(**row) for row in tracts.to_pylist()), None)


def _new_tract(number: int, footprints: Sequence[dict[str, Any]], config: SkymapConfig) -> Tract:
    """Make a tract around the exposures, those of the main field if they are too far apart."""
    corner_ra = np.array([exposure["corner_ra"] for exposure in footprints])
    corner_dec = np.array([exposure["corner_dec"] for exposure in footprints])
    inside = find_main_field(corner_ra, corner_dec)
    scale = np.array([exposure["pixel_scale_arcsec"] for exposure in footprints])
    return make_tract(
        corner_ra[inside],
        corner_dec[inside],
        tract=number,
        pixel_scale_arcsec=config.pixel_scale_arcsec or float(np.median(scale[inside])),
        patch_size_pix=config.patch_size_pix,
    )


def _patch_row(tract: Tract, patch: Patch) -> dict[str, float]:
    """Return the row of a patch."""
    ra, dec = patch_center(tract, patch)
    return {"tract": tract.tract, "patch": patch.patch, **asdict(patch), "ra": ra, "dec": dec}
