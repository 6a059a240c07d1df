"""What a stage is: a pure function on one unit of work, with the tables that it fills.

The runner (`dbpipe.runner.pipeline`) asks the database for units with the query ``work`` of
``sql/stages/<name>.sql``, calls ``run(unit, inputs, config)`` in a worker process whose directory is the survey, and
commits what comes back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One kind of work."""

    name: str
    """Name of the stage, of its SQL file and of its section in the settings."""
    key: tuple[str, ...]
    """Columns of the work row that name a unit; every table in ``writes`` has them too. Integers or text."""
    version: int
    """Bump when the same inputs would give different results: every unit is then redone."""
    writes: tuple[str, ...]
    """Tables whose rows belong to the unit: replaced as a whole when the unit is redone."""
    run: Callable[..., Any]
    """``run(unit, inputs, config) -> Outputs | Skip``, or raises DataError. `Later`, or a module-level function."""
    config: type
    """Frozen dataclass with the settings; all of it goes into the fingerprint."""
    unit: type = dict
    """`TypedDict` of the columns of its work row; a test holds it to the query."""
    inserts: tuple[str, ...] = ()
    """Tables that several units share: a row that is there already stays as it is, but for what the stage's own
    statements change (see `dbpipe.catalog.work.judge`)."""
    address: tuple[str, ...] = ()
    """Columns of the work row that only say where something is, or what was known of it: no part of the fingerprint."""
    reads_raw: bool = False
    """The ``path`` of its unit is a raw file, anywhere; all other paths are products, below ``files/``."""
    inputs: tuple[str, ...] = ()
    """Named queries of the stage's SQL file, run per unit with the unit's columns as $parameters.

    They are not in the fingerprint: the work row has a hash or an id of whatever they read. They may read only what
    earlier stages wrote, and what this unit itself left last time: units of one stage run side by side.
    ``<stage>.<name>`` is a query of another stage's file, ``<stage>.work`` there the one work row that has this unit's
    key.
    """


@dataclass(frozen=True)
class ParentStage:
    """Work that reads what it has written itself: it runs in the process that commits, with the catalog at hand."""

    name: str
    """Name of the stage, of its SQL file and of its section in the settings."""
    version: int
    """Bump when the same inputs would give different results."""
    run: Callable[..., Any]
    """``run(connection, config, *, run_id, options, report)`` does all that is due, tells ``report`` of it, and returns
    the verdicts on its units and how many units it took back."""
    is_due: Callable[..., bool]
    """``is_due(connection, config, options)``: whether there is anything to do, asked before what does it is loaded."""
    config: type
    """Frozen dataclass with the settings."""
    count_due: Callable[..., Any] | None = None
    """``count_due(connection, config)``; None where no report asks."""
    count_outdated: Callable[..., Any] | None = None
    """``count_outdated(connection)``: how much of what is in force the version before this one made; None where the
    verdicts say it."""


@dataclass(frozen=True)
class Outputs:
    """What a unit made."""

    rows: dict[str, Any]
    """Table -> list of dictionaries, or dictionary of equal-length arrays. NaN means unmeasured."""
    files: dict[str, Any] = field(default_factory=dict)
    """Product -> object with ``write(path)``. The rows of the table of the same name get ``path`` and ``sha256``."""
    n_pix: int | None = None
    """Pixels processed, for the timing report."""


@dataclass(frozen=True)
class Skip:
    """There is nothing to do for this unit, and why."""

    reason: str
    numbers: dict[str, Any] = field(default_factory=dict)
