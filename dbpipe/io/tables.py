"""Read a table of any common kind into plain columns: what it is is told by its first bytes, not by its name."""

import io
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from astropy.io import ascii, fits
from astropy.table import Table

from dbpipe.errors import ConfigError
from dbpipe.io.fits import decompress, quiet

_UNREADABLE = (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, IndexError, fits.VerifyError)


def read_columns(path):
    """Read a table from CSV, Parquet, FITS, ECSV or VOTable, plain or compressed with gzip or bzip2.

    Returns
    -------
    (columns, units) : dict of name -> (n,) array, and of name -> unit text for the columns that have one.
        Missing numbers are NaN; whole numbers without missing values stay whole.

    Raises
    ------
    ConfigError
        If the file cannot be read as a table.
    """
    path = Path(path)
    try:
        content = decompress(path.read_bytes())
        with quiet():
            return _parse(content)
    except (*_UNREADABLE, pa.ArrowException) as error:
        raise ConfigError(f"{path} cannot be read as a table: {type(error).__name__}: {error}") from error


def _parse(content):
    """Return columns and units of a table in memory."""
    if content.startswith(b"PAR1"):
        return _from_arrow(pyarrow.parquet.read_table(io.BytesIO(content)))
    if content.startswith(b"SIMPLE"):
        return _from_astropy(Table.read(io.BytesIO(content), format="fits"))
    head = content[:2000].lstrip()
    if head.startswith(b"# %ECSV"):
        return _from_astropy(ascii.read(content.decode("utf-8"), format="ecsv"))
    if b"<VOTABLE" in head:
        return _from_astropy(Table.read(io.BytesIO(content), format="votable"))
    if b"\0" in head:
        raise ValueError("it is none of CSV, Parquet, FITS, ECSV, VOTable")
    return _from_arrow(pyarrow.csv.read_csv(io.BytesIO(content)))


def _from_arrow(table):
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_integer(column.type) and column.null_count:
            column = column.cast(pa.float64())
        if pa.types.is_null(column.type):
            column = pa.nulls(len(column), pa.float64())
        columns[name] = np.asarray(column)
    return columns, {}


def _from_astropy(table):
    columns, units = {}, {}
    for name in table.colnames:
        column = table[name]
        if column.ndim != 1:
            continue
        values = np.ma.asarray(column)
        if np.ma.is_masked(values):
            values = values.astype(np.float64).filled(np.nan) if values.dtype.kind in "iuf" else values.filled("")
        columns[name] = np.ma.getdata(values)
        if column.unit is not None:
            units[name] = str(column.unit)
    return columns, units
