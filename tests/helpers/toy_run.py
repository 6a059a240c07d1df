"""Run the toy survey in a process of its own, so that a test can kill it: python toy_run.py ROOT N_WORKER DELAY_S."""

import sys

import toy_stages

from dbpipe.catalog.store import connection
from dbpipe.catalog.store.lock import Lock
from dbpipe.catalog.work.offer import Options
from dbpipe.runner import pipeline
from dbpipe.runner.pool import WorkerPool


def run(root, n_worker, config, *, options=None):
    """Run both toy stages and return their summaries."""
    options = options or Options(parameters={"shift": 0.5})
    lock = Lock(f"{root}/survey.lock")
    catalog = connection.connect(f"{root}/survey.duckdb")
    summaries = []
    try:
        with WorkerPool(root, n_worker) as pool:
            for stage, statements in (
                (toy_stages.IMAGE, toy_stages.IMAGE_SQL),
                (toy_stages.TOTAL, toy_stages.TOTAL_SQL),
            ):
                keywords = {"run_id": 1, "pool": pool, "root": root, "options": options, "statements": statements}
                summaries.append(pipeline.run_stage(catalog, stage, config, **keywords))
    finally:
        catalog.close()
        lock.close()
    return summaries


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), toy_stages.ToyConfig(delay_s=float(sys.argv[3])))
