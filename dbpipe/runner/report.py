"""What is told of a run: `Report` while it works, and the `Summary` of a stage at its end."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from dbpipe.catalog.work.units import Verdict
from dbpipe.failures import DATA, UNEXPECTED


class Report:
    """What `run_stage` tells while it works; this one is silent."""

    def start(self, stage_name: str, n_unit: int) -> None:
        """A stage begins with so many units due."""

    def unit(self, verdict: Verdict) -> None:
        """A unit was committed."""

    def finish(self, summary: "Summary") -> None:
        """A stage has ended."""


@dataclass(frozen=True)
class Summary:
    """What one stage did."""

    stage: str
    n_unit: int = 0
    n_done: int = 0
    n_skipped: int = 0
    n_failed: int = 0
    n_removed: int = 0
    reasons: dict[str, Any] = field(default_factory=dict)
    """Reason -> number of units skipped or failed for it."""
    kinds: dict[str, Any] = field(default_factory=dict)
    """Kind of failure (`dbpipe.failures`) -> number of units."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Of ingest: new, read again, moved, taken back -> number of images."""
    lost: tuple[Any, ...] = ()
    """Of ingest: each image that was in use and is no more, and why."""

    @property
    def n_unexpected(self) -> Any:
        """Number of units that failed in a way that no input should bring about."""
        return sum(self.kinds.get(kind, 0) for kind in UNEXPECTED)


def summarize(stage_name: str, verdicts: Any, n_removed: int) -> Any:
    """Return the `Summary` of a stage by the verdicts on its units."""
    status = Counter(verdict.status for verdict in verdicts)
    reasons = Counter(_reason(verdict) for verdict in verdicts if verdict.status != "done")
    kinds = Counter(verdict.kind for verdict in verdicts if verdict.status == "failed")
    counts = (len(verdicts), status["done"], status["skipped"], status["failed"], n_removed)
    return Summary(stage_name, *counts, dict(reasons), dict(kinds))


def _reason(verdict: Verdict) -> Any:
    kind = f" ({verdict.kind})" if verdict.status == "failed" and verdict.kind != DATA else ""
    return f"{verdict.status}{kind}: {verdict.reason}"
