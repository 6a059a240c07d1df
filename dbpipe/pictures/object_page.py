"""A page for one object: its light curve band by band, difference and total flux, and cutouts of a few epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from dbpipe.ask import light_curves
from dbpipe.ask.light_curves import Cutout, Found
from dbpipe.pictures.charts import BAND_COLOR, BAND_MARK, GRAY, OTHER_COLOR, OTHER_MARK, asinh_stretch, save

_DPI = 130
_PAGE_INCH = (8.27, 11.69)
"""A4, upright."""
_NO_DATA_COLOR = "#E8D9B5"
_MICRO_NJY = 1e4
"""Fluxes beyond this are shown in uJy."""
LIMIT_SIGMA = 5.0
"""What an upper limit is."""


def draw_object(connection: duckdb.DuckDBPyConnection, path: Path, name: int | str, *, n_cutout: int) -> Path:
    """Draw the page of an object that is looked up by name; the current folder is the survey. Returns the path."""
    found = light_curves.find_object(connection, name)
    epochs = light_curves.fetch_light_curve(connection, found.dia_object_id).to_pylist()
    cutouts = light_curves.read_cutouts(connection, light_curves.choose_epochs(epochs, n_cutout))
    return draw_page(path, found, epochs, cutouts)


def draw_page(path: Path, found: Found, epochs: Sequence[dict[str, Any]], cutouts: Sequence[Cutout]) -> Path:
    """Draw the light curve of an object with its cutouts and return the path of the PNG.

    Parameters
    ----------
    path : path
    found : `dbpipe.ask.light_curves.Found`
    epochs : list of dict, rows of the view light_curve in time
    cutouts : list of `dbpipe.ask.light_curves.Cutout`
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bands = sorted({row["band"] for row in epochs}, key=lambda band: ("ugrizy".find(band), band))
    n_row = max(len(bands), 1)
    curve_inch = 1.2 + min(2.1 * n_row, 6.0)
    cutout_inch = 1.5 * len(cutouts) + 0.3 if cutouts else 0.0
    figure = Figure(figsize=(_PAGE_INCH[0], max(curve_inch + cutout_inch, 5.0)), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_heading(found), fontsize=10)
    upper, *lower = figure.subfigures(
        2 if cutouts else 1, 1, height_ratios=[curve_inch, cutout_inch][: 1 + bool(cutouts)], squeeze=False
    )[:, 0]
    _draw_curves(upper, epochs, bands, [cutout.epoch for cutout in cutouts])
    for part in lower:
        _draw_cutouts(part, cutouts)
    return save(figure, path)


def _heading(found: Found) -> str:
    row = found.row
    nights = f"{row['n_dia_source']} detections in {row['n_night']} night" + "s" * (row["n_night"] != 1)
    return f"DIAObject {found.dia_object_id}     RA {row['ra']:.6f}  Dec {row['dec']:+.6f} deg (ICRS)     {nights}"


def _draw_curves(
    figure: Any, epochs: Sequence[dict[str, Any]], bands: Sequence[str], shown: Sequence[dict[str, Any]]
) -> None:
    n_row = max(len(bands), 1)
    axes = figure.subplots(n_row, 2, squeeze=False, sharex=True)
    largest = max((abs(row[c] or 0.0) for row in epochs for c in ("psf_flux_njy", "total_flux_njy")), default=0.0)
    unit, scale = ("uJy", 1e-3) if largest > _MICRO_NJY else ("nJy", 1.0)
    unit = unit.replace("u", "\N{MICRO SIGN}")
    for (left, right), band in zip(axes, bands, strict=False):
        mine = [row for row in epochs if row["band"] == band and row["psf_flux_njy"] is not None]
        _draw_fluxes(left, mine, band, "psf_flux", scale)
        _draw_limits(left, mine, band, scale)
        _draw_fluxes(right, mine, band, "total_flux", scale)
        for ax in (left, right):
            _mark_epochs(ax, mine, shown)
            ax.tick_params(labelsize=8)
            ax.ticklabel_format(axis="x", useOffset=False)
            ax.margins(x=0.04, y=0.12)
        left.set_ylabel(f"{band}   flux [{unit}]", fontsize=9)
    axes[0, 0].set_title("difference flux: science minus template", fontsize=9)
    axes[0, 1].set_title("total flux: difference plus template", fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("time [MJD TAI, d]", fontsize=9)
    _add_legend(figure)


def _draw_fluxes(ax: Any, rows: Sequence[dict[str, Any]], band: str, quantity: str, scale: float) -> None:
    """Filled where it was detected, open where not, gray where a flag speaks against it."""
    mark, color = BAND_MARK.get(band, OTHER_MARK), BAND_COLOR.get(band, OTHER_COLOR)
    ax.axhline(0.0, color=GRAY, lw=0.7)
    for row in rows:
        edge = color if row["is_clean"] else GRAY
        face = edge if row["detected"] else "white"
        values = (row[name] * scale for name in (f"{quantity}_njy", f"{quantity}_err_njy"))
        ax.errorbar(row["midpoint_mjd_tai"], *values, fmt=mark, ms=4.5, color=edge, mfc=face, lw=1.0, capsize=1.5)


def _draw_limits(ax: Any, rows: Sequence[dict[str, Any]], band: str, scale: float) -> None:
    color = BAND_COLOR.get(band, OTHER_COLOR)
    missed = [row for row in rows if row["is_clean"] and not row["detected"]]
    limit = [LIMIT_SIGMA * row["psf_flux_err_njy"] * scale for row in missed]
    ax.plot([row["midpoint_mjd_tai"] for row in missed], limit, "v", ms=4, mfc="none", mec=color, alpha=0.6)


def _mark_epochs(ax: Any, rows: Sequence[dict[str, Any]], shown: Sequence[dict[str, Any]]) -> None:
    """Ticks below for epochs in the template, above for those with a cutout."""
    below = ax.get_xaxis_transform()
    inside = [row["midpoint_mjd_tai"] for row in rows if row["in_template"]]
    ax.plot(inside, [0.02] * len(inside), "|", ms=6, color="black", transform=below)
    visits = {(row["visit"], row["detector"]) for row in shown}
    pictured = [row["midpoint_mjd_tai"] for row in rows if (row["visit"], row["detector"]) in visits]
    ax.plot(pictured, [0.97] * len(pictured), "s", ms=3.5, mfc="none", mec="black", transform=below)


def _add_legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"ls": "", "color": "black", "ms": 5}
    marks = [
        Line2D([], [], marker="o", label="detected", **style),
        Line2D([], [], marker="o", mfc="white", label="not detected", **style),
        Line2D([], [], marker="o", ls="", color=GRAY, ms=5, label="flagged"),
        Line2D([], [], marker="v", mfc="none", label=f"{LIMIT_SIGMA:g} sigma limit", **style),
        Line2D([], [], marker="|", label="in the template", **style),
        Line2D([], [], marker="s", mfc="none", label="cutout below", **style),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=6, fontsize=8, frameon=False, handletextpad=0.2)


def _draw_cutouts(figure: Any, cutouts: Sequence[Cutout]) -> None:
    """One row for each epoch, on one scale for science and template."""
    axes = figure.subplots(len(cutouts), 3, squeeze=False)
    for row, (panels, cutout) in enumerate(zip(axes, cutouts, strict=True)):
        both = [asinh_stretch(cutout.images[name], cutout.noise[name]) for name in ("science", "template")]
        high = max(1.5, float(np.nanpercentile(both, 99.7)))
        change = asinh_stretch(cutout.images["difference"], cutout.noise["difference"])
        reach = max(1.5, float(np.nanmax(np.abs(change))))
        for ax, image, limits in zip(
            panels, (*both, change), ((-0.6, high), (-0.6, high), (-reach, reach)), strict=True
        ):
            half = cutout.side_arcsec / 2
            ax.imshow(image, origin="lower", cmap="gray_r", vmin=limits[0], vmax=limits[1], interpolation="nearest",
                      extent=(half, -half, -half, half))  # fmt: skip
            ax.set_facecolor(_NO_DATA_COLOR)
            _mark_place(ax, half)
            ax.set_xticks([])
            ax.set_yticks([])
        panels[0].set_ylabel(_epoch_text(cutout.epoch), fontsize=8, rotation=0, ha="right", va="center")
        if row == 0:
            _draw_scale(panels[0], half)
            for ax, name in zip(panels, ("science", "template", "difference"), strict=True):
                ax.set_title(name, fontsize=9)


def _mark_place(ax: Any, half: float) -> None:
    """Two strokes beside the place, which leave it free."""
    for along, across in (((1.2, 2.4), (0, 0)), ((0, 0), (1.2, 2.4))):
        ax.plot(along, across, color=BAND_COLOR["r"], lw=1.2)
    ax.set(xlim=(half, -half), ylim=(-half, half))


def _draw_scale(ax: Any, half: float) -> None:
    """A bar of 2 arcsec, and where north and east are."""
    style: dict[str, Any] = {
        "color": BAND_COLOR["z"],
        "fontsize": 7,
        "bbox": {"fc": "white", "alpha": 0.7, "lw": 0, "pad": 0.4},
    }
    ax.plot([0.92 * half, 0.92 * half - 2.0], [-0.88 * half] * 2, color=BAND_COLOR["z"], lw=2)
    ax.text(0.92 * half - 1.0, -0.83 * half, '2"', ha="center", va="bottom", **style)
    corner, length = (-0.62 * half, -0.88 * half), 0.28 * half
    for step, name in (((0.0, length), "N"), ((length, 0.0), "E")):
        ax.annotate("", (corner[0] + step[0], corner[1] + step[1]), corner,
                    arrowprops={"arrowstyle": "->", "color": BAND_COLOR["z"], "lw": 1})  # fmt: skip
        ax.text(corner[0] + 1.35 * step[0], corner[1] + 1.35 * step[1], name, ha="center", va="center", **style)


def _epoch_text(row: Mapping[str, Any]) -> str:
    return (
        f"{row['band']}   MJD {row['midpoint_mjd_tai']:.4f}\nvisit {row['visit']}, detector {row['detector']}\n"
        f"{row['psf_flux_njy']:+.0f} \N{PLUS-MINUS SIGN} {row['psf_flux_err_njy']:.0f} nJy\n"
        f"{'detected' if row['detected'] else 'not detected'}"
    )
