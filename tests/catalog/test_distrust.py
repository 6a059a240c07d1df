"""The views that say which difference images to distrust, on a few rows."""

import pytest

from dbpipe.catalog import migrations
from dbpipe.catalog.store import connection
from dbpipe.catalog.views import apply_views

HEALTHY = {
    "score_std": 1.0,
    "lag1_correlation": 0.001,
    "kernel_sum": 1.0,
    "kernel_sum_scatter": 0.0,
    "control_chi2": 1.05,
    "template_coverage": 0.95,
    "fraction_masked": 0.06,
    "depth_5sigma_mag": 24.0,
}
VISITS = range(1, 6)


def insert(catalog, table, **values):
    """Insert a row in which what is not said is 0, or nothing where that is allowed."""
    row = {}
    for name, kind, is_null, *_ in catalog.execute(f"DESCRIBE {table}").fetchall():
        if is_null == "NO":
            row[name] = [0.0] * 4 if kind.endswith("[4]") else "" if kind == "VARCHAR" else 0
    row |= values
    catalog.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values()))


@pytest.fixture
def catalog():
    """Five healthy difference images with cells, registration, prediction and 20 DIASources each."""
    with connection.memory() as catalog:
        migrations.migrate(catalog)
        apply_views(catalog)
        catalog.execute("INSERT INTO band VALUES ('r'); INSERT INTO detector VALUES (0, 'a')")
        insert(catalog, "tract", pixel_scale_arcsec=0.2)
        insert(catalog, "template", template_id=1, band="r", version=1)
        for visit in VISITS:
            at = {"visit": visit, "detector": 0}
            insert(catalog, "visit", visit=visit, band="r", midpoint_mjd_tai=61000.0)
            # x to the west, y to the north
            corners = {"corner_ra": [10.0, 9.9, 9.9, 10.0], "corner_dec": [0.0, 0.0, 0.1, 0.1]}
            insert(catalog, "calexp", **at, nx=400, ny=400, pixel_scale_arcsec=0.2, **corners)
            insert(catalog, "diffim", **at, template_id=1, **HEALTHY)
            insert(catalog, "template_prediction", **at, template_id=1, predicted_depth_mag=23.98)
            insert(catalog, "diffim_registration", **at, n_star=30, shift_x_pix=0.003, shift_y_pix=-0.004,
                   scatter_pix=0.01, axis_deg=30.0, chance_of_alignment=0.4)  # fmt: skip
            insert(catalog, "visit_zenith", visit=visit, altitude_deg=60, parallactic_angle_deg=90.0)
            for cell in range(16):
                insert(
                    catalog, "diffim_sample", **at, cell_x=cell % 4, cell_y=cell // 4, score_std=1.02, score_mean=0.1
                )
            for k in range(20):
                insert(catalog, "dia_source", dia_source_id=100 * visit + k, **at, band="r", x=20.0 * k, y=50.0,
                       is_primary=True, flag_dipole=k < 3, dipole_angle_deg=120.0 * k)  # fmt: skip
        yield catalog


def distrusted(catalog):
    return catalog.sql("SELECT visit, reason, round(value, 3) FROM diffim_distrust ORDER BY ALL").fetchall()


def test_healthy_images_are_trusted(catalog):
    """Nothing is found on five good images; each limit has a meaning and at least one side."""
    assert distrusted(catalog) == []
    limits = catalog.sql("SELECT * FROM distrust_limit").fetchall()
    assert len(limits) >= 12 and all(meaning and (low, high) != (None, None) for _, low, high, meaning in limits)


@pytest.mark.parametrize(
    ("change", "reason", "value"),
    [
        ("UPDATE diffim SET score_std = 1.08 WHERE visit = 2", "noise", 1.08),
        ("UPDATE diffim SET lag1_correlation = -0.3 WHERE visit = 2", "correlated noise", -0.3),
        ("UPDATE diffim SET kernel_sum = 0.95 WHERE visit = 2", "flux scale", 0.95),
        ("UPDATE diffim SET kernel_sum_scatter = 0.05 WHERE visit = 2", "flux scale varies", 0.05),
        ("UPDATE diffim SET control_chi2 = 4 WHERE visit = 2", "stars", 4.0),
        ("UPDATE diffim SET fraction_masked = 0.15 WHERE visit = 2", "masked", 0.1),
        ("UPDATE diffim SET template_coverage = 0.4, fraction_masked = 0.6 WHERE visit = 2", "little template", 0.4),
        ("UPDATE diffim SET depth_5sigma_mag = 23.7 WHERE visit = 2", "depth", -0.28),
        (
            "UPDATE diffim_sample SET score_std = 0.7 WHERE visit = 2 AND cell_x = 3 AND cell_y = 1",
            "noise in a cell",
            0.7,
        ),
        ("UPDATE diffim_sample SET score_mean = -0.6 WHERE visit = 2 AND cell_y = 0", "background in a cell", 0.6),
        ("UPDATE diffim_registration SET shift_x_pix = 0.3, shift_y_pix = 0.4 WHERE visit = 2", "registration", 0.5),
        ("UPDATE diffim_registration SET scatter_pix = 0.2 WHERE visit = 2", "scattered registration", 0.2),
        ("UPDATE diffim_registration SET chance_of_alignment = 1e-6 WHERE visit = 2", "aligned displacements", 0.0),
        ("UPDATE dia_source SET flag_dipole = true WHERE visit = 2 AND x < 180", "dipoles", 0.45),
    ],
)
def test_every_limit_is_kept_apart(catalog, change, reason, value):
    """One bad figure of one image is one row, with the reason and the figure."""
    catalog.execute(change)
    assert distrusted(catalog) == [(2, reason, value)]


def test_many_sources_are_many_against_the_others(catalog):
    """An image with four times the sources of the others is named; one with few sources is not."""
    for k in range(60):
        insert(catalog, "dia_source", dia_source_id=1000 + k, visit=2, band="r", is_primary=True)
    catalog.execute("DELETE FROM dia_source WHERE visit = 3 AND x > 40")
    assert distrusted(catalog) == [(2, "many sources", 4.0)]


def test_dipoles_that_point_one_way_are_named(catalog):
    """Ten dipoles of one direction are no chance; the direction is in the quality table, beside that of the zenith."""
    catalog.execute("UPDATE dia_source SET flag_dipole = true, dipole_angle_deg = -170 WHERE visit = 2 AND x < 200")
    assert [row[1] for row in distrusted(catalog)] == ["aligned dipoles", "dipoles"]
    # the zenith is in the east, and x runs to the west
    (row,) = catalog.sql(
        "SELECT dipole_angle_deg, zenith_deg, dipole_from_zenith_deg, shift_from_zenith_deg FROM diffim_quality "
        "WHERE visit = 2"
    ).fetchall()
    assert row == pytest.approx((-170.0, 180.0, 10.0, 30.0))
    cells = catalog.sql(
        "SELECT cell_x, n_primary, n_dipole, dipole_alignment, dipole_angle_deg FROM diffim_cell "
        "WHERE visit = 2 AND cell_y = 0 ORDER BY cell_x"
    ).fetchall()
    assert [row[:3] for row in cells] == [(0, 5, 5), (1, 5, 5), (2, 5, 0), (3, 5, 0)]
    assert cells[0][3:] == pytest.approx((1.0, -170.0)) and cells[3][3:] == (None, None)


def test_cells_and_registrations_belong_to_images(catalog):
    """The rules of consistency find cells without an image, and an image with too few of them."""
    from dbpipe.catalog.sql import queries

    rules = queries.load(queries.directory("sql") / "checks" / "difference.sql")
    names = ("sample_has_diffim", "registration_has_diffim")
    assert [catalog.sql(rules[name]).fetchall() for name in names] == [[], []]
    catalog.execute("DELETE FROM diffim_sample WHERE visit = 1 AND cell_x = 0")
    catalog.execute("DELETE FROM diffim WHERE visit = 4; DELETE FROM diffim_registration WHERE visit = 5")
    assert sorted(row[0] for row in catalog.sql(rules[names[0]]).fetchall()) == [1, 4]
    assert sorted(row[0] for row in catalog.sql(rules[names[1]]).fetchall()) == [4, 5]
