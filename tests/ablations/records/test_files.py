"""Result files are written whole or not at all, stay in their folder, and take nobody else's place."""

import numpy as np
import pandas as pd
import pytest

from ablations import driver
from ablations.records import exports
from ablations.records.database import StoreError, database_path
from ablations.records.files import replacing, write_csv, write_text
from ablations.records.folder import CELLS_FILE, require_no_loss
from ablations.records.loading import results_from_store
from ablations.records.store import Store
from ablations.study.outcome import Outcome
from ablations.study.reader import load_study, parse_study
from ablations.study.selection import selection
from ablations.study.settings import with_settings
from tests.ablations.tiny import TEXT, write_tiny

STUDY = parse_study(TEXT, name="tiny", source="tiny.toml")
OK = Outcome("ok", predictions={"test": np.zeros((500, 2), dtype=np.float32)})


def store_cells(results_dir, cells):
    """Results of a study of which these cells are done."""
    with Store.write(database_path(results_dir, "tiny")) as store:
        for cell in cells:
            store.put(cell, OK, {})
        return results_from_store(STUDY, store)


def committed(tmp_path):
    """The exports of a whole study as a fresh clone has them, without its database."""
    exports.write(store_cells(tmp_path / "elsewhere", STUDY.cells()), tmp_path / "tiny")
    return {path: path.read_bytes() for path in (tmp_path / "tiny").iterdir()}


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fill_the_disk():
        with replacing(path) as unfinished:
            unfinished.write_text("ne")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fill_the_disk()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    path = tmp_path / "results" / "summary.md"
    path.parent.mkdir()
    path.symlink_to(outside)
    write_text(path, "theirs")
    assert (outside.read_text(), path.read_text(), path.is_symlink()) == ("mine", "theirs", False)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "plain", ""])
def test_a_spreadsheet_computes_nothing(tmp_path, text):
    write_csv(tmp_path / "cells.csv", pd.DataFrame({"message": [text], "seconds": [-1.5]}))
    read = pd.read_csv(tmp_path / "cells.csv", keep_default_na=False)
    assert read["message"][0].lstrip("'") == text
    assert not read["message"][0].startswith(("=", "+", "-", "@", "\t"))
    assert read["seconds"][0] == -1.5


def test_part_of_a_study_does_not_replace_the_whole(tmp_path):
    before = committed(tmp_path)
    part = store_cells(tmp_path / "other", STUDY.cells()[:1])
    with pytest.raises(StoreError, match=r"6 cells, of which 5 are nowhere else .*--results DIR"):
        exports.write(part, tmp_path / "tiny")
    assert {path: path.read_bytes() for path in (tmp_path / "tiny").iterdir()} == before


def test_a_run_of_a_part_is_refused_before_it_trains(tmp_path):
    before = committed(tmp_path)
    with pytest.raises(StoreError, match="nowhere else"):
        driver.run_study(
            STUDY,
            selection(seeds=1, limit=1),
            results_dir=tmp_path,
            options=driver.Options("cpu", quiet=True),
            command="test",
        )
    after = {path: path.read_bytes() for path in (tmp_path / "tiny").iterdir()}
    assert {path: after[path] for path in before} == before
    with Store.read(database_path(tmp_path, "tiny")) as store:
        assert store.statuses() == {}


def test_what_the_database_holds_is_not_lost(tmp_path):
    results = store_cells(tmp_path, STUDY.cells())
    exports.write(results, tmp_path / "tiny")
    require_no_loss(tmp_path / "tiny", set())


def test_the_same_cells_with_other_numbers_may_take_their_place(tmp_path):
    committed(tmp_path)
    cells = tmp_path / "tiny" / CELLS_FILE
    cells.write_text(cells.read_text().replace(STUDY.cells()[0].key, "0" * 64))
    require_no_loss(tmp_path / "tiny", {(c.variant.name, c.seed) for c in STUDY.cells()})


def test_another_file_of_the_same_name_does_not_take_its_results(tmp_path):
    mine, theirs = (tmp_path / name for name in ("mine", "theirs"))
    for folder in (mine, theirs):
        folder.mkdir()
    study = load_study(write_tiny(mine))
    other = load_study(write_tiny(theirs, TEXT.replace("width = 4", "width = 5")))
    with Store.write(tmp_path / "results.sqlite") as store:
        for found in (study, study, with_settings(study, {"epochs": 3})):
            driver._require_origin(found, store)
        with pytest.raises(StoreError) as caught:
            driver._require_origin(other, store)
        assert str(mine / "tiny.toml") in str(caught.value)
        assert str(theirs / "tiny.toml") in str(caught.value)
        (mine / "tiny.toml").unlink()  # it was moved, not copied
        driver._require_origin(other, store)
        assert store.origin() == theirs


def test_a_copy_of_a_file_is_the_same_study(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    with Store.write(tmp_path / "results.sqlite") as store:
        for folder in folders:
            folder.mkdir()
            driver._require_origin(load_study(write_tiny(folder)), store)
        assert store.origin() == folders[1]
