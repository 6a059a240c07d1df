"""What dbpipe finds where there is nothing: simulated blank sky through the whole pipeline.

    PYTHONPATH=.:tests/helpers python tests/benchmarks/noise_only.py --work /tmp/noise --size 2048

Exposures of different seeing, sky, dither, rotation and parity, with dead lines and a sparse grid of stars to
calibrate on; what is further than 45 pixels from any star counts. They are calibrated once and subtracted with several
templates, of one input and of more, sharper than the exposure and wider, with leave-one-out where it is itself in the
template. One row for each template and exposure, and the sums.

Columns: ratio, FWHM of the template over that of the exposure; direction of the convolution (t, template; s, science
image); number of inputs, and + if one more was taken out, the exposure itself; area; score_std and mean of the score;
correlation of adjacent pixels; skewness and excess kurtosis of the score; pulls of forced fluxes; then for 4, 4.5 and 5
sigma, both signs together and per square degree: expected by Kaiser's formula, in a continuous score image (what rows
are), and in a sampled one (what its pixels show); found: rows with their Poisson error, and pixels.
"""

import argparse
import contextlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
from noise_survey import THRESHOLDS, calibrate, measure_noise, simulate_noise, subtract_template_of

from dbpipe.simulate.camera.visits import PIXEL_SCALE_ARCSEC
from dbpipe.survey import Survey

FWHM_PIX = (3.2, 3.6, 4.0, 4.4, 4.9, 5.5)
TEMPLATES = ((0,), (5,), (2,), (0, 1), (1, 2, 3, 4), (0, 1, 2, 3, 4), (1,), (3,), (4,))
"""Numbers of the exposures, the sharpest first, that make each template."""
DEG2_PER_PIX = (PIXEL_SCALE_ARCSEC / 3600.0) ** 2


def main():
    options = _arguments()
    rows = []
    for seed in options.seed:
        for row in _one_survey(options.work / f"seed{seed}", seed, options):
            rows.append(row)
            pd.DataFrame(rows).to_parquet(options.work / "noise_only.parquet")
    show(pd.DataFrame(rows))


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the surveys and the table")
    parser.add_argument("--size", type=int, default=2048, help="side of an exposure [pix]")
    parser.add_argument("--seed", type=int, nargs="+", default=[1])
    parser.add_argument(
        "--seeing", type=float, default=1.0, help="factor on FWHM_PIX: noise has more peaks where it is sharp"
    )
    parser.add_argument("--template", type=int, nargs="+", default=range(len(TEMPLATES)), help="which of TEMPLATES")
    return parser.parse_args()


def _one_survey(folder, seed, options):
    """Yield one row for each difference image."""
    root, places = folder / "survey", folder / "stars.json"
    if not root.is_dir():
        order = np.random.default_rng(seed).permutation(FWHM_PIX)
        stars = simulate_noise(folder / "sky", options.seeing * order, seed=seed, size_pix=options.size)
        places.write_text(json.dumps({str(v): np.stack(xy).tolist() for v, xy in stars.items()}))
        calibrate(root, folder / "sky")
    stars = {int(v): np.array(xy) for v, xy in json.loads(places.read_text()).items()}
    with Survey.open(root) as survey:
        sharpest_first = survey.sql("SELECT visit FROM calexp ORDER BY psf_fwhm_pix").df().visit.tolist()
    for number in options.template:
        chosen = [sharpest_first[k] for k in TEMPLATES[number]]
        subtract_template_of(root, chosen)
        for row in measure_survey(root, stars):
            yield {"seed": seed, "template": number} | row
        print(f"seed {seed}, template {number} of {len(TEMPLATES)} done", flush=True)


def measure_survey(root, stars):
    """Return what `measure_noise` finds in each difference image, with its row of the catalog."""
    with Survey.open(root) as survey:
        images = survey.sql("SELECT * FROM diffim JOIN calexp USING (visit, detector) ORDER BY visit").df()
        paths = survey.sql("SELECT visit, path FROM diffim ORDER BY visit").df().path
        sources = survey.sql("SELECT visit, x, y, score FROM dia_source").df()
    rows = []
    for path, image in zip(paths, images.to_dict("records"), strict=True):
        own = sources[sources.visit == image["visit"]]
        with contextlib.chdir(root):
            found = measure_noise(path, own, *stars[image["visit"]], rng=np.random.default_rng(1))
        kept = ("visit", "convolved", "n_template_input", "leave_one_out", "template_fwhm_pix", "science_fwhm_pix",
                "psf_match_residual", "kernel_order", "template_noise_e", "science_noise_e")  # fmt: skip
        stored = {name: image[name] for name in kept} | {"stored_std": image["score_std"]}
        rows.append(stored | {"ratio": image["template_fwhm_pix"] / image["science_fwhm_pix"]} | found)
    return rows


def show(table):
    """Print one line for each difference image, and the sums for each direction."""
    rates = "".join(f" | {nu}: Kaiser cont. sampled rows pixels" for nu in THRESHOLDS)
    print(f"ratio d n    deg2    std   mean    lag1   skew   kurt   pull   std{rates}")
    for row in table.sort_values("ratio").to_dict("records"):
        loo = "+" if row["leave_one_out"] else ""
        print(f"{row['ratio']:5.2f} {row['convolved'][0]} {row['n_template_input']:2d}{loo:1} "
              f"{row['n_pix'] * DEG2_PER_PIX:6.4f} {row['score_std']:6.4f} {row['score_mean']:+6.3f} "
              f"{row['lag1']:+7.4f} {row['skewness']:+6.3f} {row['kurtosis']:+6.3f} "
              f"{row['pull_mean']:+6.3f} {row['pull_std']:5.3f}"
              + _rates(pd.DataFrame([row])))  # fmt: skip
    for name, part in [("all", table), *table.groupby("convolved")]:
        std = np.average(part.score_std, weights=part.n_pix)
        print(f"{name}: {len(part)} images, {part.n_pix.sum() * DEG2_PER_PIX:.3f} deg2, "
              f"std {std:.4f} ({part.score_std.min():.4f} .. {part.score_std.max():.4f}), "
              f"lag1 {part.lag1.min():+.4f} .. {part.lag1.max():+.4f}, median {part.lag1.median():+.4f}")  # fmt: skip
        for nu in THRESHOLDS:
            sums = {c: part[f"{c}_{nu}"].sum() for c in ("kaiser", "continuous", "sampled")}
            plus, minus = (part[f"row{s}_{nu}"].sum() for s in "+-")
            pixels = part[f"peak+_{nu}"].sum() + part[f"peak-_{nu}"].sum()
            over = ", ".join(f"{(plus + minus) / sums[c]:.3f} of {c} ({sums[c]:.0f})" for c in ("kaiser", "continuous"))
            print(f"  {nu}: {plus} + {minus} rows, {over}; +- {1 / np.sqrt(max(plus + minus, 1)):.3f}; "
                  f"{pixels} pixels, {pixels / sums['sampled']:.3f} of sampled")  # fmt: skip
        print(f"  {_repeated(part)} of the highest are found with another template too")


def _repeated(table):
    """Return how many rows of the highest threshold lie where another difference of the same exposure has one."""
    repeated = 0
    for _, part in table.groupby(["seed", "visit"]):
        image = np.repeat(np.arange(len(part)), part.row_x.map(len))
        x, y = (np.concatenate(part[c].map(np.asarray).to_list()) for c in ("row_x", "row_y"))
        near = np.hypot(x[:, None] - x, y[:, None] - y) < 2.0
        repeated += int(np.sum((near & (image[:, None] > image)).any(axis=1)))
    return repeated


def _rates(part):
    area = part.n_pix.sum() * DEG2_PER_PIX
    text = ""
    for nu in THRESHOLDS:
        n = [part[f"{c}_{nu}"].sum() / area for c in ("kaiser", "continuous", "sampled")]
        peaks, rows = (part[f"{c}+_{nu}"].sum() + part[f"{c}-_{nu}"].sum() for c in ("peak", "row"))
        found = f"{rows / area:6.0f}+-{np.sqrt(rows) / area:<4.0f} {peaks / area:6.0f}"
        text += f" | {n[0]:6.0f} {n[1]:6.0f} {n[2]:6.0f} {found}"
    return text


if __name__ == "__main__":
    main()
