"""What lsdb and hats see of an export: python hats_reader.py OUT/current; prints one JSON object.

Runs in an environment of its own if need be: nothing of dbpipe is imported.
"""

import json
import logging
import sys
import warnings
from pathlib import Path

import lsdb
from hats.io.validation import is_valid_catalog

warnings.simplefilter("ignore")
RADIUS_ARCSEC = 600.0
CENTRE = (45.0, 0.05)
MATCH_ARCSEC = 1.0


def look(folder):
    """Open every collection and return what is in it."""
    seen = {}
    for path in sorted(Path(folder).glob("*/hats")):
        catalog = lsdb.open_catalog(path)
        frame = catalog.compute()
        cone = catalog.cone_search(*CENTRE, RADIUS_ARCSEC).compute()
        parts = [path / name for name in sorted(p.name for p in path.iterdir() if p.is_dir())]
        seen[path.parent.name] = {
            "valid": is_valid_catalog(path, strict=True),
            "valid_parts": {part.name: is_valid_catalog(part, strict=True) for part in parts},
            "n_row": len(frame),
            "n_partition": catalog.npartitions,
            "n_cone": len(cone),
            "columns": list(frame.columns),
            "has_margin": catalog.margin is not None,
        }
    seen["n_match"], seen["n_match_without_margin"] = match(folder)
    return seen


def match(folder):
    """Match objects with sources across the borders of tiles, with and without the margin of the sources."""
    objects = lsdb.open_catalog(Path(folder) / "dia_object" / "hats")
    sources = lsdb.open_catalog(Path(folder) / "dia_source" / "hats")
    bare = lsdb.open_catalog(Path(folder) / "dia_source" / "hats" / "dia_source")
    options = {"radius_arcsec": MATCH_ARCSEC, "n_neighbors": 1000, "suffixes": ("_o", "_s")}
    return [len(objects.crossmatch(other, **options).compute()) for other in (sources, bare)]


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    print(json.dumps(look(sys.argv[1])))
