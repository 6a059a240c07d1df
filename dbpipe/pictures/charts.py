"""Pictures: arrays in, a PNG out. matplotlib is imported only when one is drawn.

Colors are those of Okabe & Ito (2008), which the color-blind can tell apart; bands have marks of their own too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from dbpipe.disk.ledger import adopt, check_output, write_output
from dbpipe.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

SOFTENING = 3.0
"""Linear up to so many standard deviations."""

BAND_COLOR = {"u": "#56B4E9", "g": "#009E73", "r": "#D55E00", "i": "#CC79A7", "z": "#0072B2", "y": "#000000"}
BAND_MARK = {"u": "v", "g": "s", "r": "o", "i": "^", "z": "D", "y": "P"}
OTHER_COLOR, OTHER_MARK = "#E69F00", "h"
ACCENT, GRAY = "#0072B2", "#777777"
_DPI = 110
_METADATA = {".png": {"Software": None}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
"""Ending -> what is left out of the file, so that the same picture is the same bytes."""


def _new_figure(width_inch: float, height_inch: float, *, n_panel: int = 1) -> tuple[Any, np.ndarray]:
    """Return a figure without a window, and its axes side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inch, height_inch), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, n_panel, squeeze=False)[0]
    for ax in axes:
        ax.tick_params(labelsize=9)
    return figure, axes


def check_picture(path: Path, *, overwrite: bool = False) -> Path:
    """Return the path that a picture will have; ConfigError if none can be written there.

    Worth asking before the work that the picture shows. ``overwrite``: also in the place of a file that dbpipe did not
    make.
    """
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".png")
    if path.suffix.lower() not in _METADATA:
        raise ConfigError(f"cannot draw {path.name}: the name must end with {', '.join(_METADATA)}")
    if overwrite:
        adopt(path)
    check_output(path)
    return path


def save(figure: Any, path: Path) -> Path:
    """Write a figure to a file and return its path; see `dbpipe.disk.ledger.write_output`."""
    path = check_picture(path)
    write_output(path, lambda beside: figure.savefig(beside, metadata=_METADATA[path.suffix.lower()]))
    return path


def asinh_stretch(image: np.ndarray, noise: float) -> np.ndarray:
    """Scale an image so that noise is visible and bright stars are not burned out.

    Parameters
    ----------
    image : (ny, nx) array, zero on blank sky
    noise : float
        Standard deviation of blank sky, in the unit of the image.

    Returns
    -------
    (ny, nx) array, 0 on blank sky.
    """
    return np.arcsinh(np.asarray(image, float) / (SOFTENING * noise))


def draw_triplet(
    path: Path,
    images: Mapping[str, np.ndarray],
    *,
    noise: float,
    pixel_scale_arcsec: float,
    center: tuple[int, int] | None = None,
    title: str = "",
) -> Path:
    """Draw science, template and difference side by side on one scale.

    Parameters
    ----------
    path : path
    images : dict, name -> (ny, nx) array
        Zero on blank sky, all in one unit.
    noise : float
        Standard deviation of blank sky in that unit.
    pixel_scale_arcsec : float
    center : (x, y), optional
        Place to mark [pix].
    title : str

    Returns
    -------
    pathlib.Path
    """
    figure, axes = _new_figure(3.6 * len(images), 3.9, n_panel=len(images))
    for ax, (name, image) in zip(axes, images.items(), strict=True):
        ny, nx = np.shape(image)
        half = nx * pixel_scale_arcsec / 2.0, ny * pixel_scale_arcsec / 2.0
        ax.imshow(asinh_stretch(image, noise), origin="lower", cmap="gray_r", vmin=-0.6, vmax=4.0,
                  extent=(-half[0], half[0], -half[1], half[1]), interpolation="nearest")  # fmt: skip
        ax.set_title(name, fontsize=11)
        ax.set_xlabel("x offset [arcsec]")
        if center is not None:
            place = [(center[0] + 0.5) * pixel_scale_arcsec - half[0], (center[1] + 0.5) * pixel_scale_arcsec - half[1]]
            ax.plot(*place, "o", ms=22, mfc="none", mec=BAND_COLOR["r"], mew=1.6)
    axes[0].set_ylabel("y offset [arcsec]")
    figure.suptitle(title, fontsize=11)
    return save(figure, path)


def draw_completeness(
    path: Path,
    true_snr: ArrayLike,
    found: ArrayLike,
    *,
    snr_at_half: float | None = None,
    bin_edges: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 10, 15, 25, 50),
) -> Path:
    """Draw the fraction of true sources that were found against their true |S/N|, with binomial errors."""
    snr, is_found = np.abs(np.asarray(true_snr, float)), np.asarray(found, bool)
    figure, (ax,) = _new_figure(6.4, 4.2)
    for low, high in zip(bin_edges[:-1], bin_edges[1:], strict=True):
        inside = (snr >= low) & (snr < high)
        n = int(inside.sum())
        if n == 0:
            continue
        fraction = is_found[inside].mean()
        shrunk = (is_found[inside].sum() + 1.0) / (n + 2.0)  # Laplace's rule: an error bar also at 0 and 1
        error = np.sqrt(shrunk * (1.0 - shrunk) / n)
        middle = np.sqrt(low * high)
        ax.errorbar(middle, fraction, error, [[middle - low], [high - middle]], fmt="o", color=ACCENT, capsize=2)
        ax.annotate(str(n), (middle, 1.06), ha="center", fontsize=8, color=GRAY)
    ax.axvline(5.0, color=GRAY, ls=":", label="threshold 5")
    if snr_at_half is not None:
        ax.axvline(snr_at_half, color=BAND_COLOR["r"], label=f"half found at {snr_at_half:.2f}")
    ax.set(xscale="log", ylim=(-0.04, 1.14), xlabel="true S/N", ylabel="fraction found")
    ax.set_xticks([1, 2, 3, 5, 7, 10, 20, 50], ["1", "2", "3", "5", "7", "10", "20", "50"])
    ax.minorticks_off()
    ax.set_title("Completeness (numbers: true sources in the bin)", fontsize=11)
    ax.legend(loc="lower right", fontsize=9)
    return save(figure, path)


def draw_seeing(
    path: Path,
    mjd_tai: ArrayLike,
    fwhm_pix: ArrayLike,
    band: Sequence[str],
    in_template: ArrayLike,
    *,
    cut_pix: Mapping[str, int] | None = None,
) -> Path:
    """Draw the seeing of every visit, those in the template filled, with the cut of each band.

    Parameters
    ----------
    mjd_tai, fwhm_pix : (n,) arrays [d, pix]
    band : (n,) sequence of str
    in_template : (n,) bool array
    cut_pix : dict, optional
        Band -> largest FWHM that went in [pix].
    """
    figure, (ax,) = _new_figure(7.0, 4.2)
    mjd, fwhm, went_in = np.asarray(mjd_tai), np.asarray(fwhm_pix), np.asarray(in_template, bool)
    for name in sorted(set(band)):
        mine = np.array([b == name for b in band])
        color, mark = BAND_COLOR.get(name, OTHER_COLOR), BAND_MARK.get(name, OTHER_MARK)
        for chosen, face in ((True, color), (False, "none")):
            shown = mine & (went_in == chosen)
            label = f"{name}, {'in' if chosen else 'not in'} the template"
            ax.plot(mjd[shown], fwhm[shown], mark, color=color, mfc=face, ms=8, label=label)
        if cut_pix and name in cut_pix:
            ax.axhline(cut_pix[name], color=color, ls="--", lw=1.2)
    ax.set(xlabel="time [MJD TAI]", ylabel="PSF FWHM [native pixels]")
    ax.set_title("Seeing and the template cut (dashed)", fontsize=11)
    ax.legend(fontsize=8)
    return save(figure, path)


def draw_template_curve(path: Path, decisions: Sequence[Any], depths: Sequence[dict[str, Any]]) -> Path:
    """Draw the cuts that were weighed for each template, the one taken, and how the prediction was met.

    Parameters
    ----------
    decisions : list of `dbpipe.template.decision.Decision`
    depths : list of dict, rows of the view template_depth

    Returns
    -------
    pathlib.Path
    """
    measured = [row for row in depths if row["difference_mag"] is not None]
    n_panel = len(decisions) + (1 if measured else 0)
    figure, axes = _new_figure(5.2 * n_panel, 4.4, n_panel=n_panel)
    for ax, decision in zip(axes, decisions, strict=False):
        reached = [row["measured_depth_mag"] for row in measured if (row["tract"], row["band"]) == decision.place]
        _draw_cuts(ax, decision, reached)
    if measured:
        _draw_differences(axes[-1], measured)
    return save(figure, path)


def _draw_cuts(ax: Any, decision: Any, reached: Sequence[float]) -> None:
    """Predicted depth against the seeing cut: alone as a line, with one cut more as marks."""
    marks = {"depth": "^", "ellipticity": "s", "background": "v", "transparency": "D"}
    colors = dict(zip(marks, (BAND_COLOR[name] for name in "rigu"), strict=True))
    for name in marks:
        rows = [row for row in decision.curve if row["quantity"] == name]
        places = [[row[c] for row in rows] for c in ("max_psf_fwhm_pix", "predicted_depth_mag")]
        if not rows:
            continue
        ax.plot(*places, marks[name], mfc="none", ms=4, alpha=0.7, color=colors[name], label=f"and a cut in {name}")
    alone = [row for row in decision.curve if row["quantity"] is None]
    ax.plot([row["max_psf_fwhm_pix"] for row in alone], [row["predicted_depth_mag"] for row in alone], "o-",
            color=ACCENT, label="seeing alone")  # fmt: skip
    for row in alone:
        place = row["max_psf_fwhm_pix"], row["predicted_depth_mag"]
        ax.annotate(str(row["n_input"]), place, xytext=(0, 7), textcoords="offset points", fontsize=8, ha="center")
    for row in decision.curve:
        if row["is_chosen"]:
            ax.axvline(row["max_psf_fwhm_pix"], color=GRAY, ls=":")
            ax.plot(row["max_psf_fwhm_pix"], row["predicted_depth_mag"], "*", ms=17, color=OTHER_COLOR, label="taken")
    if reached:
        ax.axhline(np.median(reached), color=BAND_COLOR["y"], ls="--", lw=1.2, label="median reached")
    ax.set(xlabel="largest FWHM that goes in [native pixels]", ylabel="5 sigma depth of the median difference [mag]")
    ax.set_title(f"{decision.band}, tract {decision.tract} (numbers: exposures that go in)", fontsize=10)
    ax.margins(y=0.1)
    ax.legend(fontsize=8, loc="best")


def _draw_differences(ax: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Measured minus predicted depth of each difference image; filled where it is in its template."""
    ax.axhline(0.0, color=GRAY, lw=0.8)
    for limit in (-0.1, 0.1):
        ax.axhline(limit, color=GRAY, ls=":")
    for name in sorted({row["band"] for row in rows}):
        color, mark = BAND_COLOR.get(name, OTHER_COLOR), BAND_MARK.get(name, OTHER_MARK)
        for is_input, face in ((True, color), (False, "none")):
            mine = [row for row in rows if row["band"] == name and row["is_input"] == is_input]
            if not mine:
                continue
            places = [[row[c] for row in mine] for c in ("predicted_depth_mag", "difference_mag")]
            label = f"{name}, {'in' if is_input else 'not in'} the template"
            ax.plot(*places, mark, color=color, mfc=face, ms=7, label=label)
    ax.set(xlabel="predicted depth [mag]", ylabel="measured minus predicted depth [mag]")
    ax.set_title("Each difference image (dotted: distrusted beyond)", fontsize=10)
    ax.legend(fontsize=8)


def draw_light_curve(
    path: Path,
    mjd_tai: ArrayLike,
    flux_njy: ArrayLike,
    flux_err_njy: ArrayLike,
    band: Sequence[str],
    *,
    title: str = "",
    truth: tuple[list[int], list[int], list[str]] | None = None,
) -> Path:
    """Draw difference fluxes against time.

    Parameters
    ----------
    mjd_tai, flux_njy, flux_err_njy : (n,) arrays [d, nJy, nJy]
    band : (n,) sequence of str
    title : str
    truth : (mjd_tai, flux_njy, band), optional
        True difference fluxes, drawn as bars.
    """
    figure, (ax,) = _new_figure(7.0, 4.2)
    mjd, flux, flux_err = (np.asarray(values, float) for values in (mjd_tai, flux_njy, flux_err_njy))
    ax.axhline(0.0, color=GRAY, lw=0.8)
    for name in sorted(set(band)):
        mine = np.array([b == name for b in band])
        color, mark = BAND_COLOR.get(name, OTHER_COLOR), BAND_MARK.get(name, OTHER_MARK)
        ax.errorbar(mjd[mine], flux[mine], flux_err[mine], fmt=mark, color=color, capsize=2, label=name)
        if truth is not None:
            true_here = np.array([b == name for b in truth[2]], bool)
            ax.plot(
                np.asarray(truth[0])[true_here], np.asarray(truth[1])[true_here], "_", ms=16, color=color, alpha=0.6
            )
    ax.set(xlabel="time [MJD TAI]", ylabel="flux minus template [nJy]")
    ax.set_title(title + ("" if truth is None else " (bars: truth)"), fontsize=11)
    ax.legend(fontsize=9, title="band")
    return save(figure, path)


def draw_injection(
    path: Path,
    sources: "pd.DataFrame",
    *,
    snr_edges: tuple[float, ...] = (2, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 8, 10, 13, 20),
    mag_step: float = 0.25,
) -> Path:
    """Draw completeness against S/N and magnitude, pulls and flux ratios of injected sources, band by band.

    Parameters
    ----------
    sources : DataFrame
        band, true_snr, true_mag, true_flux_njy, is_recovered, psf_flux_njy, psf_flux_err_njy
    """
    figure, axes = _new_figure(15.0, 4.0, n_panel=4)
    magnitude = sources.true_mag
    mag_edges = np.arange(np.floor(magnitude.min()), np.ceil(magnitude.max()) + mag_step, mag_step)
    for name, mine in sources.groupby("band"):
        style = {"color": BAND_COLOR.get(name, OTHER_COLOR), "label": f"{name} ({len(mine)})", "ms": 4, "capsize": 2}
        style["fmt"] = BAND_MARK.get(name, OTHER_MARK)
        _draw_fraction(axes[0], mine.true_snr, mine.is_recovered, snr_edges, style)
        _draw_fraction(axes[1], mine.true_mag, mine.is_recovered, mag_edges, style)
        measured = mine[mine.is_recovered & (mine.true_snr > 7.0)]
        pull = (measured.psf_flux_njy - measured.true_flux_njy) / measured.psf_flux_err_njy
        axes[2].hist(pull, np.arange(-5, 5.1, 0.5), density=True, histtype="step", color=style["color"], lw=1.5)
        _draw_ratio(axes[3], measured.true_snr, measured.psf_flux_njy / measured.true_flux_njy, style)
    u = np.linspace(-5, 5, 101)
    axes[2].plot(u, np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi), color=GRAY, ls="--", label="normal")
    axes[0].axvline(5.0, color=GRAY, ls=":")
    axes[3].axhline(1.0, color=GRAY, lw=0.8)
    snr = np.linspace(7, 20, 60)
    axes[3].plot(snr, 1.0 + 1.0 / snr**2, color=GRAY, ls="--", label="expected: the place is fitted")
    axes[0].set(xlabel="true S/N", ylabel="fraction recovered", ylim=(-0.04, 1.08))
    axes[1].set(xlabel="true AB magnitude", ylim=(-0.04, 1.08))
    axes[2].set(xlabel="(measured - true) / error, S/N > 7", ylabel="density")
    axes[3].set(xlabel="true S/N", ylabel="measured / true flux, median")
    for ax in (axes[0], axes[2], axes[3]):
        ax.legend(fontsize=9)
    figure.suptitle("Injected sources", fontsize=11)
    return save(figure, path)


def _draw_fraction(ax: Any, value: "pd.Series", found: "pd.Series", edges: ArrayLike, style: Any) -> None:
    """Draw the fraction found in bins, with binomial errors."""
    n, _ = np.histogram(value, edges)
    n_found, _ = np.histogram(value[found], edges)
    seen = n > 0
    shrunk = (n_found + 1.0) / (n + 2.0)  # Laplace's rule: an error bar also at 0 and 1
    error = np.sqrt(shrunk * (1.0 - shrunk) / np.maximum(n, 1))
    middle = 0.5 * (np.array(edges)[1:] + np.array(edges)[:-1])
    ax.errorbar(middle[seen], (n_found / np.maximum(n, 1))[seen], error[seen], **style)


def _draw_ratio(
    ax: Any, snr: float, ratio: "pd.Series", style: Any, *, edges: Sequence[float] = (7, 8, 10, 12, 14, 16, 20)
) -> None:
    """Draw the median of flux ratios in bins, with its error."""
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        mine = ratio[(snr >= low) & (snr < high)]
        if len(mine) > 2:
            error = 1.2533 * mine.std() / np.sqrt(len(mine))  # of the median of a normal distribution
            ax.errorbar(0.5 * (low + high), mine.median(), error, **style | {"label": None})
