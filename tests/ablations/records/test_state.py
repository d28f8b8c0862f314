"""What `list` and the index count is what every other verb reads: the database, else the exports."""

import pandas as pd
import pytest

from ablations.records import exports
from ablations.records.database import database_path
from ablations.records.state import study_state
from ablations.records.store import Store
from ablations.study.outcome import Outcome
from ablations.study.reader import parse_study
from tests.ablations.synthetic import synthetic_results
from tests.ablations.tiny import TEXT


@pytest.fixture
def study():
    return parse_study(TEXT, name="tiny", source="tiny.toml")


def counts(study, folder):
    state = study_state(study, folder)
    assert state.cells == len(study.cells()) == 6
    return state.done, state.failed, state.stale, state.todo


def export(study, folder, keys):
    """Exports of a made-up run of all the study's cells but the last, under these keys, one failed."""
    results = synthetic_results(1, 5, 10, epochs=2, failures={(0, 4): "oom"})
    cells = study.cells()[:5]
    frame = results.cells.assign(
        key=keys, variant=[c.variant.name for c in cells], seed=[c.seed for c in cells]
    )
    exports.write(results, folder / "tiny")
    frame.to_csv(folder / "tiny" / "cells.csv", index=False)


def test_nothing_is_there(study, tmp_path):
    assert counts(study, tmp_path) == (0, 0, 0, 6)


def test_exports_are_counted_where_there_is_no_database(study, tmp_path):
    export(study, tmp_path, [cell.key for cell in study.cells()[:5]])
    assert counts(study, tmp_path) == (4, 1, 0, 1)


def test_exports_of_an_earlier_engine_are_stale_and_not_missing(study, tmp_path):
    export(study, tmp_path, [f"{i:064x}" for i in range(5)])
    assert counts(study, tmp_path) == (0, 0, 5, 1)


def test_a_database_goes_before_exports(study, tmp_path):
    export(study, tmp_path, [cell.key for cell in study.cells()[:5]])
    with Store.write(database_path(tmp_path, "tiny")) as store:
        assert counts(study, tmp_path) == (4, 1, 0, 1)  # it is empty still
        store.put(study.cells()[5], Outcome("timeout", "too long"), {})
    assert counts(study, tmp_path) == (0, 1, 0, 5)
    assert len(pd.read_csv(tmp_path / "tiny" / "cells.csv")) == 5
