"""The stages in their order, and the sections of the settings: the one place that knows them all.

A stage is known here by what it declares; none of what calculates is loaded for that.
"""

from typing import Any

from dbpipe.association.contract import ASSOCIATE
from dbpipe.catalog.checks import CheckConfig
from dbpipe.errors import ConfigError
from dbpipe.io.tables.columns import RefcatColumns
from dbpipe.names import did_you_mean
from dbpipe.runner.pool import RunConfig
from dbpipe.stage import ParentStage, Stage
from dbpipe.stages.contracts.calibrate import CALIBRATE
from dbpipe.stages.contracts.coadd import COADD
from dbpipe.stages.contracts.detect import DETECT
from dbpipe.stages.contracts.difference import DIFFERENCE
from dbpipe.stages.contracts.forced import FORCED
from dbpipe.stages.contracts.ingest import INGEST
from dbpipe.stages.contracts.inject import INJECT
from dbpipe.stages.contracts.skymap import SKYMAP
from dbpipe.stages.contracts.warp import WARP
from dbpipe.template.contract import TEMPLATE

STAGES: tuple[ParentStage | Stage, ...] = (
    INGEST, CALIBRATE, SKYMAP, TEMPLATE, WARP, COADD, DIFFERENCE, DETECT, ASSOCIATE, FORCED,
)  # fmt: skip
"""The order of things."""
ON_REQUEST: tuple[Stage, ...] = (INJECT,)
"""Stages that run only when they are asked for by name."""
BY_NAME: dict[str, Any] = {stage.name: stage for stage in STAGES + ON_REQUEST}
"""Every stage, `dbpipe.stage.Stage` or `ParentStage`, in the same order."""


def stages_after_ingest(to: str | None = None) -> tuple[ParentStage | Stage, ...]:
    """Return what a run goes through: the stages after ingest, which is told what to take in.

    Parameters
    ----------
    to : str, optional
        The last one; one of `ON_REQUEST` comes after all others.

    Raises
    ------
    ConfigError
        If there is no such stage.
    """
    if to is None:
        return STAGES[1:]
    names = tuple(BY_NAME)
    if to not in names:
        raise ConfigError(f"no stage {to!r} to run to{did_you_mean(to, names)}; the stages are {', '.join(names)}")
    return (STAGES + ON_REQUEST)[1 : names.index(to) + 1]


def sections() -> dict[str, Any]:
    """Return the sections of the settings, name -> dataclass: those of the stages in their order, then the others."""
    found: dict[str, Any] = {}
    for name, stage in BY_NAME.items():
        found[name] = stage.config
        if name == "ingest":
            found["refcat"] = RefcatColumns  # where a user looks for it: between raw files and calibration
    return found | {"run": RunConfig, "check": CheckConfig}
