"""The database gives back what it was given, refuses what is not its own, and loses nothing in a crash."""

import errno
import os
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from ablations.records import database
from ablations.records import store as store_module
from ablations.records.database import StoreError
from ablations.records.store import Store
from ablations.study import study as study_module
from ablations.study.outcome import STATUSES, Outcome
from ablations.study.reader import load_study

CELLS = load_study("quick").cells()
OK = Outcome(
    "ok",
    parameters=7,
    steps=80,
    seconds=1.5,
    peak_memory_mib=300.0,
    engine="delta",
    train_loss=np.array([3.0, 1.0]),
    val_mse=np.array([2.0, 0.1 + 0.2]),
    predictions={"test": np.arange(6, dtype=np.float32).reshape(3, 2) / 7},
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study" / "results.sqlite"


def assert_same(read, written):
    for name in (
        "status",
        "message",
        "parameters",
        "steps",
        "seconds",
        "peak_memory_mib",
        "engine",
        "device",
    ):
        assert getattr(read, name) == getattr(written, name)
    np.testing.assert_array_equal(read.train_loss, written.train_loss)
    np.testing.assert_array_equal(read.val_mse, written.val_mse)
    assert read.predictions.keys() == written.predictions.keys()
    for split, predictions in written.predictions.items():
        np.testing.assert_array_equal(read.predictions[split], predictions)
        assert read.predictions[split].dtype == np.float32


def test_an_outcome_comes_back_bit_for_bit(path):
    with Store.write(path) as store:
        store.put(CELLS[0], OK, {"git_commit": "abc"})
    with Store.read(path) as store:
        assert_same(store.outcome(CELLS[0].key), OK)
        assert store.outcome(CELLS[1].key) is None
        assert store.statuses() == {CELLS[0].key: "ok"}
        assert store.provenance([CELLS[0].key]) == [{"git_commit": "abc"}]


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "ok"])
def test_a_failure_is_a_row_with_its_message_and_losses(path, status):
    failure = Outcome(
        status, "why", train_loss=np.array([1.0, np.nan]), val_mse=np.array([np.inf, np.nan])
    )
    with Store.write(path) as store:
        store.put(CELLS[0], failure, {})
        assert_same(store.outcome(CELLS[0].key), failure)


def test_a_second_outcome_replaces_the_first_with_all_it_had(path):
    with Store.write(path) as store:
        store.put(CELLS[0], OK, {})
        store.put(CELLS[0], Outcome("diverged"), {})
        assert_same(store.outcome(CELLS[0].key), Outcome("diverged"))
        assert store.connection.execute("SELECT count(*) FROM predictions").fetchone() == (0,)


def test_an_unknown_status_is_refused_and_the_transaction_undone(path):
    with Store.write(path) as store:
        store.put(CELLS[0], OK, {})
        with pytest.raises(sqlite3.IntegrityError):
            store.put(CELLS[0], Outcome("fine"), {})
        assert_same(store.outcome(CELLS[0].key), OK)


def test_results_of_an_earlier_engine_are_known_by_the_keys_of_today(path, monkeypatch):
    with Store.write(path) as store:
        store.put(CELLS[0], OK, {})
        old = CELLS[0].key
        assert store.stale() == {}
        monkeypatch.setattr(study_module, "ENGINE_VERSION", study_module.ENGINE_VERSION + 1)
        monkeypatch.setattr(store_module, "ENGINE_VERSION", study_module.ENGINE_VERSION)
        today = load_study("quick").cells()[0]
        assert today.key != old
        assert store.stale() == {today.key: old}
        assert store.statuses() == {old: "ok"}
        store.put(today, OK, {})
        assert store.stale() == {today.key: old}


def test_deleting_takes_all_that_belongs_to_a_cell(path):
    with Store.write(path) as store:
        for cell, commit in zip(CELLS[:2], "ab", strict=True):
            store.put(cell, OK, {"git_commit": commit})
        store.delete([CELLS[0].key])
        assert store.statuses() == {CELLS[1].key: "ok"}
        assert_same(store.outcome(CELLS[1].key), OK)
        for table in ("epochs", "predictions"):
            keys = store.connection.execute(f"SELECT DISTINCT key FROM {table}").fetchall()
            assert keys == [(CELLS[1].key,)]
        assert store.connection.execute("SELECT count(*) FROM provenance").fetchone() == (1,)


def test_yardsticks_come_back_bit_for_bit(path):
    predictions = np.random.default_rng(0).normal(size=(5, 2))
    with Store.write(path) as store:
        store.put_yardstick("key", "least_squares", "test", predictions)
        np.testing.assert_array_equal(store.yardstick("key", "least_squares", "test"), predictions)
        assert store.yardstick("other", "least_squares", "test") is None


def test_reading_what_is_not_there_creates_nothing(path):
    with Store.read(path) as store:
        assert store is None
    assert not path.parent.exists()


def test_a_database_without_its_schema_is_one_that_is_not_there_yet(path):
    path.parent.mkdir()
    path.touch()  # a driver was killed between creating and filling it, or is about to fill it
    with Store.read(path) as store:
        assert store is None
    with Store.write(path) as store:
        store.put(CELLS[0], OK, {})
        assert store.statuses() == {CELLS[0].key: "ok"}


def test_results_in_a_directory_that_cannot_be_written_can_be_read(path, monkeypatch):
    with Store.write(path) as store:
        store.put(CELLS[0], OK, {})
    before = sorted(path.parent.iterdir())
    monkeypatch.setattr("os.access", lambda *arguments: False)
    with Store.read(path) as store:
        assert_same(store.outcome(CELLS[0].key), OK)
    assert sorted(path.parent.iterdir()) == before  # SQLite did not need files of its own


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "results").touch()
    path = tmp_path / "results" / "study" / "results.sqlite"
    with pytest.raises(StoreError, match=r"results\.sqlite: cannot be written"), Store.write(path):
        pass


def test_a_full_disk_is_told_and_costs_the_last_cell_alone(path):
    def fill():
        with Store.write(path) as store:
            store.put(CELLS[0], OK, {})
            (pages,) = store.connection.execute("PRAGMA page_count").fetchone()
            store.connection.execute(f"PRAGMA max_page_count = {pages}")
            for cell in CELLS[1:]:
                store.put(cell, OK, {})

    with pytest.raises(StoreError, match="full; cells stored before are safe"):
        fill()
    with Store.read(path) as store:
        assert_same(store.outcome(CELLS[0].key), OK)


def test_two_drivers_cannot_write_at_once(path):
    held = rf"another run .*process {os.getpid()} on .* since 20"
    with Store.write(path), pytest.raises(StoreError, match=held), Store.write(path):
        pass
    with Store.write(path):
        pass


def test_a_reader_sees_finished_cells_while_a_run_writes(path):
    with Store.write(path) as writer:
        writer.put(CELLS[0], OK, {})
        with Store.read(path) as reader:
            assert reader.statuses() == {CELLS[0].key: "ok"}


@pytest.mark.parametrize("mode", [Store.read, Store.write])
def test_a_file_that_is_no_database_is_named_and_left_alone(path, mode):
    path.parent.mkdir()
    path.write_text("no database " * 100)
    with pytest.raises(StoreError, match=r"results\.sqlite: is no database"), mode(path):
        pass
    assert path.read_text().startswith("no database")


def test_a_damaged_database_is_named_and_left_alone(path):
    with Store.write(path) as store:
        for cell in CELLS:
            store.put(cell, OK, {})
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with (
        pytest.raises(
            StoreError, match=r"results\.sqlite: is no database of results, or is damaged"
        ),
        Store.read(path) as store,
    ):
        store.statuses()
    assert path.read_bytes() == content


def test_a_truncated_database_is_told(path):
    with Store.write(path) as store:
        for cell in CELLS:
            store.put(cell, OK, {})
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(StoreError, match="damaged"), Store.read(path) as store:
        [store.outcome(cell.key) for cell in CELLS]


def test_predictions_of_a_wrong_length_are_told(path):
    with Store.write(path) as store:
        store.put(CELLS[0], OK, {})
        store.connection.execute("UPDATE predictions SET float32 = x'000000'")
        store.connection.commit()
    with (
        pytest.raises(StoreError, match="predictions of a wrong length"),
        Store.read(path) as store,
    ):
        store.outcome(CELLS[0].key)


def leave_a_hot_journal(path):
    """What a driver leaves that is killed in its first milliseconds: a write that was begun and not ended."""
    path.parent.mkdir()
    script = f"""
import os, signal, sqlite3
db = sqlite3.connect({str(path)!r}, isolation_level=None)
db.execute("CREATE TABLE filler (x)")
db.execute("INSERT INTO filler VALUES (zeroblob(100000))")
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN")
db.execute("UPDATE filler SET x = randomblob(3000000)")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    assert path.with_name(f"{path.name}-journal").stat().st_size


@pytest.mark.parametrize("mode", [Store.read, Store.write])
def test_what_a_killed_driver_left_unfinished_is_rolled_back(path, mode):
    leave_a_hot_journal(path)
    with mode(path) as store:
        if store is not None:
            assert store.statuses() == {}
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT length(x) FROM filler").fetchone() == (100_000,)
    db.close()


def test_cells_in_the_log_of_a_folder_that_cannot_be_written_are_read(path, monkeypatch):
    script = f"""
import os, signal
from pathlib import Path
from ablations.records.store import Store
from ablations.study.outcome import Outcome
from ablations.study.reader import load_study
with Store.write(Path({str(path)!r})) as store:
    store.put(load_study("quick").cells()[0], Outcome("ok"), {{}})
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    wal = path.with_name(f"{path.name}-wal")
    assert wal.stat().st_size
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    monkeypatch.setattr("os.access", lambda *arguments: False)
    with Store.read(path) as store:
        assert store.statuses() == {CELLS[0].key: "ok"}
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before


def test_the_lock_of_a_killed_driver_holds_nobody_up(path):
    script = f"""
import os, signal
from pathlib import Path
from ablations.records.store import Store
with Store.write(Path({str(path)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    assert '"pid"' in path.with_name(f"{path.name}.lock").read_text()
    with Store.write(path) as store:
        assert store.statuses() == {}
    assert path.with_name(f"{path.name}.lock").read_text() == ""


def test_a_file_system_without_locks_is_told(path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(database.fcntl, "flock", refuse)
    with pytest.raises(StoreError, match=r"no working locks .*--results DIR"), Store.write(path):
        pass


@pytest.mark.parametrize("mode", [Store.read, Store.write])
def test_a_database_of_another_schema_is_named_and_left_alone(path, mode):
    with Store.write(path) as store:
        store.connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="schema 99"), mode(path):
        pass


def test_a_killed_writer_loses_no_finished_cell(path):
    script = f"""
import os, signal
from pathlib import Path
from ablations.records.store import Store
from ablations.study.outcome import Outcome
from ablations.study.reader import load_study
cells = load_study("quick").cells()
with Store.write(Path({str(path)!r})) as store:
    store.put(cells[0], Outcome("ok"), {{}})
    store.connection.execute("BEGIN")
    store.connection.execute("DELETE FROM cells")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    with Store.read(path) as store:
        assert store.statuses() == {CELLS[0].key: "ok"}
    with Store.write(path) as store:
        store.put(CELLS[1], OK, {})
        assert len(store.statuses()) == 2
