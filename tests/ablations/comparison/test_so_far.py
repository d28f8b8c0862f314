"""A study watched while it runs: what is shown is what the comparison of the same cells says."""

import datetime
import json
import os
import socket

import numpy as np
import pytest

from ablations.comparison.so_far import Watch
from ablations.comparison.study_comparison import compare_study
from ablations.records.database import database_path
from ablations.records.loading import results_from_store
from ablations.records.running import Running, driver_at_work
from ablations.records.store import Store
from ablations.records.yardsticks import store_yardsticks
from ablations.study.outcome import Outcome
from ablations.study.reader import parse_study
from linefit.splits import evaluation_images
from tests.ablations.tiny import TEXT

STUDY = parse_study(TEXT, name="tiny", source="tiny.toml")


def outcome(seed):
    rng = np.random.default_rng(seed)
    params = evaluation_images("test").params
    lines = (params + rng.normal(0, 1 + seed % 3, params.shape)).astype(np.float32)
    curve = np.array([30.0, 10.0 + seed])
    return Outcome("ok", seconds=2.0, train_loss=curve, val_mse=curve, predictions={"test": lines})


def fill(results, cells):
    with Store.write(database_path(results, "tiny")) as store:
        store_yardsticks(STUDY, store)
        for i, cell in enumerate(cells):
            store.put(cell, outcome(i), {})


def lock(results, pid, host=None, minutes=1):
    since = datetime.datetime.now().astimezone() - datetime.timedelta(minutes=minutes)
    facts = {"pid": pid, "host": host or socket.gethostname(), "since": since.isoformat()}
    path = database_path(results, "tiny")
    path.with_name(f"{path.name}.lock").write_text(json.dumps(facts))


def test_before_anything_has_run_all_is_to_do(tmp_path):
    now = Watch(STUDY, tmp_path).look()
    assert (now.cells, now.done, now.failed, now.todo, now.driver) == (6, 0, 0, 6, None)
    assert not now.variants
    assert np.isnan(now.seconds_left)


def test_numbers_are_those_of_the_comparison(tmp_path):
    fill(tmp_path, STUDY.cells())
    now = Watch(STUDY, tmp_path).look()
    with Store.read(database_path(tmp_path, "tiny")) as store:
        table = compare_study(results_from_store(STUDY, store)).table
    table = table[table["kind"] == "variant"]
    assert [v.name for v in now.variants] == list(table["variant"])
    for variant, row in zip(now.variants, table.to_dict("records"), strict=True):
        np.testing.assert_allclose(
            [variant.mse, variant.low, variant.high, variant.ratio],
            [row["mse"], row["low"], row["high"], row["ratio"]],
        )
        assert (variant.ok, variant.failed, variant.seeds) == (3, 0, 3)
    medians = {"none": 12.0, "cartesian": 13.0}  # of seeds 0, 2, 4 and 1, 3, 5
    assert {v.name: v.curve[-1] for v in now.variants} == medians


def test_a_failed_cell_counts_and_is_told(tmp_path):
    cells = STUDY.cells()
    fill(tmp_path, cells[:4])
    with Store.write(database_path(tmp_path, "tiny")) as store:
        store.put(cells[4], Outcome("oom", "Traceback\nMemoryError: no room"), {})
    now = Watch(STUDY, tmp_path).look()
    assert (now.done, now.failed, now.todo) == (4, 1, 1)
    name = cells[4].variant.name
    assert now.failures == [f"{name} seed {cells[4].seed}: oom: MemoryError: no room"]
    (variant,) = (v for v in now.variants if v.name == name)
    assert (variant.ok, variant.failed) == (2, 1)


def test_fewer_than_three_seeds_have_a_point_and_no_interval(tmp_path):
    fill(tmp_path, STUDY.cells()[:2])
    now = Watch(STUDY, tmp_path).look()
    assert all(np.isnan(v.low) and v.mse > 0 for v in now.variants)


def test_the_pace_is_that_of_the_driver_at_work(tmp_path):
    """Two cells of 2 s in a minute, one half done: 2.5 cells' work in a minute, 3.5 to do."""
    cells = STUDY.cells()
    fill(tmp_path, cells[:2])
    lock(tmp_path, os.getpid())
    (tmp_path / "tiny" / "running.json").write_text(json.dumps({"epochs": {cells[2].key: 1}}))
    now = Watch(STUDY, tmp_path).look()
    assert now.driver.pid == os.getpid()
    assert now.running == {f"{cells[2].variant.name} seed {cells[2].seed}": 0.5}
    assert now.per_hour == pytest.approx(120, rel=0.1)
    assert now.seconds_left == pytest.approx(60 * 3.5 / 2.5, rel=0.1)


def test_a_driver_that_was_killed_is_not_at_work(tmp_path):
    fill(tmp_path, STUDY.cells()[:1])
    assert driver_at_work(tmp_path, "tiny") is None  # it ended as it should
    lock(tmp_path, 2**22 + 1)  # above the largest process that there can be
    assert driver_at_work(tmp_path, "tiny") is None
    lock(tmp_path, 2**22 + 1, host="elsewhere")  # nobody here can know
    assert driver_at_work(tmp_path, "tiny").host == "elsewhere"
    path = database_path(tmp_path, "tiny")
    for text in ("", "[1]", '{"pid": "x"}', "{"):
        path.with_name(f"{path.name}.lock").write_text(text)
        assert driver_at_work(tmp_path, "tiny") is None


def test_what_a_watch_has_seen_grows_with_the_study(tmp_path):
    cells = STUDY.cells()
    watch = Watch(STUDY, tmp_path)
    counts = []
    for end in (0, 2, 6):
        if end:
            fill(tmp_path, cells[:end])
        now = watch.look()
        counts.append((now.done, len(now.variants)))
    assert counts == [(0, 0), (2, 2), (6, 2)]


def test_cells_in_flight_are_kept_in_a_file_that_goes_with_the_driver(tmp_path):
    with Running(tmp_path) as running:
        running.epoch("a", 3)
        assert json.loads((tmp_path / "running.json").read_text()) == {"epochs": {"a": 3}}
        running.epoch("b", 1)  # too soon after the first to be written
        running.written -= 2
        running.finished("a")
        assert json.loads((tmp_path / "running.json").read_text()) == {"epochs": {"b": 1}}
    assert not list(tmp_path.iterdir())


def test_a_disk_that_takes_nothing_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with Running(tmp_path / "file") as running:
        running.epoch("a", 1)


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="split 'val' is not one of test"):
        Watch(STUDY, tmp_path, "val")
