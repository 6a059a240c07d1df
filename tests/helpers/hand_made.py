"""A survey of a few dozen rows made by hand: four nights, two bands, and one thing of each kind on the sky."""

from dbpipe.catalog import migrations
from dbpipe.catalog.store.connection import transaction
from dbpipe.catalog.views import apply_views

RA, DEC = 10.0, -30.0
NIGHTS = (20260101, 20260102, 20260103, 20260104)
MJD = 61041.2
SUPERNOVA, VARIABLE, LEFT, RIGHT, ONCE = 1, 2, 3, 4, 5
PLACES = {SUPERNOVA: (0, 0), VARIABLE: (60, 0), LEFT: (120, 0), RIGHT: (121.5, 0), ONCE: (0, 90)}
"""Object -> offset to the east and north [arcsec]."""
FLUXES = {
    SUPERNOVA: {"r": (20, -30, 2000, 5000), "g": (-10, 40, 2400, 5200)},
    VARIABLE: {"r": (3000, -3000, 2800, -2900), "g": (3500, -3300, 3100, -3600)},
    LEFT: {"r": (1500, -1400, 1600, -1500), "g": (60, -50, 30, 10)},
    RIGHT: {"r": (1200, -1300, 1250, -1100), "g": (10, 20, -30, 40)},
    ONCE: {"r": (0, 900, 30, -20), "g": (10, -20, 10, 0)},
}
"""Difference fluxes [nJy] in the four nights; the error is 100 nJy."""
ERROR = 100.0
WITHOUT_DIFFERENCE = 108
"""The visit of the last night in g: its subtraction failed."""


def insert(connection, table, **values):
    """Insert a row; a column that is not named and cannot be NULL gets a zero, and a flag is not set."""
    row = {}
    for name, kind, nullable, *_ in connection.execute(f"DESCRIBE {table}").fetchall():
        if name in values:
            row[name] = values[name]
        elif nullable == "NO" or kind == "BOOLEAN":
            row[name] = _zero(kind)
    assert not values.keys() - row.keys(), values.keys() - row.keys()
    names = ", ".join(row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))


def _zero(kind):
    if kind.endswith("[4]"):
        return [0.0] * 4
    if kind.endswith("[]"):
        return []
    return {"VARCHAR": "", "BOOLEAN": False, "JSON": "{}", "TIMESTAMP": "2026-01-05 00:00:00"}.get(kind, 0)


def visit_of(night_number, band):
    """Return the visit of a night (0 to 3) and band: r is observed first, g a quarter of an hour later."""
    return 101 + 2 * night_number + (band == "g")


def mjd_of(night_number, band):
    """Return its mid-exposure."""
    return MJD + night_number + 0.01 * (band == "g")


def fill(connection):
    """Make the schema and every row."""
    migrations.migrate(connection)
    apply_views(connection)
    for name, source in (("dia_object", "object"), ("dia_association", "source")):  # one piece of sky is enough here
        connection.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM association.{source}")
    with transaction(connection):
        _observations(connection)
        for dia_object_id, fluxes in FLUXES.items():
            _object(connection, dia_object_id, fluxes)
        _mover(connection)


def _observations(connection):
    insert(connection, "run", run_id=1, command="dbpipe run s", versions='{"dbpipe": "0.1.0"}',
           settings='{"detect": {"keep_score": 4.0}}')  # fmt: skip
    connection.execute("INSERT INTO band VALUES ('g'), ('r'); INSERT INTO detector VALUES (7, 'R22 S11')")
    insert(connection, "tract", tract=0, pixel_scale_arcsec=0.2, patch_size_pix=2048)
    for number, night in enumerate(NIGHTS):
        for band in "rg":
            visit = visit_of(number, band)
            insert(connection, "visit", visit=visit, band=band, night=night, midpoint_mjd_tai=mjd_of(number, band),
                   exposure_s=30, instrument="eimage")  # fmt: skip
    for number, band in ((number, band) for number in range(len(NIGHTS)) for band in "rg"):
        _image(connection, visit_of(number, band), number)
    for template_id, band in ((1, "r"), (2, "g")):
        insert(connection, "template", template_id=template_id, band=band, version=3, how="auto", target_fwhm_pix=4,
               n_input=2, run_id=1)  # fmt: skip
        insert(
            connection, "coadd", template_id=template_id, patch=5, path=f"files/coadd/{band}.fits", sha256=f"co{band}"
        )


def _image(connection, visit, number):
    has_difference = visit != WITHOUT_DIFFERENCE
    key = {"visit": visit, "detector": 7}
    insert(connection, "raw", **key, path=f"/raw/{visit}.fits", sha256=f"raw{visit}", size_byte=1000, ra=RA, dec=DEC)
    insert(connection, "calexp", **key, path=f"files/calexp/{visit}.fits", sha256=f"cal{visit}", nx=1000, ny=1000,
           psf_fwhm_arcsec=0.7 + 0.1 * number, psf_fwhm_pix=3.5 + 0.5 * number, depth_5sigma_mag=24.5 - 0.1 * number,
           pixel_scale_arcsec=0.2, wcs="CRVAL1 = 10", sip_order=2, n_astrom_star=50, n_psf_star=40)  # fmt: skip
    insert(connection, "patch_overlap", **key, patch=5)
    for stage, unit_key, wall_s in (
        ("ingest", f"path=/raw/{visit}.fits", 0.5),
        ("calibrate", f"visit={visit},detector=7", 4.0),
        ("difference", f"visit={visit},detector=7", 3.0),
        ("detect", f"visit={visit},detector=7", 1.0),
    ):
        failed = stage == "difference" and not has_difference
        if stage == "detect" and not has_difference:
            continue
        insert(connection, "unit", stage=stage, unit_key=unit_key, fingerprint=f"{stage}{visit}", run_id=1,
               status="failed" if failed else "done", reason="too few stars" if failed else None, stage_version=2,
               wall_s=wall_s, cpu_s=wall_s, n_pix=1_000_000)  # fmt: skip
    if not has_difference:
        return
    insert(connection, "diffim", **key, template_id=1 + (visit % 2 == 0), path=f"files/diffim/{visit}.fits",
           sha256=f"dif{visit}", convolved="template", kernel_order=2, kernel_sum=1.01, n_kernel_star=33,
           depth_5sigma_mag=24.2 - 0.1 * number, score_std=1.0, template_coverage=1.0,
           kernel_degree="6,4,2", kernel_sigma_pix="0.7,1.5,3")  # fmt: skip
    for template_visit, weight in ((101 + (visit % 2 == 0), 0.75), (103 + (visit % 2 == 0), 0.25)):
        insert(connection, "diffim_input", **key, template_visit=template_visit, template_detector=7, weight=weight)


def place_of(dia_object_id):
    """Return the right ascension and declination of an object."""
    east, north = PLACES[dia_object_id]
    return RA + east / 3600 / 0.8660254037844387, DEC + north / 3600


def _object(connection, dia_object_id, fluxes):
    ra, dec = place_of(dia_object_id)
    linked = []
    for band, series in fluxes.items():
        for number, flux in enumerate(series):
            visit = visit_of(number, band)
            if visit == WITHOUT_DIFFERENCE:
                continue
            shared = {"visit": visit, "detector": 7, "midpoint_mjd_tai": mjd_of(number, band), "ra": ra, "dec": dec}
            insert(connection, "dia_forced_source", **shared, dia_object_id=dia_object_id, band=band, psf_flux_njy=flux,
                   psf_flux_err_njy=ERROR, science_flux_njy=10_000 + flux, science_flux_err_njy=ERROR,
                   template_flux_njy=10_000, template_flux_err_njy=20)  # fmt: skip
            if abs(flux) >= 5 * ERROR:
                linked.append((shared["midpoint_mjd_tai"], visit, shared, band, flux))
    for mjd, visit, shared, band, flux in sorted(linked, key=lambda row: row[:2]):
        _source(connection, visit * 100 + dia_object_id, shared, band, flux, night=NIGHTS[int(mjd - MJD + 0.001)],
                dia_object_id=dia_object_id)  # fmt: skip
    times = sorted(row[0] for row in linked)
    scores = [row[4] / ERROR for row in linked]
    nights = {int(mjd - MJD + 0.001) for mjd in times}
    insert(connection, "association.object", dia_object_id=dia_object_id, ra=ra, dec=dec, n_dia_source=len(times),
           n_night=len(nights), first_mjd_tai=times[0], last_mjd_tai=times[-1], max_score=max(scores),
           min_score=min(scores), hpx29=_hpx29(ra, dec))  # fmt: skip


def _source(connection, dia_source_id, shared, band, flux, *, night, **link):
    hpx29, score = _hpx29(shared["ra"], shared["dec"]), flux / ERROR
    insert(connection, "dia_source", dia_source_id=dia_source_id, **shared, band=band, hpx29=hpx29, score=score,
           snr=abs(score), psf_flux_njy=flux, psf_flux_err_njy=ERROR, is_primary=True, is_negative=flux < 0,
           template_id=1 + (band == "g"), science_flux_njy=10_000 + flux, science_flux_err_njy=ERROR)  # fmt: skip
    insert(connection, "association.source", dia_source_id=dia_source_id, **shared, night=night, hpx29=hpx29,
           score=score, **link)  # fmt: skip


def _mover(connection):
    """Two detections of the last night, 0.36 arcsec apart in a quarter of an hour: 1.5 arcsec an hour."""
    for dia_source_id, number, band, east in ((9001, 2, "r", 200.0), (9002, 2, "g", 200.36)):
        ra, dec = RA + east / 3600 / 0.8660254037844387, DEC
        shared = {"visit": visit_of(number, band), "detector": 7, "midpoint_mjd_tai": mjd_of(number, band)}
        _source(connection, dia_source_id, shared | {"ra": ra, "dec": dec}, band, 4000, night=NIGHTS[number],
                tracklet_id=9001)  # fmt: skip
    insert(connection, "tracklet", tracklet_id=9001, night=NIGHTS[2], n_dia_source=2, ra=RA + 0.064, dec=DEC,
           reference_mjd_tai=mjd_of(2, "r") + 0.005, ra_rate_deg_per_day=0.01, rate_deg_per_day=0.01, angle_deg=90,
           arc_h=0.24)  # fmt: skip


def _hpx29(ra, dec):
    from dbpipe.sky.healpix import hpx29

    return int(hpx29(ra, dec))
