"""A driver that is killed, again and again, loses nothing that was finished and does nothing twice."""

import os
import signal
import sqlite3
import time

import numpy as np
import pytest

from ablations import driver
from ablations.execution.events import Finished, Progress
from ablations.records.database import StoreError, database_path
from ablations.records.store import Store
from ablations.study.outcome import Outcome
from ablations.study.reader import parse_study
from ablations.study.selection import Selection
from tests.ablations.tiny import TEXT

STUDY = parse_study(TEXT, name="tiny", source="tiny.toml")
OPTIONS = driver.Options("cpu", quiet=True)


def outcome(cell):
    """Made-up results that depend on the cell alone; some cells fail."""
    rng = np.random.default_rng(int(cell.key[:8], 16))
    if cell.key.startswith("0"):
        return Outcome("error", "made up")
    predictions = {"test": rng.normal(size=(500, 2)).astype(np.float32)}
    return Outcome("ok", train_loss=rng.random(2), val_mse=rng.random(2), predictions=predictions)


def backend(log):
    """Train nothing; write the key of a cell to `log` when the driver comes back for more: it is stored then."""

    def run(cells, seconds, options, directory):
        for cell in cells:
            yield Progress(cell, 1)
            yield Finished(cell, outcome(cell))
            os.write(log, f"{cell.key}\n".encode())

    return run


def run(results_dir, seeds, log):
    with Store.write(database_path(results_dir, "tiny")) as store:
        plan = driver._plan(STUDY, Selection(seeds=tuple(range(seeds))), store, results_dir, "cpu")
        driver.train(plan, store, backend(log), OPTIONS)


def everything(results_dir):
    """What is stored of all cells, but for when and where."""
    db = sqlite3.connect(database_path(results_dir, "tiny"))
    try:
        queries = (
            "SELECT key, status, message FROM cells",
            "SELECT * FROM epochs",
            "SELECT * FROM predictions",
        )
        return [sorted(db.execute(query).fetchall()) for query in queries]
    finally:
        db.close()


def run_until_killed(results_dir, seeds, log, seconds):
    """A driver in a process of its own, killed after so many seconds if it has not come to its end."""
    pid = os.fork()
    if not pid:
        run(results_dir, seeds, log)
        os._exit(0)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            assert status == 0
            return
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("seeds", "kills"), [(20, 3), pytest.param(300, 50, marks=pytest.mark.slow)]
)
def test_kill_9_at_random_moments_loses_nothing_and_does_nothing_twice(tmp_path, seeds, kills):
    null = os.open(os.devnull, os.O_WRONLY)
    whole, again = (timed(lambda: run(tmp_path / "whole", seeds, null)) for _ in range(2))
    os.close(null)
    moments = np.random.default_rng(0)
    log = os.open(tmp_path / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    for _ in range(kills):  # before the database is made, in the middle of a cell, after the last
        run_until_killed(
            tmp_path / "killed", seeds, log, moments.uniform(0, again + 2 * whole / kills)
        )
    run(tmp_path / "killed", seeds, log)
    os.close(log)
    finished = (tmp_path / "log").read_text().split()
    assert len(finished) == len(set(finished))
    assert everything(tmp_path / "killed") == everything(tmp_path / "whole")


def timed(function):
    start = time.monotonic()
    function()
    return time.monotonic() - start


def test_a_full_disk_ends_a_run_with_what_was_finished(tmp_path):
    path = database_path(tmp_path, "tiny")

    def fill():
        with Store.write(path) as store:
            (pages,) = store.connection.execute("PRAGMA page_count").fetchone()
            store.connection.execute(f"PRAGMA max_page_count = {pages + 40}")
            plan = driver._plan(STUDY, Selection(seeds=tuple(range(50))), store, tmp_path, "cpu")
            driver.train(plan, store, backend(os.open(os.devnull, os.O_WRONLY)), OPTIONS)

    with pytest.raises(StoreError, match="full; cells stored before are safe: make room"):
        fill()
    with Store.read(path) as store:
        stored = store.statuses()
        assert 0 < len(stored) < 100
        assert store.damage() == []
    run(tmp_path, 50, os.open(os.devnull, os.O_WRONLY))
    with Store.read(path) as store:
        assert stored.items() <= store.statuses().items()
        assert len(store.statuses()) == 100
