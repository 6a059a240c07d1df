"""Look at one raw file and put on record what it is."""

from dataclasses import dataclass
from typing import Annotated

from dbpipe.disk.content import MAX_FILE_MIB
from dbpipe.later import Later
from dbpipe.ranges import Range, Ranged
from dbpipe.stage import Stage
from dbpipe.stages.contracts.units import IngestUnit


@dataclass(frozen=True)
class IngestConfig(Ranged):
    """Settings of the ingest stage."""

    max_bad_fraction: Annotated[float, Range(at_least=0.0, at_most=1.0)] = 0.5
    """Largest fraction of unusable pixels (NaN, infinite, bad values) that an image may have (0 to 1)."""
    max_file_mib: Annotated[float, Range(at_least=1.0, at_most=1e6)] = MAX_FILE_MIB
    """Largest size of a raw file, unpacked; larger ones are refused without being held in memory [MiB]."""


INGEST = Stage(
    "ingest",
    key=("path",),
    version=3,
    writes=("raw", "raw_content", "raw_note"),
    address=("known_file", "known_made_from"),
    inserts=("band", "visit", "detector", "visit_zenith"),
    unit=IngestUnit,
    run=Later("dbpipe.stages.ingest", "ingest"),
    config=IngestConfig,
    reads_raw=True,
)
