"""Average the warps of a patch into the template."""

from dataclasses import dataclass

from dbpipe.declared import group
from dbpipe.imaging.settings import RejectionLimits
from dbpipe.later import Later
from dbpipe.ranges import Ranged
from dbpipe.stage import Stage
from dbpipe.stages.contracts.units import CoaddUnit


@dataclass(frozen=True)
class CoaddConfig(Ranged):
    """Settings of the coadd stage."""

    rejection: RejectionLimits = group(RejectionLimits, prefix="")


COADD = Stage(
    "coadd",
    key=("template_id", "tract", "patch"),
    version=16,
    writes=("coadd", "coadd_input"),
    unit=CoaddUnit,
    run=Later("dbpipe.stages.coadd", "coadd"),
    config=CoaddConfig,
    inputs=("warps",),
)
