"""Inputs of each kind from a seed: what good files look like, and what becomes of them."""

import bz2
import gzip
import io
from importlib.resources import files

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.table import Table
from mutate import NUMBERS, TEXTS, mutate_bytes, nasty, pick

from dbpipe.catalog.sql.cookbook import read_recipes
from dbpipe.runner import order
from dbpipe.survey.settings import document, format_value

SHAPE = (32, 40)
_CARDS = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 20.0, "CRPIX2": 16.0, "CRVAL1": 53.0, "CRVAL2": -27.4,
    "CD1_1": -5.5e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 5.5e-5, "RADESYS": "ICRS", "EQUINOX": 2000.0,
    "OBSID": 1234, "TAI": 59580.25, "MJD-OBS": 59580.24963, "EXPTIME": 30.0, "FILTER": "r", "FILTNM": 2,
    "AIRMASS": 1.2, "CHIPID": "R22_S11", "TIMESYS": "TAI", "DATE-OBS": "2022-01-01T06:00:00", "OBJECT": "field",
}  # fmt: skip
_STRUCTURE = (
    "SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "EXTEND", "PCOUNT", "GCOUNT", "XTENSION", "BSCALE",
    "BZERO", "BLANK", "TFIELDS", "TFORM1", "TTYPE1", "ZIMAGE", "ZNAXIS1", "ZNAXIS2", "ZBITPIX", "ZCMPTYPE", "ZTILE1",
    "ZBLANK", "DATASUM", "CHECKSUM", "END", "CONTINUE", "HIERARCH", "INHERIT", "EXTNAME", "LONPOLE", "PV1_1", "PV2_3",
    "A_ORDER", "A_0_2", "CUNIT1", "CDELT1", "PC1_1", "CROTA2", "WCSAXES", "CNAME1", "TRIMSEC", "GAIN", "CCDTEMP",
)  # fmt: skip


def instrument_text():
    """Return the description that the images are made for."""
    return (files("dbpipe") / "instruments" / "phosim-eimage.toml").read_text(encoding="utf-8")


def _file(hdus):
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer, checksum="CHECKSUM" in hdus[0].header)
    return buffer.getvalue()


def good_images():
    """Return FITS files of every kind that cameras write, name -> bytes."""
    sky = np.random.default_rng(1).poisson(500.0, SHAPE)
    header = fits.Header(list(_CARDS.items()))
    summed = fits.PrimaryHDU(sky.astype(np.float32), header)
    summed.header["CHECKSUM"] = ""
    counts = fits.PrimaryHDU(sky.astype(np.uint16), header)
    counts.header["BLANK"] = 0
    plain = _file([fits.PrimaryHDU(sky.astype(np.float32), header)])
    chips = [fits.ImageHDU(sky.astype(np.int16), header, name=f"CHIP{k}") for k in (1, 2)]
    weight = fits.ImageHDU(np.ones(SHAPE, np.float32), name="WEIGHT")
    return {
        "plain.fits": plain,
        "summed.fits": _file([summed]),
        "counts.fits": _file([counts]),
        "chips.fits": _file([fits.PrimaryHDU(), *chips, weight]),
        "cube.fits": _file([fits.PrimaryHDU(sky.astype(np.float64)[None], header)]),
        "table.fits": _file([fits.PrimaryHDU(), fits.BinTableHDU(Table({"x": [1.0, 2.0]}))]),
        "plain.fits.gz": gzip.compress(plain, mtime=0),
        "plain.fits.bz2": bz2.compress(plain),
        "tiles.fits.fz": _file([fits.PrimaryHDU(), fits.CompImageHDU(sky.astype(np.int32), header)]),
    }


def image(random, good):
    """Return name and bytes of a damaged image."""
    name = pick(random, sorted(good))
    is_packed = name.endswith((".gz", ".bz2"))
    if random.random() < 0.6 and not is_packed:
        return name, _change_cards(random, good[name])
    if is_packed and random.random() < 0.5:
        pack = gzip.compress if name.endswith(".gz") else bz2.compress
        return name, pack(mutate_bytes(random, good["plain.fits"], list(good.values())))
    return name, mutate_bytes(random, good[name], list(good.values()))


def _change_cards(random, content):
    """Put wrong cards, or good ones with wrong values, in the place of some of a header."""
    cards = [k for k in range(0, min(len(content), 20_160), 80) if content[k : k + 8].strip()]
    for _ in range(int(random.integers(1, 4))):
        at = pick(random, cards)
        keyword = content[at : at + 8].decode("latin-1")
        if random.random() < 0.4:
            keyword = pick(random, (*_STRUCTURE, *_CARDS)).ljust(8)
        value = nasty(random)
        if random.random() < 0.5:
            value = f"'{value}'"
        form = pick(random, ("{k}= {v:>20}", "{k}= {v}", "{k}={v}", "{k} {v}", "{k}= {v} / comment", "{k}= '{v}"))
        text = form.format(k=keyword, v=value).encode("utf-8", "surrogatepass")
        content = content[:at] + text[:80].ljust(80) + content[at + 80 :]
    return content


def good_tables():
    """Return star catalogs in every format that is read, name -> bytes."""
    random = np.random.default_rng(2)
    columns = {
        "source_id": 5853498713190525696 + np.arange(20),
        "ra": random.uniform(52.9, 53.1, 20),
        "dec": random.uniform(-27.5, -27.3, 20),
        "pmra": random.normal(0, 5, 20),
        "epoch": np.full(20, 2016.0),
        "g": random.uniform(15, 20, 20),
        "r": random.uniform(15, 20, 20),
        "r_err": np.full(20, 0.01),
    }
    found = {}
    for ending, form in (("csv", "ascii.csv"), ("ecsv", "ascii.ecsv"), ("tsv", "ascii.tab")):
        text = io.StringIO()
        Table(columns).write(text, format=form)
        found[f"stars.{ending}"] = text.getvalue().encode()
    for ending, form in (("fits", "fits"), ("vot", "votable")):
        buffer = io.BytesIO()
        Table(columns).write(buffer, format=form)
        found[f"stars.{ending}"] = buffer.getvalue()
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    found["stars.parquet"] = buffer.getvalue()
    found["stars.csv.gz"] = gzip.compress(found["stars.csv"], mtime=0)
    return found


def table(random, good):
    """Return name and bytes of a damaged table."""
    name = pick(random, sorted(good))
    content = good[name]
    if not name.endswith(("csv", "tsv")) or random.random() < 0.3:
        return name, mutate_bytes(random, content, list(good.values()))
    separator = b"\t" if name.endswith("tsv") else b","
    lines = [line.split(separator) for line in content.splitlines()]
    for _ in range(int(random.integers(1, 6))):
        row = pick(random, lines)
        if row:
            row[int(random.integers(len(row)))] = nasty(random).encode("utf-8", "surrogatepass")
    if random.random() < 0.3:
        lines.insert(int(random.integers(len(lines))), [b"# " + nasty(random).encode("utf-8", "surrogatepass")])
    return name, pick(random, (b"\n", b"\n", b"\r\n", b"\r")).join(separator.join(row) for row in lines)


def settings(random):
    """Return a settings file with one to three things wrong, or unusual."""
    sections = order.sections()
    every = document(sections)
    lines = []
    for _ in range(int(random.integers(1, 4))):
        item = pick(random, every)
        name = item.name if random.random() < 0.9 else item.name[:-1] + pick(random, ("", "x", "_", "é"))
        section = item.section if random.random() < 0.95 else pick(random, (*sections, "run.x", "nothing", ""))
        lines += [f"[{section}]", f"{name} = {_toml_value(random, item.default)}"]
    text = ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
    return mutate_bytes(random, text) if random.random() < 0.15 else text


def _toml_value(random, default):
    value = nasty(random)
    quoted = format_value(value.encode("utf-8", "replace").decode())
    near = format_value(default)
    if isinstance(default, int | float) and not isinstance(default, bool):
        near = repr(default * float(pick(random, (-1.0, 0.0, 0.5, 2.0, 1e6))))
    return pick(random, (value, quoted, near, f"[{value}]", f"{{ x = {quoted} }}", "1979-05-27", "nan", "-inf", "true"))


def instrument(random):
    """Return an instrument description with a few lines changed."""
    lines = [line for line in instrument_text().splitlines() if line and not line.startswith("#")]
    for _ in range(int(random.integers(1, 4))):
        at, choice = int(random.integers(len(lines))), int(random.integers(4))
        if choice == 0:
            lines[at] = f"{lines[at].partition('=')[0]}= {_toml_value(random, 1.0)}"
        elif choice == 1:
            lines.insert(at, lines[at])
        elif choice == 2:
            del lines[at]
        else:
            lines[at] = lines[at].replace(pick(random, ('"', "}", "0", ".", "e")), nasty(random))
    text = ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
    return mutate_bytes(random, text) if random.random() < 0.15 else text


_FRAGMENTS = (
    "SELECT", "*", "FROM", "dia_source", "dia_object", "visit", "WHERE", "visit = 1", "ORDER BY 1", "LIMIT 3", ";",
    "--", "/*", "*/", "(", ")", ",", "DELETE FROM dia_source", "DROP TABLE visit", "UPDATE visit SET night = 0",
    "INSERT INTO band VALUES ('x')", "ATTACH 'survey.duckdb' AS w", "ATTACH '{victim}' AS v", "DETACH survey",
    "CHECKPOINT", "COPY visit TO '{victim}'", "COPY (SELECT 1) TO 'survey.toml'", "read_text('{victim}')",
    "read_csv('{victim}')", "'{victim}'", "read_parquet('{victim}')", "glob('/*')", "PRAGMA database_list",
    "SET enable_external_access = true", "SET lock_configuration = false", "RESET ALL", "INSTALL httpfs",
    "LOAD httpfs", "EXPORT DATABASE '{folder}'", "IMPORT DATABASE '{folder}'", "CALL force_checkpoint()",
    "WITH x AS (DELETE FROM visit RETURNING *) SELECT * FROM x", "WITH x AS (SELECT 1 AS a)", "UNION ALL", "EXPLAIN",
    "EXPLAIN ANALYZE DELETE FROM visit", "DESCRIBE", "SUMMARIZE", "SHOW TABLES", "USE memory", "BEGIN", "COMMIT",
    "ROLLBACK", "PREPARE p AS DELETE FROM visit", "EXECUTE p", "CREATE TABLE z (a INT)",
    "CREATE TEMP TABLE z AS SELECT 1", "CREATE OR REPLACE VIEW dia_source AS SELECT 1", "$x",
    "query('DELETE FROM visit')", "query_table('visit')", "getenv('HOME')", "current_setting('threads')", "1/0",
    "CAST('x' AS INTEGER)", "'[/red]' AS \"[/b]\"", "\x00", "é", "ra AS x", "count(*)", "EXCLUDE (ra)",
    "COLUMNS('.*')", "dia_source_clean", "light_curve", "cone_search(53.0, -27.4, 60)", "unnest([1, 2])", "range(10)",
    "NULL", "'x'", "1",
)  # fmt: skip
"""Pieces of questions, and of what should not be asked; {victim} and {folder} are paths outside the survey."""


def statement(random, places):
    """Return a text that may be SQL."""
    if random.random() < 0.25:
        recipes = read_recipes()
        words = recipes[pick(random, sorted(recipes))].query.split()
        for _ in range(int(random.integers(1, 4))):
            at = int(random.integers(len(words)))
            words[at : at + int(random.integers(2))] = [_fragment(random, places)]
        return " ".join(words)
    if random.random() < 0.4:
        start = f"SELECT {pick(random, ('*', '1', 'visit', 'ra'))} FROM visit WHERE {_fragment(random, places)} "
        return start + " ".join(_fragment(random, places) for _ in range(int(random.integers(3))))
    return " ".join(_fragment(random, places) for _ in range(int(random.integers(1, 9))))


def _fragment(random, places):
    if random.random() < 0.1:
        return nasty(random)
    return pick(random, _FRAGMENTS).replace("{victim}", places["victim"]).replace("{folder}", places["folder"])


def name(random):
    """Return a word that could be given for a table, a column, a file or a stage."""
    return pick(random, (*TEXTS, *NUMBERS, *_FRAGMENTS[:20]))
