"""Units, UCDs and descriptions in the words of the Virtual Observatory: VOTable, and VOTable in a Parquet footer."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dbpipe.catalog.store.arrow import to_text

_DATATYPE = {
    "bool": "boolean",
    "int8": "short",
    "int16": "short",
    "int32": "int",
    "int64": "long",
    "uint8": "unsignedByte",
    "uint16": "int",
    "uint32": "long",
    "float": "float",
    "double": "double",
}
"""Arrow type -> VOTable's; it has no other whole numbers than these, so that larger ones are text."""
_NUMPY_TYPE = {"short": "int16", "int": "int32", "long": "int64", "unsignedByte": "uint8"}
_TEXT_WIDTH = 64
"""Longest text that is announced; astropy wants a number here, and reads what is longer whole."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 document may hold, not even escaped."""
_XML_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_POWER = re.compile(r"([a-zA-Z])(\d)$")
_UNIT = {"pix": "pixel", "adu": "adu", "electron": "electron", "UTC": "", "TAI": ""}


def vo_unit(unit: str) -> str:
    """Return a unit as VOUnits 1.0 write it: ``arcsec2`` is arcsec**2; UTC is none."""
    return "/".join(_POWER.sub(r"\1**\2", _UNIT.get(part, part)) for part in unit.split("/"))


def parquet_keys(schema: pa.Schema) -> dict[str, str]:
    """Return the keys of a Parquet footer that describe its columns by VOParquet 1.0 (IVOA Note, 2025)."""
    return {"IVOA.VOTable-Parquet.version": "1.0", "IVOA.VOTable-Parquet.content": _describe(schema)}


def _describe(schema: pa.Schema) -> str:
    """A VOTable without data."""
    root = ET.Element("VOTABLE", {"version": "1.4", "xmlns": "http://www.ivoa.net/xml/VOTable/v1.3"})
    table = ET.SubElement(ET.SubElement(root, "RESOURCE"), "TABLE")
    for field in schema:
        known = _known(field)
        element = ET.SubElement(table, "FIELD", {"name": _xml(field.name)} | _vo_type(field.type) | _attributes(known))
        if known.get("description"):
            ET.SubElement(element, "DESCRIPTION").text = _xml(known["description"])
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def _known(field: pa.Field) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}


def _attributes(known: Mapping[str, str]) -> dict[str, str]:
    attributes = {"unit": _xml(vo_unit(known.get("unit", ""))), "ucd": _xml(known.get("ucd", ""))}
    return {name: value for name, value in attributes.items() if value}


def _xml(text: str) -> str:
    """Text without what XML cannot hold, which is spelled out: an escape character becomes ``\\x1b``."""
    return _NOT_XML.sub(lambda match: ascii(match[0])[1:-1], text)


def _xml_id(name: str, k: int) -> str:
    """The name, by which astropy calls the column, if XML takes it for one."""
    return name if _XML_ID.fullmatch(name) else f"col{k + 1}_"


def _vo_type(kind: pa.DataType) -> dict[str, str]:
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return {"datatype": _DATATYPE.get(str(kind.value_type), "char"), "arraysize": "*"}
    if str(kind) in _DATATYPE:
        return {"datatype": _DATATYPE[str(kind)]}
    return {"datatype": "unicodeChar", "arraysize": f"{_TEXT_WIDTH}*"}


def write_votable(path: Path, schema: pa.Schema, batches: Iterator[Any]) -> None:
    """Write batches of a schema as a VOTable; for results that fit into memory.

    Lists of floating-point numbers are arrays, in which NaN is missing; other lists and structures are JSON. Infinity,
    which astropy spells in a way that other readers refuse, is missing, as it is in JSON.
    """
    from astropy.io.votable import tree  # slow to import, and rarely needed here

    rows = pa.Table.from_batches(batches, schema)
    document = tree.VOTableFile(version="1.4")
    resource = tree.Resource()
    table = tree.TableElement(document)
    document.resources.append(resource)
    resource.tables.append(table)
    columns = []
    for k, field in enumerate(schema):
        datatype, values = _values(rows.column(k))
        known = _known(field)
        attributes = {"name": _xml(field.name), "ID": _xml_id(field.name, k)} | datatype | _attributes(known)
        described = tree.Field(document, **attributes)
        described.description = _xml(known["description"]) if known.get("description") else None
        table.fields.append(described)
        columns.append(values)
    table.create_arrays(rows.num_rows)
    for k, (column, values) in enumerate(zip(rows.columns, columns, strict=True)):
        if rows.num_rows:
            name = table.array.dtype.names[k]
            table.array[name] = values
            table.array.mask[name] = _mask(column, table.array.mask[name])
    document.to_xml(str(path))


def _values(column: pa.ChunkedArray) -> tuple[dict[str, str], np.ndarray]:
    """VOTable's type of a column, and its values; what is missing has some value."""
    kind = column.type
    if pa.types.is_boolean(kind):
        return {"datatype": "boolean"}, _numbers(column, False)
    if str(kind) in _DATATYPE:
        datatype = _DATATYPE[str(kind)]
        values = _numbers(column, 0)
        return {"datatype": datatype}, values.astype(_NUMPY_TYPE.get(datatype, values.dtype))
    if _is_vector(kind):
        return {"datatype": _DATATYPE[str(kind.value_type)], "arraysize": "*"}, _vectors(column)
    texts = [_xml(text or "") for text in to_text(column).to_pylist()]
    return {"datatype": "unicodeChar", "arraysize": "*"}, np.array(texts, dtype=object)


def _numbers(column: Any, fill: Any) -> Any:
    return column.fill_null(pa.scalar(fill, column.type)).to_numpy()


def _is_vector(kind: pa.DataType) -> bool:
    return (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)) and pa.types.is_floating(kind.value_type)


def _vectors(column: Any) -> Any:
    """Object array of vectors; one that is missing has no elements."""
    vectors = np.empty(len(column), dtype=object)
    for k, values in enumerate(column.to_pylist()):
        vectors[k] = np.ma.masked_invalid(np.array(values or (), dtype=float))
    return vectors


def _mask(column: Any, kept: np.ndarray) -> Any:
    """Where a value is missing; the mask of a vector is its own."""
    if _is_vector(column.type):
        return kept
    if pa.types.is_floating(column.type):
        return ~np.isfinite(_numbers(column, np.nan))
    return column.is_null().to_numpy()
