"""What every stage makes of one small fixed sky, in numbers that do not hang on the platform.

python stage_results.py        (from tests/helpers/) records the numbers of today beside the versions of the stages
"""

import json
import sys
import tempfile
from pathlib import Path

from small_survey import DENSITY, process

from dbpipe.runner.order import BY_NAME
from dbpipe.simulate import write_survey
from dbpipe.survey import Survey

RECORD = Path(__file__).with_name("stage_results.json")
ANSWERS = {
    "ingest": "count(*) AS n, avg(sky_e) AS sky, avg(pixel_scale_arcsec) AS scale, sum(n_bad_pix) AS n_bad FROM raw",
    "calibrate": "count(*) AS n, avg(psf_fwhm_pix) AS fwhm, avg(zero_point_mag) AS zero_point, avg(sky_e) AS sky, "
    "avg(n_saturated_pix) AS n_saturated, avg(n_source) AS n_source, avg(aperture_correction) AS aperture FROM calexp",
    "skymap": "count(*) AS n FROM patch_overlap",
    "template": "sum(n_input) AS n_input, avg(target_fwhm_pix) AS fwhm FROM current_template",
    "warp": "count(*) AS n, avg(noise_gain) AS noise_gain, avg(fraction_valid) AS valid FROM warp",
    "coadd": "count(*) AS n, avg(noise_njy) AS noise, avg(mean_n_input) AS n_input FROM coadd",
    "difference": "count(*) AS n, avg(kernel_sum) AS kernel_sum, avg(depth_5sigma_mag) AS depth, "
    "avg(diff_noise_e) AS noise, avg(score_std) AS score_std FROM diffim",
    "detect": "count(*) AS n, sum(abs(psf_flux_njy)) AS flux, sum(abs(score)) AS score FROM dia_source "
    "WHERE abs(score) > 8",
    "associate": "count(*) AS n_object, sum(n_dia_source) AS n_source FROM dia_object WHERE n_dia_source > 1",
    "forced": "median(psf_flux_err_njy) AS err, median(science_flux_njy) AS science, count(*) AS n "
    "FROM dia_forced_source SEMI JOIN (FROM dia_object WHERE n_dia_source > 1) USING (dia_object_id)",
}
"""Stage -> a SELECT of one row of numbers, in the order of the stages."""


def versions():
    """Return stage -> version."""
    return {name: stage.version for name, stage in BY_NAME.items() if name in ANSWERS}


def measure(folder):
    """Simulate the sky, run everything on it, and return stage -> name -> number."""
    write_survey(folder / "sky", seed=3, n_visit={"r": 4}, size_pix=320, density=DENSITY)
    process(folder / "sky", folder / "survey", n_worker=1)
    with Survey.open(folder / "survey") as survey:
        return {stage: survey.fetch(f"SELECT {query}").to_pylist()[0] for stage, query in ANSWERS.items()}


def main():
    """Write the record."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = measure(Path(folder))
    record = {stage: {"version": versions()[stage], "numbers": numbers[stage]} for stage in ANSWERS}
    RECORD.write_text(json.dumps(record, indent=2, default=float) + "\n", encoding="utf-8")
    print(RECORD.read_text(), file=sys.stderr)


if __name__ == "__main__":
    main()
