"""Subtract the template from one calibrated exposure."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from dbpipe.io.exposure import read_exposure
from dbpipe.stage import Outputs, Skip
from dbpipe.stages.contracts.difference import DifferenceConfig
from dbpipe.stages.shared.subtraction import subtract_template, template_for


def difference(unit: Mapping[str, Any], inputs: Mapping[str, pa.Table], config: DifferenceConfig) -> Outputs | Skip:
    """Assemble the template without this exposure, match, subtract, whiten and score."""
    exposure = read_exposure(unit["path"])
    return subtract_template(exposure, template_for(exposure, unit, inputs), unit, inputs, config)
