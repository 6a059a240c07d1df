"""What questions cost, and what a new visit costs, in catalogs of 1, 10 and 100 million DIASources.

    PYTHONPATH=.:tests/helpers python tests/benchmarks/catalog.py --work /tmp/catalogs --n-source 1e6 1e7 1e8

Makes the catalogs that are not there (`dbpipe simulate --catalog`; 100 million take 13 GB) and asks each question in
a process of its own, of several objects or nights, twice in a row. Printed and written are wall clock and CPU time of
the first answer of the process, the median at the other places, the median of asking again (warm), and the peak memory.

A new visit is 10,000 sources, inserted and committed as the runner does it for `detect`, then `associate`: the first
and the median of the others of the next night, put into a copy (`--in-place`: into the catalog itself).

The first answer is that of a process that has just opened the survey, not of a cold disk.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import statistics
import time
from pathlib import Path

import pandas as pd

from dbpipe.association.flow import associate
from dbpipe.catalog.work import units
from dbpipe.catalog.work.offer import Options
from dbpipe.runner.report import Report
from dbpipe.simulate import detections
from dbpipe.survey import Survey, synthetic

N_REPEAT = 7
GOAL_MS = {"cone 1'": 100, "light curve": 50, "night S/N > 10": 150}
"""At 100 million, warm."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the catalogs and the results")
    parser.add_argument("--n-source", type=float, nargs="+", default=[1e6, 1e7])
    parser.add_argument("--n-visit", type=int, default=8, help="new visits")
    parser.add_argument("--in-place", action="store_true", help="put the new visits into the catalog, not a copy")
    parser.add_argument("--published", action="store_true", help="ask the published snapshot, not the catalog")
    options = parser.parse_args()
    rows = []
    for n_source in options.n_source:
        root = options.work / f"catalog_{n_source:.0e}"
        if not root.is_dir():
            rows.append(alone(make, root, n_source))
        places = alone(find_places, root)["places"]
        rows += [alone(ask, root, name, places, options.published) | {"n_source": n_source} for name in QUESTIONS]
        if options.n_visit:
            rows += add_night(root, n_source, options)
        (options.work / "catalog.json").write_text(json.dumps(rows, indent=1))
    show(pd.DataFrame(rows))


def alone(function, *arguments):
    """Call a function in a fresh process, and add the peak memory of it."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return pool.apply(_measured, (function, arguments))


def _measured(function, arguments):
    row = function(*arguments)
    return row | {"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def make(root, n_source):
    started = time.perf_counter(), time.process_time()
    synthetic.make_survey(root, n_source=n_source)
    size = (root / "survey.duckdb").stat().st_size
    wall_s, cpu_s = time.perf_counter() - started[0], time.process_time() - started[1]
    return {"what": "make", "n_source": n_source, "wall_ms": 1e3 * wall_s, "cpu_ms": 1e3 * cpu_s, "size_gb": size / 1e9}


def cone(survey, place):
    return survey.fetch("FROM cone_search($ra, $dec, 60)", ra=place["ra"], dec=place["dec"])


def cone_objects(survey, place):
    return survey.fetch("FROM cone_search_object($ra, $dec, 60)", ra=place["ra"], dec=place["dec"])


def light_curve(survey, place):
    return survey.find_detections(place["dia_object_id"])


def light_curve_by_join(survey, place):
    query = "SELECT s.* FROM dia_association AS a JOIN dia_source AS s USING (dia_source_id) WHERE a.dia_object_id = $o"
    return survey.fetch(query, o=place["dia_object_id"])


def night(survey, place):
    query = "SELECT s.* FROM dia_source AS s SEMI JOIN (FROM visit WHERE night = $n) USING (visit) WHERE snr > 10"
    return survey.fetch(query, n=place["night"])


def objects(survey, place):
    return survey.fetch("SELECT count(*), avg(n_night) FROM dia_object WHERE n_dia_source >= 5")


QUESTIONS = {
    "cone 1'": cone,
    "cone 1' of objects": cone_objects,
    "light curve": light_curve,
    "light curve by SQL join": light_curve_by_join,
    "night S/N > 10": night,
    "objects of 5 and more": objects,
}


def ask(root, name, places, published):
    """Ask one question again and again, each time of another object or night."""
    with Survey.open(root, published=published) as survey:
        times, again = [], []
        for place in places:
            for asked in (times, again):
                started = _clock()
                rows = QUESTIONS[name](survey, place)
                asked.append(tuple(1e3 * (now - then) for now, then in zip(_clock(), started, strict=True)))
    wall, cpu = zip(*again, strict=True)
    warm = {"warm_ms": statistics.median(wall), "warm_fastest_ms": min(wall), "warm_cpu_ms": statistics.median(cpu)}
    return {"what": name, "n_row": rows.num_rows} | summary(times) | warm


def find_places(root):
    """Objects of several pieces of the sky, and nights."""
    with Survey.open(root, published=False) as survey:
        names = survey.fetch(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'association' "
            "AND starts_with(table_name, 'object_') AND estimated_size > 1000 ORDER BY hash(table_name)"
        )["table_name"].to_pylist()
        nights = survey.fetch("SELECT night, count(*) AS n FROM visit GROUP BY night ORDER BY hash(night)").to_pylist()
        fullest = max(row["n"] for row in nights)
        nights = [row["night"] for row in nights if row["n"] == fullest]
        places = []
        for number in range(N_REPEAT):
            query = (
                f"SELECT dia_object_id, ra, dec FROM association.{names[number % len(names)]} "
                f"WHERE n_dia_source BETWEEN 33 AND 37 ORDER BY hash(dia_object_id + {number}) LIMIT 1"
            )
            places += [row | {"night": nights[number % len(nights)]} for row in survey.fetch(query).to_pylist()]
    return {"places": places}


def add_night(root, n_source, options):
    """Put the first visits of the next night into a catalog, and say what the first and the others cost."""
    folder = root
    if not options.in_place:
        folder = root.with_name(f"{root.name}_grown")
        shutil.copytree(root, folder)
    row = alone(_add_visits, folder, n_source, options.n_visit)
    if not options.in_place:
        shutil.rmtree(folder)
    memory = {"n_source": n_source, "peak_rss_mb": row["peak_rss_mb"]}
    return [{"what": f"new visit: {name}"} | memory | summary(times) for name, times in row["times"].items()]


def _add_visits(root, n_source, n_visit):
    times = {"detections": [], "associate": [], "together": []}
    with Survey.open(root, read_only=False) as survey:
        run_id = units.start_run(survey.connection, "benchmark", {}, {})
        for visit in detections.plan_next_night(n_source)[:n_visit]:
            synthetic.add_visits(survey, [visit], run_id)
            ticks = [_clock()]
            synthetic.commit_detections(survey, visit, seed=1, run_id=run_id)
            ticks.append(_clock())
            associate(
                survey.connection, survey.settings["associate"], run_id=run_id, options=Options(), report=Report()
            )
            ticks.append(_clock())
            for name, (a, b) in zip(times, ((0, 1), (1, 2), (0, 2)), strict=True):
                times[name].append(tuple(1e3 * (ticks[b][k] - ticks[a][k]) for k in (0, 1)))
    return {"times": times}


def _clock():
    return time.perf_counter(), time.process_time()


def summary(times):
    """The first and the median of the others, of pairs (wall clock, CPU)."""
    wall, cpu = zip(*times, strict=True)
    later = slice(1, None) if len(times) > 1 else slice(None)
    return {
        "first_wall_ms": wall[0],
        "first_cpu_ms": cpu[0],
        "wall_ms": statistics.median(wall[later]),
        "cpu_ms": statistics.median(cpu[later]),
    }


def show(table):
    times = ["first_wall_ms", "first_cpu_ms", "wall_ms", "cpu_ms", "warm_ms", "warm_fastest_ms", "warm_cpu_ms"]
    names = ["n_source", "what", *times, "peak_rss_mb", "n_row", "size_gb"]
    with pd.option_context("display.width", 200, "display.float_format", "{:.0f}".format):
        print(table[[name for name in names if name in table]].to_string(index=False))
    for what, goal in GOAL_MS.items():
        print(f"goal at 100 million: {what} < {goal} ms")


if __name__ == "__main__":
    main()
