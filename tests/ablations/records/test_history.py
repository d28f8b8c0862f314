"""Runs are told apart by what they were made with and by pauses; no cell is lost or counted twice."""

import datetime
import itertools
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.records import exports
from ablations.records.database import database_path
from ablations.records.history import PAUSE, runs_of, spelled_seeds
from ablations.records.store import Record, Store
from ablations.study.outcome import Outcome
from ablations.study.reader import parse_study
from ablations.study.study import ENGINE_VERSION
from tests.ablations.synthetic import synthetic_results
from tests.ablations.tiny import TEXT

STUDY = parse_study(TEXT, name="tiny", source="tiny.toml")
MIDNIGHT = datetime.datetime(2026, 1, 1)
OLD, NEW = {"git_commit": "a" * 40, "cpu": "x"}, {"git_commit": "b" * 40, "cpu": "x"}


def store(folder, *cells):
    """Cells of the tiny study: number, seconds after midnight, seconds of training, provenance, further facts."""
    with Store.write(database_path(folder, "tiny")) as written:
        for number, finished, seconds, provenance, *facts in cells:
            cell = STUDY.cells()[number]
            configuration = {**cell.configuration, **(facts[0] if facts else {})}
            ended = MIDNIGHT + datetime.timedelta(seconds=finished)
            outcome = Outcome("ok", seconds=seconds)
            written.put_record(
                Record(
                    cell.key if not facts else cell.key[::-1],
                    configuration,
                    outcome,
                    provenance,
                    ended.isoformat(sep=" "),
                )
            )


def seeds(runs):
    return [[cell.seed for cell in run.cells] for run in runs]


def test_nothing_has_no_runs(tmp_path):
    assert runs_of(STUDY, tmp_path) == []


def test_a_pause_begins_another_run(tmp_path):
    pause = PAUSE.total_seconds()
    store(tmp_path, (0, 10, 10, OLD), (1, 20, 10, OLD), (2, 31 + pause, 10, OLD))
    one, other = runs_of(STUDY, tmp_path)
    assert [len(one.cells), len(other.cells)] == [2, 1]
    assert (one.wall_seconds, other.wall_seconds) == (20, 10)
    assert one.ended == MIDNIGHT + datetime.timedelta(seconds=20)
    assert [cell.variant for cell in one.cells] == [v.name for v in STUDY.variants]


def test_a_cell_that_trains_long_is_no_pause(tmp_path):
    long = 3 * PAUSE.total_seconds()
    store(tmp_path, (0, 10, 10, OLD), (1, 10 + long, long, OLD))
    (run,) = runs_of(STUDY, tmp_path)
    assert run.wall_seconds == 10 + long


def test_cells_of_a_pack_share_its_time(tmp_path):
    """Three cells that trained together for an hour after a first one bear 20 minutes each."""
    store(tmp_path, (0, 10, 10, OLD), *((n, 3610, 1200, OLD) for n in (1, 2, 3)))
    (run,) = runs_of(STUDY, tmp_path)
    assert run.wall_seconds == 3610


def test_another_commit_or_engine_is_another_run_whatever_the_time(tmp_path):
    earlier = {"engine_version": ENGINE_VERSION - 1}
    store(
        tmp_path,
        (0, 10, 10, OLD),
        (2, 20, 10, NEW),
        (4, 30, 10, OLD),
        (1, 15, 10, OLD, earlier),
    )
    runs = runs_of(STUDY, tmp_path)
    assert [run.provenance["git_commit"][0] for run in runs] == ["a", "b", "a"]
    assert [run.cells[0].engine_version for run in runs] == [
        ENGINE_VERSION - 1,
        ENGINE_VERSION,
        ENGINE_VERSION,
    ]
    assert seeds(runs) == [[0], [1], [0, 2]]
    assert runs[0].cells[0].variant is None  # its key is none that the study has today


def test_exports_are_one_run_that_does_not_say_when(tmp_path):
    results = synthetic_results(2, 3, 10, epochs=1)
    exports.write(results, tmp_path / "tiny")
    (run,) = runs_of(STUDY, tmp_path)
    assert (len(run.cells), run.ended, run.wall_seconds) == (6, None, None)
    kept = json.loads((tmp_path / "tiny" / "provenance.json").read_text())
    assert run.provenance == kept


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5000), st.integers(0, 900), st.sampled_from([0, 1])),
        min_size=1,
        max_size=6,
    )
)
def test_every_cell_is_in_one_run_and_runs_have_no_pause(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("runs")
    store(folder, *((n, end, sec, (OLD, NEW)[which]) for n, (end, sec, which) in enumerate(drawn)))
    runs = runs_of(STUDY, folder)
    keys = [cell.key for run in runs for cell in run.cells]
    assert sorted(keys) == sorted(cell.key for cell in STUDY.cells()[: len(drawn)])
    assert [run.ended for run in runs] == sorted(run.ended for run in runs)
    for run in runs:
        assert len({json.dumps(cell.provenance) for cell in run.cells}) == 1
        ends = sorted(cell.finished for cell in run.cells)
        assert run.wall_seconds >= (ends[-1] - ends[0]).total_seconds()
        for one, next_end in itertools.pairwise(ends):
            together = [cell for cell in run.cells if cell.finished == next_end]
            busy = datetime.timedelta(seconds=sum(cell.seconds for cell in together))
            assert next_end - busy <= one + PAUSE


@given(st.sets(st.integers(0, 30), min_size=1))
def test_spelled_seeds_say_which(chosen):
    found = set()
    for part in spelled_seeds(chosen).split(", "):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    assert found == chosen
