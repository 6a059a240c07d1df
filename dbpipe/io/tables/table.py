"""Read a table of any common kind into Arrow: what it is is told by its first bytes, not by its name.

Whole numbers stay whole, with or without gaps; what is missing (NaN, masked, TNULL, an empty text) is NULL.
"""

import io
import math
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from astropy.io import ascii, fits, votable
from astropy.table import Table
from astropy.table.meta import YamlParseError, get_header_from_yaml
from astropy.table.serialize import represent_mixins_as_columns

from dbpipe.disk.content import decompress, read_content
from dbpipe.errors import ConfigError, DataError
from dbpipe.io.fits.quiet import quiet
from dbpipe.io.tables.text import parse_text

_UNREADABLE = (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, IndexError, fits.VerifyError)
_EXTENSION = re.compile(r"(.+)\[(\w+)\]")


def read_table(path: str | os.PathLike[str]) -> tuple[pa.Table, dict[str, str]]:
    """Read a table from CSV, Parquet, FITS, ECSV or VOTable, plain or compressed with gzip or bzip2.

    Parameters
    ----------
    path : path
        ``stars.fits[2]`` and ``stars.fits[STARS]`` name one of several tables in a FITS file or VOTable.

    Returns
    -------
    (table, units) : pyarrow.Table, and dict of name -> unit text for the columns that have one

    Raises
    ------
    ConfigError
        If the file cannot be read as a table, or holds several and none is named.
    """
    path, wanted = Path(path), None
    if not path.exists() and (match := _EXTENSION.fullmatch(path.name)):
        path, wanted = path.with_name(match[1]), match[2]
    try:
        content = decompress(read_content(path, max_mib=math.inf), max_mib=math.inf)
        with quiet():
            table, units = _parse(content, wanted)
    except DataError as error:
        raise ConfigError(f"{path} cannot be read as a table: {error.numbers.get('problem', error.message)}") from error
    except (*_UNREADABLE, pa.ArrowException) as error:
        raise ConfigError(f"{path} cannot be read as a table: {type(error).__name__}: {error}") from error
    return pa.table([_without_nan(column) for column in table.columns], names=table.column_names), units


def _parse(content: bytes, wanted: str | None) -> tuple[pa.Table, dict[str, str]]:
    """Return the table in memory and its units."""
    if content.startswith(b"PAR1"):
        return _from_arrow(pyarrow.parquet.read_table(io.BytesIO(content)))
    if content.startswith(b"SIMPLE"):
        return _from_fits(content, wanted)
    head = content[:2000].lstrip()
    if head.startswith(b"# %ECSV"):
        return _from_astropy(ascii.read(content.decode("utf-8"), format="ecsv"))
    if b"<VOTABLE" in head:
        document = votable.parse(io.BytesIO(content))
        tables = {k: t for k, t in enumerate(document.iter_tables(), start=1) if t.fields}
        chosen = _choose({(k, t.name or t.ID or ""): t for k, t in tables.items()}, wanted)
        return _from_astropy(chosen.to_table(use_names_over_ids=True))
    if b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is none of CSV, Parquet, FITS, ECSV, VOTable")
    return parse_text(content)


def _choose(tables: Mapping[tuple[int, str], Any], wanted: str | None) -> Any:
    """Return the one table, or that which is wanted, of (number, name) -> table."""
    listed = ", ".join(f"{number} {name}".strip() for number, name in tables) or "none"
    if wanted is not None:
        found = [t for (number, name), t in tables.items() if wanted.lower() in (str(number), name.lower())]
        if len(found) != 1:
            raise ValueError(f"it has no one table [{wanted}]; there are: {listed}")
        return found[0]
    if not tables:
        raise ValueError("it holds no table")
    if len(tables) > 1:
        raise ValueError(f"it holds {len(tables)} tables ({listed}): say which, as in FILE[{next(iter(tables))[0]}]")
    return next(iter(tables.values()))


def _from_arrow(table: pa.Table) -> tuple[pa.Table, dict[str, str]]:
    """Enums become text; units are those that dbpipe and others hang on the fields, or astropy on the table."""
    units = {f.name: f.metadata[b"unit"].decode() for f in table.schema if (f.metadata or {}).get(b"unit")}
    units |= _units_of_astropy(table.schema.metadata or {})
    table = _masked(table)
    columns = [c.cast(c.type.value_type) if pa.types.is_dictionary(c.type) else c for c in table.columns]
    columns = [c.cast(pa.float64()) if pa.types.is_null(c.type) else c for c in columns]
    return pa.table(columns, names=table.column_names), units


def _units_of_astropy(metadata: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the units that astropy writes into the footer of a Parquet file."""
    text = metadata.get(b"table_meta_yaml", b"")
    try:
        described = get_header_from_yaml(text.decode("utf-8").splitlines())["datatype"] if text else []
        return {column["name"]: str(column["unit"]) for column in described if column.get("unit")}
    except (YamlParseError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("what astropy has written about its columns is damaged") from error


def _masked(table: pa.Table) -> pa.Table:
    """Set the entries to NULL that astropy marks in columns of their own, ``NAME.mask``."""
    for name in table.column_names:
        at = table.schema.get_field_index(f"{name}.mask")
        if at >= 0 and pa.types.is_boolean(table.schema.field(at).type):
            column = table[name]
            masked = pc.if_else(table.column(at), pa.scalar(None, column.type), column)
            table = table.set_column(table.schema.get_field_index(name), name, masked).remove_column(at)
    return table


def _from_fits(content: bytes, wanted: str | None) -> tuple[pa.Table, dict[str, str]]:
    with fits.open(io.BytesIO(content), memmap=False) as hdus:
        kinds = (fits.BinTableHDU, fits.TableHDU)
        tables = {
            (k, hdu.name): hdu
            for k, hdu in enumerate(hdus)
            if isinstance(hdu, kinds) and not isinstance(hdu, fits.CompImageHDU)
        }
        hdu = _choose(tables, wanted)
        missing = _find_offset_nulls(hdu)
        table = Table.read(hdu, format="fits")
        for name, mask in missing.items():
            table[name] = np.ma.MaskedArray(table[name], mask=mask)
        for column in hdu.columns:
            if re.fullmatch(r"\d*L", column.format.strip()):
                # astropy reads a truth value that is undefined as False
                raw = np.recarray.field(hdu.data, column.name).reshape(table[column.name].shape)
                table[column.name] = np.ma.MaskedArray(raw == ord("T"), mask=~np.isin(raw, [ord("T"), ord("F")]))
        return _from_astropy(table)


def _find_offset_nulls(hdu: fits.BinTableHDU) -> dict[str, np.ndarray]:
    """Return name -> what is missing, of the whole numbers that are stored with an offset, as unsigned ones are.

    TNULL is the number that is stored. Astropy compares it with the number that is meant, or fails: it is taken away.
    """
    missing = {}
    for column in hdu.columns if isinstance(hdu, fits.BinTableHDU) else ():
        if column.null is not None and column.bzero and re.fullmatch(r"\d*[BIJK]", column.format.strip()):
            missing[column.name] = np.recarray.field(hdu.data, column.name) == column.null
            column.null = None
    return missing


def _from_astropy(table: Table) -> tuple[pa.Table, dict[str, str]]:
    table = represent_mixins_as_columns(table)
    columns = {name: _to_arrow(name, table[name]) for name in table.colnames}
    return pa.table(columns), {name: str(table[name].unit) for name in table.colnames if table[name].unit is not None}


def _to_arrow(name: str, column: Any) -> pa.Array:
    """One column; its further dimensions become lists."""
    values, mask = np.ma.getdata(column), np.ma.getmaskarray(column)
    kind = values.dtype.kind
    if kind == "O":
        return pa.array([None if m is True else _plain(v) for v, m in zip(values, _rows(mask), strict=True)])
    if kind == "c":
        values, mask = np.stack([values.real, values.imag], axis=-1), np.stack([mask, mask], axis=-1)
    if kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"column {name} holds bytes that are not UTF-8: {error.object!r}") from error
    if values.dtype.kind == "U":
        values, mask = np.char.strip(values), mask | (np.char.strip(values) == "")
        flat = pa.array(values.ravel().tolist(), pa.string(), mask=mask.ravel())
    else:
        flat = pa.array(np.ascontiguousarray(values, values.dtype.newbyteorder("=")).ravel(), mask=mask.ravel())
    for size in values.shape[:0:-1]:
        if size == 0:
            return pa.nulls(len(values))
        flat = pa.FixedSizeListArray.from_arrays(flat, size)
    return flat


def _rows(mask: np.ndarray) -> list[bool]:
    return [bool(np.all(m)) for m in mask]


def _plain(value: Any) -> Any:
    """An entry of a column of objects: text, bytes, or an array of any length."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
