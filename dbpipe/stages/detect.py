"""Find and measure the sources of a difference image."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from dbpipe.io.difference import read_difference
from dbpipe.stage import Outputs
from dbpipe.stages.contracts.detect import DetectConfig
from dbpipe.stages.shared.detection import measure_difference


def detect(unit: Mapping[str, Any], inputs: Mapping[str, pa.Table], config: DetectConfig) -> Outputs:
    """Find the peaks of the score image and measure them on the difference, the science image and the template."""
    image = read_difference(unit["path"])
    return Outputs(rows={"dia_source": measure_difference(image, unit, inputs, config)}, n_pix=image.difference.size)
