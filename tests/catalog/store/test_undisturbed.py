"""A request to stop waits for the end of what changes the catalog: it becomes no error of DuckDB, and no verdict."""

import os
import random
import signal
import threading
import time

import duckdb
import pyarrow as pa
import pytest

from dbpipe.catalog.store.connection import transaction
from dbpipe.catalog.store.lent import execute_with, fetch_with, lent
from dbpipe.catalog.store.undisturbed import undisturbed


class Stopped(BaseException):
    """What a handler raises."""


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def asking(request):
    """A signal whose handler raises."""

    def stop(number, _frame):
        raise Stopped(number)

    before = signal.signal(request.param, stop)
    yield request.param
    signal.signal(request.param, before)


def test_a_stop_comes_after_the_block(asking):
    """Whatever is under way in a block, blocks in it among that, is done before the handler is called, once."""
    done = []
    with pytest.raises(Stopped), undisturbed():
        with undisturbed():
            os.kill(os.getpid(), asking)
            os.kill(os.getpid(), asking)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]
    with pytest.raises(Stopped):
        os.kill(os.getpid(), asking)


def test_a_transaction_that_is_asked_to_stop_is_committed(asking):
    """What a transaction has begun is in the catalog when the stop is heard."""
    with duckdb.connect() as catalog:
        catalog.execute("CREATE TABLE t (a BIGINT)")
        with pytest.raises(Stopped), transaction(catalog):
            catalog.execute("INSERT INTO t VALUES (1)")
            os.kill(os.getpid(), asking)
            catalog.execute("INSERT INTO t VALUES (2)")
        assert catalog.execute("SELECT count(*) FROM t").fetchall() == [(2,)]


def test_a_stop_at_any_moment_stays_a_stop(asking):
    """While tables of Python are read, a signal never becomes an error of DuckDB, and rows come whole or not at all."""
    moments, rows = random.Random(1), pa.table({"a": range(20_000)})
    with duckdb.connect() as catalog:
        catalog.execute("CREATE TABLE t (a BIGINT)")
        for _ in range(40):
            timer = threading.Timer(moments.uniform(0.0, 0.02), os.kill, (os.getpid(), asking))
            with pytest.raises(Stopped):
                timer.start()
                while True:
                    with transaction(catalog), lent(catalog, {"held": rows}):
                        catalog.execute("INSERT INTO t SELECT a FROM held")
                    execute_with(catalog, "DELETE FROM t WHERE a IN (FROM held)", {"held": rows})
                    fetch_with(catalog, "SELECT count(*) FROM held", {"held": rows})
                    if not timer.is_alive():
                        time.sleep(0.001)
            ((n_row,),) = catalog.execute("SELECT count(*) FROM t").fetchall()
            assert n_row % rows.num_rows == 0
            catalog.execute("DELETE FROM t")
