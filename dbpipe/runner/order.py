"""The stages in their order, and the sections of the settings: the one place that knows them all."""

from functools import cache
from typing import Any

from dbpipe.catalog.checks import CheckConfig
from dbpipe.errors import ConfigError
from dbpipe.io.tables.columns import RefcatColumns
from dbpipe.names import did_you_mean
from dbpipe.runner.pool import RunConfig
from dbpipe.stage import ParentStage, Stage

STAGES = ("ingest", "calibrate", "skymap", "template", "warp", "coadd", "difference", "detect", "associate", "forced")
"""The order of things; a name is known without importing what it names, which takes seconds."""
ON_REQUEST = ("inject",)
"""Stages that run only when they are asked for by name."""


@cache
def load_stages() -> dict[str, Any]:
    """Return every stage, name -> `dbpipe.stage.Stage` or `ParentStage`: first `STAGES`, then `ON_REQUEST`."""
    from dbpipe.association import ASSOCIATE
    from dbpipe.stages.calibrate import CALIBRATE
    from dbpipe.stages.coadd import COADD
    from dbpipe.stages.detect import DETECT
    from dbpipe.stages.difference import DIFFERENCE
    from dbpipe.stages.forced import FORCED
    from dbpipe.stages.ingest import INGEST
    from dbpipe.stages.inject import INJECT
    from dbpipe.stages.skymap import SKYMAP
    from dbpipe.stages.warp import WARP
    from dbpipe.template import TEMPLATE

    order = (
        INGEST, CALIBRATE, SKYMAP, TEMPLATE, WARP, COADD, DIFFERENCE, DETECT, ASSOCIATE, FORCED, INJECT,
    )  # fmt: skip
    return {stage.name: stage for stage in order}


def stages_after_ingest(to: str | None = None) -> list[ParentStage | Stage]:
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
    names = STAGES if to is None else STAGES + ON_REQUEST
    if to is not None and to not in names:
        raise ConfigError(f"no stage {to!r} to run to{did_you_mean(to, names)}; the stages are {', '.join(names)}")
    last = len(names) if to is None else names.index(to) + 1
    return [load_stages()[name] for name in names[1:last]]


def sections() -> dict[str, Any]:
    """Return the sections of the settings, name -> dataclass: those of the stages in their order, then the others."""
    found = {}
    for name, stage in load_stages().items():
        found[name] = stage.config
        if name == "ingest":
            found["refcat"] = RefcatColumns  # where a user looks for it: between raw files and calibration
    return found | {"run": RunConfig, "check": CheckConfig}
