"""Every finished cell reaches the disk, the first of many at once and the others together."""

import os
import threading
import time

import pytest

from ablations.records import settling
from ablations.records.store import Store
from ablations.study.outcome import Outcome
from ablations.study.reader import load_study

CELLS = load_study("quick").cells()


@pytest.fixture
def synced(monkeypatch):
    """The sizes of the log at every time when it was forced to the disk."""
    sizes, fsync = [], os.fsync

    def noted(descriptor):
        fsync(descriptor)
        sizes.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", noted)
    return sizes


def put(store, cells):
    for cell in cells:
        store.put(cell, Outcome("ok"), {})
    return store.path.with_name(f"{store.path.name}-wal").stat().st_size


def wait(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_cell_alone_is_on_the_disk_when_it_is_stored(tmp_path, synced, monkeypatch):
    monkeypatch.setattr(settling, "SECONDS", 0.0)
    with Store.write(tmp_path / "x" / "results.sqlite") as store:
        sizes = [put(store, [cell]) for cell in CELLS[:3]]
        assert synced == sizes


def test_cells_that_come_together_are_soon_on_the_disk_together(tmp_path, synced, monkeypatch):
    with Store.write(tmp_path / "x" / "results.sqlite") as store:
        first = put(store, CELLS[:1])
        monkeypatch.setattr(settling, "SECONDS", 0.5)
        size = put(store, CELLS[1:])
        assert synced[0] == first
        wait(lambda: synced[-1] == size)
        assert len(synced) < len(CELLS)


def test_closing_leaves_no_timer_behind(tmp_path, synced, monkeypatch):
    monkeypatch.setattr(settling, "SECONDS", 1000.0)
    before = threading.active_count()
    with Store.write(tmp_path / "x" / "results.sqlite") as store:
        put(store, CELLS)
        assert threading.active_count() == before + 1
    wait(lambda: threading.active_count() == before)
    assert len(synced) == 1


def test_a_disk_that_fails_is_told_with_the_next_cell(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError("the disk is gone")

    with Store.write(tmp_path / "x" / "results.sqlite") as store:
        put(store, CELLS[:1])
        monkeypatch.setattr(settling, "SECONDS", 1000.0)
        monkeypatch.setattr(os, "fsync", fail)
        put(store, CELLS[1:2])
        store.settling.timer.function()  # its time has come
        with pytest.raises(OSError, match="the disk is gone"):
            put(store, CELLS[2:3])
        store.settling.error = None
        assert len(store.statuses()) == 3


def test_a_database_without_a_log_is_on_the_disk(tmp_path):
    settling.settle(tmp_path / "results.sqlite")
