"""Reference catalogues: any table of stars, by any column names, to rows of reference_star and reference_magnitude."""

from dataclasses import dataclass, field, fields
from typing import Annotated

import numpy as np
import pyarrow as pa
from astropy import units
from astropy.time import Time

from dbpipe.errors import ConfigError
from dbpipe.io.fits import quiet
from dbpipe.io.names import did_you_mean
from dbpipe.io.tables import read_columns
from dbpipe.ranges import Range, Ranged
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
_UNITS = {"ra": units.deg, "dec": units.deg, "pm_ra": units.mas / units.yr, "pm_dec": units.mas / units.yr}
_FAINTEST, _BRIGHTEST = 40.0, -10.0
"""Magnitudes outside are the codes for "missing" of some catalogues: 99, 50, -9999."""


@dataclass(frozen=True)
class RefcatColumns(Ranged):
    """Which column holds what; what is not named is looked for under its usual names."""

    id: str | None = None
    """Name or number of the star."""
    ra: str | None = None
    """ICRS right ascension [deg, unless the column says otherwise]."""
    dec: str | None = None
    """ICRS declination."""
    pm_ra: str | None = None
    """Proper motion in right ascension times cos(dec) [mas/yr, unless the column says otherwise]."""
    pm_dec: str | None = None
    """Proper motion in declination [mas/yr, unless the column says otherwise]."""
    epoch: str | Annotated[float, Range(at_least=0.0, at_most=1e6)] | None = None
    """Column, or one number for all (text of one is fine too): a year (1800 to 2200) or an MJD."""
    magnitudes: dict = field(default_factory=dict)
    """Band -> column. If any is given, no others are looked for."""
    magnitude_errors: dict = field(default_factory=dict)
    """Band -> column."""


def read_refcat(path, mapping=None):
    """Read a reference catalogue.

    Parameters
    ----------
    path : str or Path
        CSV, Parquet, FITS, ECSV or VOTable.
    mapping : RefcatColumns, dict with its fields, or None

    Returns
    -------
    (stars, magnitudes) : pyarrow.Table
        With the columns of reference_star and reference_magnitude. Rows without a position are left out (how many:
        `dropped_count`), and so are magnitudes that are not numbers or codes for missing.

    Raises
    ------
    ConfigError
        The file is no table, a column is missing, ambiguous or makes no sense, or no star is left.
    """
    columns, column_units = read_columns(path)
    names = find_columns(list(columns), mapping)
    read = {key: _numbers(columns, getattr(names, key), column_units, _UNITS[key]) for key in ("ra", "dec")}
    kept = np.isfinite(read["ra"]) & np.isfinite(read["dec"])
    if not kept.any():
        raise ConfigError(f"{path}: no row has a position in {names.ra}, {names.dec}")
    ra, dec = read["ra"][kept], read["dec"][kept]
    if np.abs(dec).max() > 90.0 or ra.min() < -180.0 or ra.max() > 360.0:
        raise ConfigError(
            f"{path}: {names.ra} runs from {ra.min():g} to {ra.max():g} and {names.dec} from {dec.min():g} to "
            f"{dec.max():g}; they must be in degrees"
        )
    ra = ra % 360.0
    number = np.arange(1, len(kept) + 1, dtype=np.int64)
    stars = {
        "reference_id": number[kept],
        "original_id": _text(columns[names.id] if names.id else number)[kept],
        "ra": ra,
        "dec": dec,
        "epoch_mjd_tai": _epoch(columns, names.epoch, len(kept))[kept],
        "pm_ra_mas_per_yr": _optional(columns, names.pm_ra, column_units, _UNITS["pm_ra"])[kept],
        "pm_dec_mas_per_yr": _optional(columns, names.pm_dec, column_units, _UNITS["pm_dec"])[kept],
        "hpx29": hpx29(ra, dec),
    }
    table = _to_arrow(stars).replace_schema_metadata({"n_dropped": str(int(np.count_nonzero(~kept)))})
    return table, _magnitude_table(columns, names, number, kept)


def dropped_count(stars):
    """Return how many rows of the catalogue had no position."""
    return int(stars.schema.metadata[b"n_dropped"])


def find_columns(available, mapping=None):
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
    chosen = {}
    for key, usual in _COMMON.items():
        wanted = getattr(given, key)
        if isinstance(wanted, str):
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
    return RefcatColumns(**chosen, magnitudes=bands, magnitude_errors=errors)


def _mapping(table):
    """Turn a dictionary from settings or the command line into RefcatColumns."""
    known = [f.name for f in fields(RefcatColumns)]
    for key in table:
        if key not in known:
            raise ConfigError(f"refcat: unknown key '{key}'{did_you_mean(key, known)} (known: {', '.join(known)})")
    return RefcatColumns(**table)


def _existing(name, available):
    if name not in available:
        raise ConfigError(
            f"the catalogue has no column '{name}'{did_you_mean(name, available)} (it has: {', '.join(available)})"
        )
    return name


def _find_one(key, usual, available, *, required):
    """Return the one column that goes by a usual name; an exact match in the order of the list wins."""
    found = [name for wanted in usual for name in available if name.lower() == wanted]
    if len(found) > 1 and key in ("ra", "dec", "epoch"):
        raise ConfigError(f'several columns could be {key}: {", ".join(found)}; say which, as in {key} = "{found[0]}"')
    if not found and required:
        raise ConfigError(
            f"no column for {key} was recognised{did_you_mean(key, available)} "
            f'(columns: {", ".join(available)}); say which, as in {key} = "NAME"'
        )
    return found[0] if found else None


def _find_magnitudes(available):
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
            f"no magnitude column was recognised (columns: {', '.join(available)}); "
            'say which, as in magnitudes = { r = "NAME" }'
        )
    return bands


def _is_magnitude(name, band):
    """Return whether a column name is a usual spelling of the magnitude in a band."""
    for form in _MAGNITUDE_NAMES:
        before, after = form.split("{b}")
        middle = name[len(before) : len(name) - len(after)]
        if middle == band and name[: len(before)].lower() == before and name[len(name) - len(after) :].lower() == after:
            return True
    return False


def _numbers(columns, name, column_units, unit):
    """Return a column as float64 in a unit; a column without a unit is taken to be in it."""
    try:
        values = np.asarray(columns[name], dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"column {name} is not a number: {error}") from error
    if name in column_units and unit is not None:
        with quiet():
            try:
                values = values * units.Unit(column_units[name]).to(unit)
            except (ValueError, TypeError) as error:
                raise ConfigError(f"column {name} is in {column_units[name]}, not in {unit}") from error
    return values


def _optional(columns, name, column_units, unit):
    n = len(next(iter(columns.values())))
    return np.full(n, np.nan) if name is None else _numbers(columns, name, column_units, unit)


def _epoch(columns, epoch, n):
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


def _text(values):
    """Return a column as text; whole numbers without a decimal point."""
    return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()], dtype=object)


def _magnitude_table(columns, names, number, kept):
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
                "band": np.full(np.count_nonzero(good), band, dtype=object),
                "magnitude_ab": magnitude[good],
                "magnitude_err": error,
            })
        )  # fmt: skip
    return pa.concat_tables(parts)


def _to_arrow(columns):
    """Return an Arrow table in which NaN is missing."""
    text = {name for name, values in columns.items() if values.dtype == object}
    return pa.table({
        name: pa.array(values, type=pa.string() if name in text else None, from_pandas=True)
        for name, values in columns.items()
    })  # fmt: skip
