"""Subtract the template from one calibrated exposure."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from dbpipe.io.exposure import read_exposure
from dbpipe.stage import Outputs, Skip, Stage
from dbpipe.stages.shared.subtraction import DIFFERENCE_VERSION, DifferenceConfig, subtract_template, template_for
from dbpipe.stages.shared.units import DifferenceUnit


def difference(unit: Mapping[str, Any], inputs: Mapping[str, pa.Table], config: DifferenceConfig) -> Outputs | Skip:
    """Assemble the template without this exposure, match, subtract, whiten and score."""
    exposure = read_exposure(unit["path"])
    return subtract_template(exposure, template_for(exposure, unit, inputs), unit, inputs, config)


DIFFERENCE = Stage(
    "difference",
    key=("visit", "detector"),
    version=DIFFERENCE_VERSION,
    writes=("diffim", "diffim_input", "diffim_sample", "diffim_registration"),
    unit=DifferenceUnit,
    run=difference,
    config=DifferenceConfig,
    inputs=("coadds", "coadd_inputs", "own_warps", "stars", "bright_stars"),
)
