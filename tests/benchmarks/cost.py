"""What a survey costs: every stage, end to end, a night more, nothing to do, and the commands that only ask.

    python tests/benchmarks/cost.py --work w --size 1024 2048 --against ../dbpipe-0.2.0 --json cost.json

Of each size a survey is simulated once. One trial makes it anew with the code of this checkout, one with that of
``--against`` (another checkout), in turns, so that what the machine does beside it falls on both; medians are printed,
with the ratio to the other code. ``--cold`` begins every trial without compiled code. CPU seconds are those of the
whole process tree. There is no pass or fail: times belong to the machine that they were measured on.

    first     all visits but the last, from raw frames to DIASources and light curves
    night     the last one, added to that
    idle      a run with nothing to do
    status, sql, help   the commands of that name

A stage's own part is what it has written down of its units (`dbpipe status --timing`), over all of the trial.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import duckdb

from dbpipe.simulate import write_survey

HERE = Path(__file__).resolve().parents[2]
STAGES = "SELECT stage, sum(cpu_s), sum(n_pix) / 1e6, max(peak_rss_mib) FROM unit WHERE n_pix > 0 GROUP BY stage"


def measure(tree, arguments, *, cwd, cache):
    """Run dbpipe of a checkout; return CPU and wall seconds of its process tree, and the most memory of one of them."""
    environment = os.environ | {
        "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_CACHE_DIR": str(cache),
    }  # fmt: skip
    command, started = [sys.executable, "-m", "dbpipe", *arguments], time.monotonic()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, cwd=cwd, env=environment, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(child.pid, 0)  # of the process and of all that it has waited for
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            sys.exit(f"{' '.join(command)} of {tree} failed:\n{said.read().decode()}")
    wall_s = time.monotonic() - started
    return {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": wall_s, "peak_mib": used.ru_maxrss / 1024.0}


def trial(tree, sky, *, workers, cache):
    """Make the survey of a sky with one code; return what each part cost, name -> numbers."""
    with tempfile.TemporaryDirectory(prefix="cost-", dir=sky.parent) as folder:
        raw = Path(folder) / "raw"
        raw.mkdir()
        frames = sorted((sky / "raw").iterdir())
        for frame in frames[:-1]:
            os.link(frame, raw / frame.name)
        run = ["run", "s", "--ingest", "raw", "--settle", "0", "--workers", str(workers)]
        parts = {}

        def take(name, arguments):
            parts[name] = measure(tree, arguments, cwd=folder, cache=cache)

        take("first", [*run, "--instrument", "phosim-eimage", "--refcat", str(sky / "refcat.csv")])
        os.link(frames[-1], raw / frames[-1].name)
        take("night", run)
        take("idle", run)
        take("status", ["status", "s"])
        take("sql", ["sql", "s", "SELECT count(*) FROM dia_source"])
        take("help", ["--help"])
        files_byte = sum(p.stat().st_size for p in (Path(folder) / "s" / "files").rglob("*") if p.is_file())
        (database,) = (Path(folder) / "s").glob("*.duckdb")
        with duckdb.connect(str(database), read_only=True) as catalog:
            stages = catalog.execute(STAGES).fetchall()
    for stage, cpu_s, mpix, peak_mib in stages:
        parts[stage] = {"cpu_s": cpu_s, "mpix": mpix, "peak_mib": peak_mib}
    parts["files"] = {"mib": files_byte / 2**20}
    return parts


def main():
    """Measure, print medians, and write all trials as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for simulated skies and surveys")
    parser.add_argument("--size", type=int, nargs="+", default=[1024], metavar="PIX", help="sides of the frames")
    parser.add_argument("--n-visit", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="trials of each code")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another code, in turns with this one")
    parser.add_argument("--cold", action="store_true", help="compile anew in every trial")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    trees = {"this": HERE} | ({"other": options.against.resolve()} if options.against else {})
    records = []
    for size in options.size:
        sky = options.work.resolve() / f"sky-{size}"
        if not sky.is_dir():
            write_survey(sky, n_visit={"r": options.n_visit}, size_pix=size)
        caches = {name: options.work.resolve() / f"compiled-{name}" for name in trees}
        for number in range(options.repeat + (not options.cold)):
            for name, tree in trees.items():
                if options.cold:
                    shutil.rmtree(caches[name], ignore_errors=True)
                parts = trial(tree, sky, workers=options.workers, cache=caches[name])
                if number or options.cold:  # else the first one has only compiled
                    records += [{"size_pix": size, "code": name, "part": part, **cost} for part, cost in parts.items()]
        report(records, size)
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def report(records, size):
    """Print the medians of the frames of one size."""
    mine = [record for record in records if record["size_pix"] == size]
    print(f"{size} x {size} pixels: CPU s, CPU s per Mpix, MiB at most" + ", ratio to the other code")
    for part in dict.fromkeys(record["part"] for record in mine):
        chosen = [record for record in mine if record["part"] == part and record["code"] == "this"]
        if part == "files":
            print(f"  {'files':<12}{median(record['mib'] for record in chosen):9.1f} MiB")
            continue
        cpu_s, peak_mib = (median(record[name] for record in chosen) for name in ("cpu_s", "peak_mib"))
        mpix = chosen[0].get("mpix")
        other = [record["cpu_s"] for record in mine if record["part"] == part and record["code"] == "other"]
        ratio = f"{cpu_s / median(other):8.2f}" if other else ""
        per_mpix = f"{cpu_s / mpix:8.3f}" if mpix else " " * 8
        print(f"  {part:<12}{cpu_s:9.2f}{per_mpix}{peak_mib:8.0f}{ratio}", flush=True)


if __name__ == "__main__":
    main()
