"""Units, UCDs and descriptions in the words of the Virtual Observatory: VOTable, and VOTable in a Parquet footer."""

import re
import xml.etree.ElementTree as ET

import pyarrow as pa

_DATATYPE = {
    "bool": "boolean",
    "int8": "short",
    "int16": "short",
    "int32": "int",
    "int64": "long",
    "uint8": "unsignedByte",
    "float": "float",
    "double": "double",
}
_TEXT_WIDTH = 64
"""Longest text that is announced; astropy wants a number here, and reads what is longer whole."""
_POWER = re.compile(r"([a-zA-Z])(\d)$")
_UNIT = {"pix": "pixel", "adu": "adu", "electron": "electron", "UTC": "", "TAI": ""}


def vo_unit(unit):
    """Return a unit as VOUnits 1.0 write it: ``arcsec2`` is arcsec**2; UTC is none."""
    return "/".join(_POWER.sub(r"\1**\2", _UNIT.get(part, part)) for part in unit.split("/"))


def parquet_keys(schema):
    """Return the keys of a Parquet footer that describe its columns by VOParquet 1.0 (IVOA Note, 2025)."""
    return {"IVOA.VOTable-Parquet.version": "1.0", "IVOA.VOTable-Parquet.content": _describe(schema)}


def _describe(schema):
    """A VOTable without data."""
    root = ET.Element("VOTABLE", {"version": "1.4", "xmlns": "http://www.ivoa.net/xml/VOTable/v1.3"})
    table = ET.SubElement(ET.SubElement(root, "RESOURCE"), "TABLE")
    for field in schema:
        known = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        attributes = {"name": field.name} | _vo_type(field.type)
        if vo_unit(known.get("unit", "")):
            attributes["unit"] = vo_unit(known["unit"])
        if known.get("ucd"):
            attributes["ucd"] = known["ucd"]
        element = ET.SubElement(table, "FIELD", attributes)
        if known.get("description"):
            ET.SubElement(element, "DESCRIPTION").text = known["description"]
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def _vo_type(kind):
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return {"datatype": _DATATYPE.get(str(kind.value_type), "char"), "arraysize": "*"}
    if str(kind) in _DATATYPE:
        return {"datatype": _DATATYPE[str(kind)]}
    return {"datatype": "unicodeChar", "arraysize": f"{_TEXT_WIDTH}*"}


def write_votable(path, schema, batches):
    """Write batches of a schema as a VOTable; for results that fit into memory."""
    from astropy.table import MaskedColumn, Table  # slow to import, and rarely needed here

    rows = pa.Table.from_batches(batches, schema)
    table = Table()
    for field in schema:
        known = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        column = rows.column(field.name)
        values, mask = _to_numpy(column), column.is_null().to_numpy()
        unit = vo_unit(known.get("unit", "")) or None
        table[field.name] = MaskedColumn(
            values, mask=mask, unit=unit, description=known.get("description"), meta={"ucd": known.get("ucd")}
        )
    table.write(path, format="votable", overwrite=True)


def _to_numpy(column):
    """Numbers as they are, everything else as text; what is missing has some value."""
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type):
        fill = pa.scalar(False if pa.types.is_boolean(column.type) else 0, column.type)
        return column.fill_null(fill).to_numpy()
    return ["" if value is None else str(value) for value in column.to_pylist()]
