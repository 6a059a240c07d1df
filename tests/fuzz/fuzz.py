"""Throw damaged inputs at everything that reads from outside: each must be used or refused in words.

    python tests/fuzz/fuzz.py --n 20000 --seed 1                  all kinds, shared between them
    python tests/fuzz/fuzz.py --kind image --n 5000 --seed 7      one kind
    python tests/fuzz/fuzz.py --kind image --seed 7 --only 1234   one input again, with its traceback

The inputs depend on kind, seed and number alone. They are worked on in a process of their own, which is killed if one
takes longer than --time-limit, and started again after it. Counted as faults: an exception that is not a refusal
(traceback), a hang, a process that dies, more memory than --memory. Exit code 1 if there is any.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from pathlib import Path

import commands
import numpy as np
import targets

TARGETS = targets.TARGETS | commands.TARGETS
SHARE = {"image": 0.4, "table": 0.2, "settings": 0.14, "instrument": 0.1, "sql": 0.14, "night": 0.01, "survey": 0.01}
"""Part of the inputs that each kind gets."""
COMMANDS_LIMIT = 5.0
"""Times the limit of one input that whole commands may take: each starts Python and its workers."""
START_LIMIT_S = 300.0
"""A process may take this long until it is ready: compilation, and a survey to ask."""


def generator(kind, seed, number):
    """Return the generator of an input."""
    return np.random.default_rng([zlib.crc32(kind.encode()), seed, number])


def peak_mib():
    """Return the largest resident memory since the last call [MiB]."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return found


def work(kind, seed, numbers, folder, pipe):
    """Work on inputs and tell of each: number, outcome, detail, peak memory [MiB]."""
    target = TARGETS[kind](folder)
    peak_mib()
    pipe.send(None)
    for number in numbers:
        detail = ""
        try:
            outcome = target(generator(kind, seed, number))
        except Exception:
            outcome, detail = "traceback", traceback.format_exc()
        pipe.send((number, outcome, detail, peak_mib()))


def run(kind, seed, numbers, *, time_limit_s, memory_mib):
    """Yield (number, outcome, detail, seconds) of inputs; see the module for what outcomes there are."""
    context = multiprocessing.get_context("spawn")
    left = list(numbers)
    while left:
        ours, theirs = context.Pipe(duplex=False)
        with tempfile.TemporaryDirectory() as folder:
            process = context.Process(target=work, args=(kind, seed, left, folder, theirs), daemon=True)
            process.start()
            theirs.close()
            yield from _follow(process, ours, left, time_limit_s, memory_mib)
            process.kill()
            process.join()


def _follow(process, pipe, left, time_limit_s, memory_mib):
    """Listen to a process until it has no more to do, hangs or dies; take what it has settled from the list."""
    limit_s, started = START_LIMIT_S, time.monotonic()
    while left:
        try:
            if not pipe.poll(limit_s):
                yield left.pop(0), "hang", f"more than {limit_s:.0f} s", limit_s
                return
            message = pipe.recv()
        except EOFError:
            process.join()
            if limit_s == START_LIMIT_S:
                raise RuntimeError(f"the process does not start: exit code {process.exitcode}") from None
            yield left.pop(0), "died", f"exit code {process.exitcode}", time.monotonic() - started
            return
        wall_s, started = time.monotonic() - started, time.monotonic()
        if message is not None:
            number, outcome, detail, mib = message
            if mib > memory_mib:
                outcome, detail = "memory", f"{mib:.0f} MiB"
            yield left.pop(0), outcome, detail, wall_s
        limit_s = time_limit_s


def main():
    """Parse, run, print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=sorted(SHARE), action="append", help="by default all")
    parser.add_argument("--n", type=int, default=2000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="this input of the kind alone, with its traceback")
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="S", help="of one input")
    parser.add_argument("--memory", type=float, default=2048.0, metavar="MIB", help="cap of one process")
    options = parser.parse_args()
    kinds = options.kind or sorted(SHARE)
    whole = sum(SHARE[kind] for kind in kinds)
    faults = 0
    for kind in kinds:
        n = round(options.n * SHARE[kind] / whole)
        numbers = [options.only] if options.only is not None else range(n)
        counts, slowest_s = Counter(), 0.0
        limit_s = options.time_limit * (COMMANDS_LIMIT if kind in commands.TARGETS else 1.0)
        found = run(kind, options.seed, numbers, time_limit_s=limit_s, memory_mib=options.memory)
        for number, outcome, detail, wall_s in found:
            counts[outcome] += 1
            slowest_s = max(slowest_s, wall_s)
            if outcome not in ("used", "refused"):
                faults += 1
                print(f"{kind} --seed {options.seed} --only {number}: {outcome}: {_short(detail, options)}", flush=True)
        said = ", ".join(f"{counts[name]} {name}" for name in sorted(counts))
        print(f"{kind}: {sum(counts.values())} inputs: {said}; slowest {slowest_s:.1f} s", flush=True)
    return 1 if faults else 0


def _short(detail, options):
    """The last line of a traceback, or all of it when one input is looked at."""
    return detail if options.only is not None else detail.strip().rsplit("\n", 1)[-1][:300]


if __name__ == "__main__":
    sys.exit(main())
