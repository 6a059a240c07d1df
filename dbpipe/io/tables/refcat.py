"""Reference catalogs: any table of stars, by any column names, to rows of reference_star and reference_magnitude."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy import units
from astropy.time import Time

from dbpipe.errors import ConfigError
from dbpipe.io.fits.quiet import quiet
from dbpipe.io.tables.angles import find_unit, is_text, parse_sexagesimal, refuse_if_not_degrees
from dbpipe.io.tables.columns import RefcatColumns
from dbpipe.io.tables.table import read_table
from dbpipe.io.tables.text import MISSING
from dbpipe.names import did_you_mean
from dbpipe.sky.healpix import hpx29

_COMMON = {
    "id": ("id", "source_id", "star_id", "objid", "object_id", "obj_id", "gaia_id", "name", "source"),
    "ra": ("ra", "ra_deg", "radeg", "raj2000", "ra_j2000", "_raj2000", "ra_icrs", "alpha_j2000",
           "ra_nominal_deg", "coord_ra", "ramean", "ra_mean"),
    "dec": ("dec", "dec_deg", "dedeg", "decdeg", "dej2000", "dec_j2000", "_dej2000", "decj2000", "de_icrs", "dec_icrs",
            "delta_j2000", "dec_nominal_deg", "coord_dec", "decmean", "dec_mean"),
    "pm_ra": ("pm_ra_cosdec", "pmra_cosdec", "pm_racosdec", "pmracosdec", "pm_ra", "pmra", "mu_ra", "mura"),
    "pm_dec": ("pm_dec", "pmdec", "pm_de", "pmde", "mu_dec", "mudec"),
    "epoch": ("epoch", "ref_epoch", "refepoch", "epochmean", "epoch_mean"),
}  # fmt: skip
"""Names that columns go by, in lower case; capitals do not matter."""
_BANDS = ("u", "g", "r", "i", "z", "y", "U", "B", "V", "R", "I", "G", "BP", "RP", "J", "H", "K", "Ks")
_MAGNITUDE_NAMES = ("{b}", "{b}mag", "mag_{b}", "{b}_mag", "mag{b}", "psfmag_{b}", "{b}_psf", "{b}psfmag", "{b}_psfmag",
                    "{b}meanpsfmag")  # fmt: skip
_GAIA_NAMES = {"phot_g_mean_mag": "G", "phot_bp_mean_mag": "BP", "phot_rp_mean_mag": "RP"}
_ERROR_NAMES = ("{c}_err", "{c}err", "{c}_error", "e_{c}", "err_{c}", "sig_{c}", "sigma_{c}")
_MOTION = units.mas / units.yr
_EXACT = {16: 2.0**11, 32: 2.0**24, 64: 2.0**53}
"""Bits of floating point -> whole numbers beyond it have lost digits."""
_FAINTEST, _BRIGHTEST = 40.0, -10.0
"""Magnitudes outside are the codes for "missing" of some catalogs: 99, 50, -9999."""


def read_refcat(
    path: Path, mapping: Mapping[str, Any] | None = None, *, fields: Sequence[tuple[float, float, float]] = ()
) -> tuple[pa.Table, pa.Table]:
    """Read a reference catalog.

    Parameters
    ----------
    path : str or Path
        CSV, Parquet, FITS, ECSV or VOTable.
    mapping : RefcatColumns, dict with its fields, or None
    fields : (n, 3) array, optional
        Right ascension, declination and radius [deg] of exposures: positions without a unit are compared with them.

    Returns
    -------
    (stars, magnitudes) : pyarrow.Table
        With the columns of reference_star and reference_magnitude. Rows without a position are left out,
        and so are magnitudes that are not numbers or codes for missing.

    Raises
    ------
    ConfigError
        The file is no table, a column is missing, ambiguous or makes no sense, or no star is left.
    """
    columns, column_units = read_table(path)
    names = find_columns(columns.column_names, mapping)
    ra, dec, is_stated = _positions(columns, names, column_units)
    kept = np.isfinite(ra) & np.isfinite(dec)
    if not kept.any():
        raise ConfigError(f"{path}: no row has a position in {names.ra}, {names.dec}")
    ra, dec = ra[kept], dec[kept]
    if not is_stated:
        where = np.array(fields, dtype=float).reshape(-1, 3)
        refuse_if_not_degrees(ra, dec, fields=where, what=f"{path}: {names.ra}, {names.dec}")
    if np.abs(dec).max() > 90.0 or ra.min() < -180.0 or ra.max() > 360.0:
        raise ConfigError(
            f"{path}: {names.ra} runs from {ra.min():g} to {ra.max():g} and {names.dec} from {dec.min():g} to "
            f"{dec.max():g}; they must be in degrees"
        )
    ra = ra % 360.0
    number = np.arange(1, len(kept) + 1, dtype=np.int64)
    original_id = _text(columns[names.id], names.id) if names.id else pa.array(number).cast(pa.string())
    stars = {
        "reference_id": number[kept],
        "original_id": original_id.filter(pa.array(kept)),
        "ra": ra,
        "dec": dec,
        "epoch_mjd_tai": _epoch(columns, names.epoch, len(kept))[kept],
        "pm_ra_mas_per_yr": _optional(columns, names.pm_ra, column_units, _MOTION)[kept],
        "pm_dec_mas_per_yr": _optional(columns, names.pm_dec, column_units, _MOTION)[kept],
        "hpx29": hpx29(ra, dec),
    }
    return _to_arrow(stars), _magnitude_table(columns, names, number, kept)


def _positions(
    columns: pa.Table, names: RefcatColumns, column_units: Mapping[str, str]
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return right ascension and declination [deg], and whether it is said somewhere that they are."""
    said = {
        "ra": names.ra_unit or column_units.get(names.ra or ""),
        "dec": names.dec_unit or column_units.get(names.dec or ""),
    }
    if names.ra_unit and not names.dec_unit:
        is_hours = find_unit(names.ra_unit, names.ra or "") == units.hourangle
        said["dec"] = said["dec"] if is_hours else names.ra_unit
    read, is_stated = {}, False
    for key, text in said.items():
        name = getattr(names, key)
        usual = units.hourangle if key == "ra" else units.deg
        if is_text(columns[name]) and (numbers := _as_numbers(columns[name])) is None:
            read[key] = parse_sexagesimal(columns[name], name, unit=find_unit(text, name) if text else usual)
            is_stated = True
            continue
        numbers = _numbers(columns, name, {}, None)
        read[key] = numbers * float(find_unit(text, name).to(units.deg)) if text else numbers
        is_stated |= text is not None or "deg" in name.lower()
    return read["ra"], read["dec"], is_stated


def find_columns(available: Sequence[str], mapping: Mapping[str, Any] | RefcatColumns | None = None) -> RefcatColumns:
    """Decide which columns to use.

    Parameters
    ----------
    available : list of column names
    mapping : RefcatColumns, dict with its fields, or None

    Returns
    -------
    RefcatColumns with every field filled in that the table can fill.
    """
    given = mapping if isinstance(mapping, RefcatColumns) else _mapping(mapping or {})
    chosen: dict[str, Any] = {}
    for key, usual in _COMMON.items():
        wanted = getattr(given, key)
        if key == "id" and wanted == "none" and wanted not in available:
            chosen[key] = None
        elif isinstance(wanted, str):
            is_number = key == "epoch" and wanted not in available and wanted.replace(".", "", 1).isdigit()
            chosen[key] = float(wanted) if is_number else _existing(wanted, available)
        elif wanted is not None:
            chosen[key] = wanted
        else:
            chosen[key] = _find_one(key, usual, available, required=key in ("ra", "dec"))
    bands = {band: _existing(name, available) for band, name in given.magnitudes.items()}
    bands = bands or _find_magnitudes(available)
    errors = {band: _existing(name, available) for band, name in given.magnitude_errors.items()}
    for band in errors:
        if band not in bands:
            raise ConfigError(
                f"magnitude_errors names the band {band}, which has no magnitude{did_you_mean(band, bands)}"
            )
    for band, name in bands.items():
        candidates = [c for c in available if c.lower() in {form.format(c=name.lower()) for form in _ERROR_NAMES}]
        if band not in errors and len(candidates) == 1:
            errors[band] = candidates[0]
    chosen |= {"ra_unit": given.ra_unit, "dec_unit": given.dec_unit}
    return RefcatColumns(**chosen, magnitudes=bands, magnitude_errors=errors)


def _mapping(table: Mapping[str, Any]) -> RefcatColumns:
    """Turn a dictionary from settings or the command line into RefcatColumns."""
    known = [f.name for f in fields(RefcatColumns)]
    for key in table:
        if key not in known:
            raise ConfigError(f"refcat: unknown key '{key}'{did_you_mean(key, known)} (known: {', '.join(known)})")
    return RefcatColumns(**table)


def _existing(name: str, available: Sequence[str]) -> str:
    if name not in available:
        raise ConfigError(
            f"the catalog has no column '{name}'{did_you_mean(name, available)} (it has: {', '.join(available)})"
        )
    return name


def _find_one(key: str, usual: tuple[str, ...], available: Sequence[str], *, required: bool) -> str | None:
    """Return the one column that goes by a usual name; an exact match in the order of the list wins."""
    found = [name for wanted in usual for name in available if name.lower() == wanted]
    if len(found) > 1 and key in ("ra", "dec", "epoch"):
        raise ConfigError(f'several columns could be {key}: {", ".join(found)}; say which, as in {key} = "{found[0]}"')
    if not found and required:
        raise ConfigError(
            f"no column for {key} was recognized{did_you_mean(key, available)} "
            f'(columns: {", ".join(available)}); say which, as in {key} = "NAME"'
        )
    return found[0] if found else None


def _find_magnitudes(available: Sequence[str]) -> dict[str, str]:
    """Return band -> column for columns with usual names of magnitudes."""
    bands = {}
    for band in _BANDS:
        # of the spellings only the band's own letters are sensitive to capitals: r and R are two filters
        found = [name for name in available if _GAIA_NAMES.get(name.lower()) == band or _is_magnitude(name, band)]
        if band == "y" and "y" in found and "x" in available:
            found.remove("y")  # x and y are pixels
        if len(found) > 1:
            raise ConfigError(
                f"several columns could be the magnitude in {band}: {', '.join(found)}; "
                f'say which, as in magnitudes = {{ {band} = "{found[0]}" }}'
            )
        if found:
            bands[band] = found[0]
    if not bands:
        raise ConfigError(
            f"no magnitude column was recognized (columns: {', '.join(available)}); "
            'say which, as in magnitudes = { r = "NAME" }'
        )
    return bands


def _is_magnitude(name: str, band: str) -> bool:
    """Return whether a column name is a usual spelling of the magnitude in a band."""
    for form in _MAGNITUDE_NAMES:
        before, after = form.split("{b}")
        middle = name[len(before) : len(name) - len(after)]
        if middle == band and name[: len(before)].lower() == before and name[len(name) - len(after) :].lower() == after:
            return True
    return False


def _numbers(columns: pa.Table, name: str, column_units: Mapping[str, str], unit: Any) -> np.ndarray:
    """Return a column as float64 in a unit, NaN where it is missing; a column without a unit is taken to be in it."""
    column = columns[name]
    values = _as_numbers(column)
    if values is None:
        found = next((v for v in column.to_pylist() if v is not None and not _is_number(v)), None)
        hint = "; decimal points are points" if isinstance(found, str) and "," in found else ""
        raise ConfigError(f"column {name} is not a number: {found!r}{hint}")
    if name in column_units and unit is not None:
        with quiet():
            try:
                values = values * units.Unit(column_units[name]).to(unit)
            except (ValueError, TypeError) as error:
                raise ConfigError(f"column {name} is in {column_units[name]}, not in {unit}") from error
    return values


def _as_numbers(column: pa.Array | pa.ChunkedArray) -> np.ndarray | None:
    """Return an Arrow column as float64, NaN where it is missing, or None if it holds no numbers."""
    kind = column.type
    if not (is_text(column) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return None
    try:
        return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        pass
    try:  # Python knows more spellings than Arrow: +5, 1_000 aside
        return np.array([np.nan if v is None else float(v) for v in column.to_pylist()])
    except ValueError:
        return None


def _is_number(value: str) -> bool:
    return _as_numbers(pa.array([value])) is not None


def _optional(columns: pa.Table, name: str | None, column_units: Mapping[str, str], unit: Any) -> np.ndarray:
    return np.full(columns.num_rows, np.nan) if name is None else _numbers(columns, name, column_units, unit)


def _epoch(columns: pa.Table, epoch: float | str | None, n: int) -> np.ndarray:
    """Return the epoch [MJD TAI] of each star; years are Julian (TT), as in Gaia."""
    if epoch is None:
        return np.full(n, np.nan)
    values = _numbers(columns, epoch, {}, None) if isinstance(epoch, str) else np.full(n, float(epoch))
    known = values[np.isfinite(values)]
    if np.all((known >= 1800.0) & (known <= 2200.0)):
        result = np.full(n, np.nan)
        result[np.isfinite(values)] = Time(known, format="jyear", scale="tt").tai.mjd
        return result
    if np.all((known >= 30000.0) & (known <= 100000.0)):
        return values
    raise ConfigError(f"epoch {epoch} is neither a year (1800 to 2200) nor an MJD: {known.min():g} to {known.max():g}")


def _text(column: pa.ChunkedArray, name: str) -> pa.Array:
    """Return ids as text with all their digits, NULL where one is missing.

    Raises
    ------
    ConfigError
        If they are floating point and too large for it: which stars they are is lost in the file already.
    """
    if pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False)
        known = values[np.isfinite(values)]
        if np.any(np.abs(known) >= _EXACT[column.type.bit_width]):
            raise ConfigError(
                f"column {name} is floating point of {column.type.bit_width} bits, in which ids as large as "
                f"{np.abs(known).max():g} have lost digits: "
                "say which column has them whole, or --map id=none"
            )
        if np.all(known == np.floor(known)):
            whole = pa.array(np.where(np.isfinite(values), values, 0.0).astype(np.int64), mask=~np.isfinite(values))
            column = pa.chunked_array([whole])
    if not is_text(column):
        column = column.cast(pa.string())
    column = pc.utf8_trim_whitespace(column)
    is_missing = pc.is_in(pc.utf8_lower(column), pa.array(MISSING))
    return pc.if_else(is_missing, pa.scalar(None, column.type), column).cast(pa.string()).combine_chunks()


def _magnitude_table(columns: pa.Table, names: RefcatColumns, number: np.ndarray, kept: np.ndarray) -> pa.Table:
    """Return one row per star and band with a plausible magnitude."""
    parts = []
    for band, name in names.magnitudes.items():
        magnitude = _numbers(columns, name, {}, None)
        error = _optional(columns, names.magnitude_errors.get(band), {}, None)
        good = kept & (magnitude > _BRIGHTEST) & (magnitude < _FAINTEST)  # NaN compares false
        error = np.where(error > 0, error, np.nan)[good]
        parts.append(
            _to_arrow({
                "reference_id": number[good],
                "band": pa.array([band] * np.count_nonzero(good), pa.string()),
                "magnitude_ab": magnitude[good],
                "magnitude_err": error,
            })
        )  # fmt: skip
    return pa.concat_tables(parts)


def _to_arrow(columns: Mapping[str, Any]) -> pa.Table:
    """Return an Arrow table in which NaN is missing."""
    return pa.table({
        name: values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, from_pandas=True)
        for name, values in columns.items()
    })  # fmt: skip
