"""What polars sees of an export: python polars_reader.py OUT/current NIGHT; prints one JSON object."""

import json
import sys

import polars as pl


def look(folder, night):
    """Count rows of all nights, of one night lazily, and of a range of the sky."""
    sources = pl.scan_parquet(f"{folder}/dia_source/by_night/**/*.parquet", hive_partitioning=True)
    tiles = pl.scan_parquet(f"{folder}/dia_source/hats/dia_source/dataset/**/Npix=*.parquet", hive_partitioning=False)
    first = tiles.select(pl.col("_healpix_29").min()).collect().item()
    return {
        "n_row": sources.select(pl.len()).collect().item(),
        "n_night": sources.filter(pl.col("night") == night).select(pl.len()).collect().item(),
        "n_tile": tiles.filter(pl.col("_healpix_29") < first + (1 << 50)).select(pl.len()).collect().item(),
        "ids": [sources.select(pl.col(name).sum()).collect().item() for name in ("dia_source_id", "dia_object_id")],
        "flux_sum": sources.select(pl.col("psf_flux_njy").sum()).collect().item(),
    }


if __name__ == "__main__":
    print(json.dumps(look(sys.argv[1], int(sys.argv[2]))))
