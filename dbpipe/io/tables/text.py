"""Tables in text: any separator between the values, comments before them, the two more lines of VizieR.

Every value is read as text first, and a column becomes one of numbers only if nothing of it is lost: ids keep all their
digits and leading zeros, and an empty cell is missing.
"""

import csv
import io
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

MISSING = ("", "nan", "null", "--")
"""What stands for a missing value in any column, in lower case."""
_MISSING_NUMBERS = (*MISSING, "na", "n/a", "none", "-")
"""What stands for one in a column of numbers."""
_SEPARATORS = (",", "\t", ";", "|")
_END_OF_LINE = re.compile("\r\n|\r|\n")
_WHOLE = r"^[+-]?\d+$"


def parse_text(content: bytes) -> tuple[pa.Table, dict[str, str]]:
    """Return the pyarrow.Table that a text is, and the units of its columns that have one.

    Raises
    ------
    ValueError
        Says what was found, and where.
    """
    records, comments = _records(_decode(content))
    if not records:
        raise ValueError("it is empty" if not content.strip() else "it has comments only")
    separator = max(_SEPARATORS, key=_outside_quotes(records[0]).count)
    if separator not in _outside_quotes(records[0]):
        separator = "\t"
        records = ["\t".join(_split(record, " ")) for record in records]
    names, records = _names(records, comments, separator)
    units, records = _units(names, records, separator)
    return _table(names, records, separator), units


def _decode(content: bytes) -> str:
    """Text of bytes: UTF-8, or UTF-16 if its first bytes say so."""
    is_wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"byte {content[error.start]:#04x} in line {line} is not {error.encoding}; save it as UTF-8"
        ) from error


def _records(text: str) -> tuple[list[str], list[str]]:
    """Return the lines that are rows, and the comments before them; a line within quotes is never a comment."""
    rows: list[str] = []
    comments: list[str] = []
    is_open = False
    for line in _END_OF_LINE.split(text):
        if not is_open and (line.startswith("#") or not line.strip()):
            comments += [] if rows else [line]
            continue
        if is_open:
            rows[-1] += "\n" + line
        else:
            rows.append(line)
        is_open ^= line.count('"') % 2 == 1
    if is_open:
        raise ValueError(f"a quotation mark is never closed, in the row {rows[-1][:40]!r}")
    return rows, comments


def _outside_quotes(line: str) -> str:
    return re.sub('"[^"]*"', "", line)


def _split(record: str, separator: str) -> list[str]:
    (fields,) = csv.reader(io.StringIO(record, newline=""), delimiter=separator, skipinitialspace=True)
    fields = [field.strip() for field in fields]
    return [field for field in fields if field] if separator == " " else fields


def _names(records: list[str], comments: Sequence[str], separator: str) -> tuple[list[str], list[str]]:
    """Return the names of the columns and the records after them; they may be in the last comment."""
    names = _split(records[0], separator)
    if not any(map(_is_number, names)):
        records = records[1:]
    else:
        header = comments[-1].lstrip("#").strip() if comments else ""
        found = [_split(header, mark) for mark in (separator, " ")] if header else []
        fitting = [f for f in found if len(f) == len(names) and not any(map(_is_number, f))]
        if not fitting:
            raise ValueError(f"its first line has no names of columns: {records[0][:60]!r}")
        names = fitting[0]
    names = [name or f"column{k}" for k, name in enumerate(names, start=1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"more than one column is called {', '.join(twice)}")
    return names, records


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _units(names: Sequence[str], records: list[str], separator: str) -> tuple[dict[str, str], list[str]]:
    """Return the units in the lines under the names, if a line of dashes ends them, and the records after it."""
    for k in (0, 1):
        if len(records) > k and all(re.fullmatch("-+", f) for f in _split(records[k], separator)):
            units = _split(records[0], separator) if k else []
            known = {name: unit for name, unit in zip(names, units, strict=False) if unit}
            return known, records[k + 1 :]
    return {}, records


def _table(names: Sequence[str], records: Sequence[str], separator: str) -> pa.Table:
    if not records:
        return pa.table({name: pa.array([], pa.string()) for name in names})
    table = pyarrow.csv.read_csv(
        io.BytesIO("\n".join(records).encode()),
        pyarrow.csv.ReadOptions(column_names=names),
        pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
        ),
    )
    return pa.table({name: _typed(column) for name, column in zip(names, table.columns, strict=True)})


def _typed(column: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return a column of text as what it is: whole or other numbers, truth values, times, else text."""
    text = pc.utf8_trim_whitespace(column)
    lower = pc.utf8_lower(text)
    numbers = pc.replace_substring_regex(_without(text, lower, _MISSING_NUMBERS), r"^\+", "")
    if numbers.null_count == len(numbers):
        return pa.nulls(len(numbers), pa.float64())
    for kind in (pa.int64(), pa.uint64()):
        whole = _cast(numbers, kind)
        if whole is not None and whole.cast(pa.string()).equals(numbers):
            return whole
    if not pc.all(pc.match_substring_regex(numbers, _WHOLE)).as_py():  # leading zeros, or too many digits: no number
        for kind in (pa.float64(), pa.timestamp("us")):
            if (found := _cast(numbers, kind)) is not None:
                return found
    truth = _without(lower, lower, MISSING)
    if pc.all(pc.is_in(truth.drop_null(), pa.array(["true", "false"]))).as_py():
        return pc.equal(truth, "true")
    return _without(text, lower, MISSING)


def _without(text: pa.ChunkedArray, lower: pa.ChunkedArray, missing: tuple[str, ...]) -> pa.ChunkedArray:
    """Text in which some spellings are NULL."""
    return pc.if_else(pc.is_in(lower, pa.array(missing)), pa.scalar(None, pa.string()), text)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        return None
