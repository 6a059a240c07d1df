"""Kill every command that changes something, again and again: what is there in the end is what it makes in peace.

python kill_campaign.py SCRATCH [--kills 500] [--seed 1] [--kind run --kind export ...]

Of each kind of work there is a state before it, and the same command in peace says what must come out. A command is
stopped at random moments, by SIGKILL, SIGTERM or SIGINT or by SIGKILL to one of its workers, and started again until it
ends by itself; then every table and every file is compared. After each stop no process may be left, the lock must be
free, and SIGINT and SIGTERM must not print a traceback. A table of kinds, signals and faults is printed at the end; the
exit code is 1 if there was a fault.
"""

import argparse
import fcntl
import hashlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))  # for who starts this file as a program

import small_survey
import upgrades

from dbpipe.catalog.store import connection
from dbpipe.simulate import write_survey
from dbpipe.survey import CATALOG, Survey

MAIN = "from dbpipe.__main__ import main\nif __name__ == '__main__': main()"
DBPIPE = [sys.executable, "-c", MAIN]
LATER_MAIN = """
import signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
import sys
from dbpipe.cli import main
from dbpipe.cli.terminal.stop import Stopped, listening
if __name__ == '__main__':
    import upgrades
    try:
        with listening():
            upgrades.use(sys.argv.pop(1))
    except Stopped as stop:
        sys.exit(128 + stop.args[0])
    main()
"""
LATER = [sys.executable, "-c", LATER_MAIN]
"""A dbpipe with the migrations of a folder."""
N_VISIT = {"r": 4}
N_FIRST_NIGHT = 3
SIZE_PIX = 384
N_LONG = 2_100_000
"""DIASources of the survey whose tables are published as files."""
PATIENCE_S = 120.0
"""For workers that their parent has left, and for a command that has lost one."""
LONGEST_S = 1800.0
"""A command that takes longer hangs."""
WAYS = ("SIGKILL", "SIGTERM", "SIGINT", "worker")
MOST_STOPS = 4
"""Of one command before it may end."""
OF_THE_MOMENT = ("main.published", "main.schema_migration")
"""Tables that say when the catalog was copied and brought up to date."""
NOT_COMPARED = ("manifest.json", "export.lock", "survey.lock", "dbpipe.log", "survey.duckdb", "dropped.json")
"""Files that say when and by whom, and the catalog, whose tables are compared."""


def start_empty(place, shared):
    """Nothing is there."""


def start_made(place, shared):
    """A survey without an exposure."""
    Survey.init(place / "survey").close()


def start_ingested(place, shared):
    """A survey with raw exposures and no reference catalog."""
    with Survey.init(place / "survey") as survey:
        survey.ingest([shared / "sky" / "raw"], n_worker=1)


def start_ready(place, shared):
    """A survey in which everything is to be done."""
    start_ingested(place, shared)
    with Survey.open(place / "survey", read_only=False) as survey:
        survey.set_reference_catalog(shared / "sky" / "refcat.csv")


def start_finished(place, shared):
    """A survey in which everything is done; it is made once."""
    made = shared / "finished"
    if not made.is_dir():
        (made / "unfinished").mkdir(parents=True)
        start_ready(made / "unfinished", shared)
        with Survey.open(made / "unfinished" / "survey", read_only=False) as survey:
            survey.run(n_worker=2)
        (made / "unfinished" / "survey").rename(made / "survey")
    shutil.copytree(made / "survey", place / "survey")


def start_second_night(place, shared):
    """A survey after its first night, and the raw files of the second one among those of the first."""
    made, frames = shared / "nights", sorted((shared / "sky" / "raw").iterdir())
    if not made.is_dir():
        with Survey.init(made / "survey") as survey:
            survey.set_reference_catalog(shared / "sky" / "refcat.csv")
            survey.ingest(frames[:N_FIRST_NIGHT], n_worker=1)
            survey.run(n_worker=2)
    shutil.copytree(made / "survey", place / "survey")


def start_with_garbage(place, shared):
    """A finished survey with files that it does not name."""
    start_finished(place, shared)
    for number in range(2000):
        (place / "survey" / "files" / f"garbage{number}.fits").touch()


def start_years(place, shared):
    """A survey whose long tables are files in its snapshot, not published yet."""
    made = shared / "years"
    if not made.is_dir():
        subprocess.run([*DBPIPE, "simulate", str(made / "survey"), "--catalog", str(N_LONG)], check=True, env=_env())
    shutil.copytree(made / "survey", place / "survey", ignore=lambda folder, names: {"published"} & set(names))


def start_older(place, shared):
    """A finished survey and the migrations of a later version."""
    start_finished(place, shared)
    upgrades.make_migrations(place / "migrations", upgrades.FUTURE, *upgrades.LATER)


@dataclass(frozen=True)
class Kind:
    """A command, and the state that it is started in."""

    start: object
    """Makes the state: called with a folder, and one that all kinds share."""
    command: tuple
    """{survey}, {place} and {shared} stand for folders."""
    program: tuple = tuple(DBPIPE)
    may_say: str = ""
    """What it may end with when it finds everything done."""


KINDS = {
    "init": Kind(start_empty, ("init", "{survey}"), may_say="is a survey already"),
    "ingest": Kind(start_made, ("ingest", "{survey}", "{shared}/sky/raw", "--workers", "2")),
    "refcat": Kind(start_ingested, ("refcat", "{survey}", "{shared}/sky/refcat.csv")),
    "run": Kind(start_ready, ("run", "{survey}", "--workers", "2")),
    "night": Kind(
        start_second_night,
        ("run", "{survey}", "--ingest", "{shared}/sky/raw", "--settle", "0", "--workers", "2", "--quiet"),
    ),
    "template": Kind(start_finished, ("template", "{survey}", "--quantile", "0.7")),
    "inject": Kind(start_finished, ("inject", "{survey}", "--workers", "2")),
    "export": Kind(start_finished, ("export", "{survey}", "{place}/lake", "--layout", "night", "--layout", "hats")),
    "gc": Kind(start_with_garbage, ("gc", "{survey}")),
    "migration": Kind(start_older, ("{place}/migrations", "gc", "{survey}"), tuple(LATER)),
    "publish": Kind(start_years, ("gc", "{survey}")),  # who opens a survey to change it publishes what is not
}


@dataclass
class Tally:
    """What happened."""

    stops: Counter = field(default_factory=Counter)
    """(kind, way) -> number."""
    compared: Counter = field(default_factory=Counter)
    """Kind -> how often the outcome was compared."""
    faults: list = field(default_factory=list)


def campaign(scratch, *, n_kill, seed, kinds=tuple(KINDS), say=print):
    """Stop every kind of command, ``n_kill`` times in all, and return the `Tally`."""
    shared = Path(scratch) / "shared"
    if not (shared / "sky").is_dir():
        write_survey(shared / "sky", seed=3, n_visit=N_VISIT, size_pix=SIZE_PIX, density=small_survey.DENSITY)
    tally = Tally()
    for number, name in enumerate(kinds):
        share = n_kill // len(kinds) + (number < n_kill % len(kinds))
        n_known = len(tally.faults)
        _besiege(name, share, Path(scratch), random.Random(f"{seed} {name}"), tally)
        n_stop = sum(n for (kind, _), n in tally.stops.items() if kind == name)
        say(f"{name}: {n_stop} stops, {tally.compared[name]} outcomes", flush=True)
        for fault in tally.faults[n_known:]:
            say(f"FAULT {fault}", flush=True)
    return tally


def _besiege(name, n_kill, scratch, moments, tally):
    """Stop one kind of command ``n_kill`` times."""
    kind, shared, before = KINDS[name], scratch / "shared", scratch / name / "before"
    shutil.rmtree(scratch / name, ignore_errors=True)
    before.mkdir(parents=True)
    kind.start(before, shared)
    peace, duration_s = _in_peace(kind, before, scratch / name / "peace", shared)
    while n_kill > 0:
        place = scratch / name / "war"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(before, place)
        for _ in range(min(n_kill, moments.randint(1, MOST_STOPS))):
            way = moments.choice(WAYS)
            fault, was_stopped = _stop(kind, place, shared, way, moments.uniform(0.0, duration_s))
            tally.faults += [f"{name} {way}: {fault}"] if fault else []
            if not was_stopped:
                break
            tally.stops[name, way] += 1
            n_kill -= 1
        text = _finish(kind, place, shared)
        if text:
            tally.faults.append(f"{name}, resumed: {text}")
        else:
            war = outcome(place)
            wrong = [item for item in peace.keys() | war.keys() if peace.get(item) != war.get(item)]
            tally.faults += [f"{name}: {item} is not as in peace" for item in sorted(wrong)]
            if wrong:
                tally.faults.append(f"{name}: it is left in {_keep(place)}")
        tally.compared[name] += 1


def _keep(place):
    """Put what is to be looked at where the next round does not delete it; return where that is."""
    kept = next(path for n in itertools.count(1) if not (path := place.with_name(f"fault_{n}")).exists())
    return place.rename(kept)


def _in_peace(kind, before, place, shared):
    """Return the outcome of an undisturbed command, and how long it takes."""
    shutil.copytree(before, place)
    started = time.monotonic()
    text, duration_s = _finish(kind, place, shared), time.monotonic() - started
    if text:
        raise RuntimeError(f"it does not work in peace: {text}")
    return outcome(place), duration_s


def _start(kind, place, shared):
    names = {"survey": place / "survey", "place": place, "shared": shared}
    command = [*kind.program, *(part.format(**names) for part in kind.command)]
    log = tempfile.TemporaryFile("w+")
    return subprocess.Popen(command, env=_env(), stdout=log, stderr=log, start_new_session=True), log


def _env():
    return os.environ | {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}


def _finish(kind, place, shared):
    """Let a command end by itself; return what was wrong, or nothing."""
    process, log = _start(kind, place, shared)
    with log:
        process.wait(LONGEST_S)
        text = _text(log)
        if process.returncode == 0 or (kind.may_say and kind.may_say in text):
            return ""
        return f"exit code {process.returncode}: {text[-500:]}"


def _stop(kind, place, shared, way, after_s):
    """Start a command and stop it; return what was wrong, and whether it was still there to be stopped."""
    process, log = _start(kind, place, shared)
    with log:
        try:
            process.wait(after_s)
            return ("" if process.returncode == 0 or kind.may_say else _text(log)[-500:]), False
        except subprocess.TimeoutExpired:
            _send(process, way)
        try:
            process.wait(LONGEST_S if way == "worker" else PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return "it hangs", True
        faults = [_left_over(process.pid), _lock_held(place / "survey")]
        text = _text(log)
        if way != "SIGKILL" and "Traceback" in text:
            faults.append(f"traceback {text[-700:]}")
        return "; ".join(fault for fault in faults if fault), True


def _send(process, way):
    """Stop a process; as from the keyboard, SIGINT goes to its workers too."""
    if way == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)
    elif way == "worker":
        workers = _children(process.pid)
        if workers:
            os.kill(random.choice(workers), signal.SIGKILL)
        else:
            process.kill()
    else:
        process.send_signal(signal.Signals[way])


def _children(pid):
    """Return the workers of a process: those of its children that run Python's own way of starting them."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    except OSError:
        return []


def _left_over(group):
    """Wait until no process of a group is left; return what was wrong."""
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return ""
        time.sleep(0.01)
    os.killpg(group, signal.SIGKILL)
    return "a worker outlived its parent"


def _lock_held(root):
    if not (root / "survey.lock").is_file():
        return ""
    with open(root / "survey.lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "the lock is still held"
    return ""


def _text(log):
    log.seek(0)
    return log.read()


def outcome(place):
    """Return a hash of every table and every file, by name, without what tells when and how it was made."""
    found = {f"table {name}": value for name, value in _tables(place / "survey").items()}
    for root in (place / "survey", place / "lake" / "current"):
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root)
            if path.is_file() and path.name not in NOT_COMPARED and name.parts[0] != "published":
                lines = path.read_bytes().split(b"\n")
                bytes_ = b"\n".join(line for line in lines if not line.startswith(b"hats_creation_date"))
                found[f"file {root.name}/{name}"] = hashlib.sha256(bytes_).hexdigest()
    folder = place / "migrations"
    with upgrades.using(folder) if folder.is_dir() else nullcontext(), Survey.open(place / "survey") as survey:
        found["what readers see"] = survey.sql("SELECT count(*) FROM dia_source").fetchall()
        found["check"] = [finding.name for finding in survey.check() if finding.n_row]
    return found


def _tables(root):
    """Return number of rows and sum of their hashes of every table."""
    with connection.connect(root / CATALOG, read_only=True) as catalog:
        columns = {}
        for table, column in catalog.execute(
            "SELECT schema_name || '.' || table_name, column_name FROM duckdb_columns() "
            "SEMI JOIN duckdb_tables() USING (schema_name, table_name) WHERE NOT internal ORDER BY ALL"
        ).fetchall():
            if table not in (*small_survey.OF_THE_WAY, *OF_THE_MOMENT) and column not in small_survey.OF_THE_RUN:
                columns.setdefault(table, []).append(column)
        return {
            table: catalog.execute(
                f"SELECT count(*), sum(hash(row)::HUGEINT) FROM (SELECT ({', '.join(names)},) AS row FROM {table})"
            ).fetchall()
            for table, names in columns.items()
        }


def print_tally(tally, kinds):
    """Print how often what was stopped."""
    print(f"{'kind':<12}" + "".join(f"{way:>10}" for way in (*WAYS, "outcomes")))
    for name in kinds:
        row = [*(tally.stops[name, way] for way in WAYS), tally.compared[name]]
        print(f"{name:<12}" + "".join(f"{n:>10}" for n in row))
    print(f"{sum(tally.stops.values())} stops, {sum(tally.compared.values())} outcomes, {len(tally.faults)} faults")


def _main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path, help="folder for everything; what is made for all kinds is used again")
    parser.add_argument("--kills", type=int, default=500, help="stops in all, the same number for each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", action="append", choices=KINDS, help="only this one; repeatable")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background, by children too
    kinds = tuple(options.kind or KINDS)
    tally = campaign(options.scratch, n_kill=options.kills, seed=options.seed, kinds=kinds)
    print_tally(tally, kinds)
    sys.exit(bool(tally.faults))


if __name__ == "__main__":
    _main()
