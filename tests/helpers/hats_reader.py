"""What lsdb and hats see of an export: python hats_reader.py OUT/current RA DEC RADIUS MATCH_RADIUS [arcsec].

Prints one JSON object. Runs in an environment of its own if need be: nothing of dbpipe is imported.
"""

import json
import logging
import sys
import warnings
from pathlib import Path

import lsdb
from hats.io.validation import is_valid_catalog

warnings.simplefilter("ignore")


def look(folder, cone, match_arcsec):
    """Open every collection and return what is in it."""
    seen = {}
    for path in sorted(Path(folder).glob("*/hats")):
        catalog = lsdb.open_catalog(path)
        frame = catalog.compute()
        inside = catalog.cone_search(*cone).compute()
        parts = [path / name for name in sorted(p.name for p in path.iterdir() if p.is_dir())]
        seen[path.parent.name] = {
            "valid": is_valid_catalog(path, strict=True),
            "valid_parts": {part.name: is_valid_catalog(part, strict=True) for part in parts},
            "n_row": len(frame),
            "n_partition": catalog.npartitions,
            "ids": sorted(int(number) for number in frame["dia_object_id"].dropna())[-100:],
            "n_cone": len(inside),
            "columns": list(frame.columns),
            "has_margin": catalog.margin is not None,
        }
    seen["n_match"], seen["n_match_without_margin"] = match(folder, match_arcsec)
    return seen


def match(folder, radius_arcsec):
    """Match objects with sources across the borders of tiles, with and without the margin of the sources."""
    objects = lsdb.open_catalog(Path(folder) / "dia_object" / "hats")
    sources = lsdb.open_catalog(Path(folder) / "dia_source" / "hats")
    bare = lsdb.open_catalog(Path(folder) / "dia_source" / "hats" / "dia_source")
    options = {"radius_arcsec": radius_arcsec, "n_neighbors": 1000, "suffixes": ("_o", "_s")}
    return [len(objects.crossmatch(other, **options).compute()) for other in (sources, bare)]


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    print(json.dumps(look(sys.argv[1], tuple(map(float, sys.argv[2:5])), float(sys.argv[5]))))
