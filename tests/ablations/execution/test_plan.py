"""A plan trains what is asked for and not done yet, nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.execution.cost import cell_seconds, duration, estimate, modelled_seconds
from ablations.execution.plan import make_plan, parse_seeds, select
from ablations.records.store import Store
from ablations.study.outcome import Outcome
from ablations.study.reader import load_study
from ablations.study.study import StudyError

QUICK = load_study("quick")


@pytest.fixture
def store(tmp_path):
    with Store.write(tmp_path / "results.sqlite") as store:
        yield store


def test_done_and_failed_cells_are_not_trained_again(store):
    cells = QUICK.cells()
    store.put(cells[0], Outcome("ok", seconds=3.0), {})
    store.put(cells[1], Outcome("diverged"), {})
    plan = make_plan(QUICK, store, device="cpu")
    assert (plan.done, plan.failed) == ((cells[0],), (cells[1],))
    assert plan.todo == tuple(cells[2:])
    assert plan.timings == {cells[0].variant.name: [3.0]}
    again = make_plan(QUICK, store, device="cpu", retry_failed=True)
    assert again.todo == tuple(cells[1:])


def test_timings_of_another_kind_of_device_do_not_count(store):
    store.put(QUICK.cells()[0], Outcome("ok", seconds=3.0, device="cuda:0"), {})
    assert make_plan(QUICK, store, device="cpu").timings == {}
    assert len(make_plan(QUICK, store, device="cuda").timings) == 1


def test_a_limit_takes_the_first_of_what_is_left(store):
    store.put(QUICK.cells()[0], Outcome("ok"), {})
    assert make_plan(QUICK, store, device="cpu", limit=2).todo == tuple(QUICK.cells()[1:3])


def test_more_seeds_than_the_study_has(store):
    for cell in QUICK.cells():
        store.put(cell, Outcome("ok"), {})
    plan = make_plan(QUICK, store, device="cpu", seeds=range(7))
    assert {cell.seed for cell in plan.todo} == {5, 6}


@pytest.mark.parametrize(
    ("where", "names", "seeds"),
    [
        (["pooling=max"], {"global-max-pooling", "coordconv"}, 5),
        (["pooling=max", "coordinates=none"], {"global-max-pooling"}, 5),
        (["variant=simple,coordconv", "seed=0,4"], {"simple", "coordconv"}, 2),
        (["width=48"], {"simple", "global-max-pooling", "coordconv"}, 5),
    ],
)
def test_conditions_select_cells(where, names, seeds):
    chosen = select(QUICK.cells(), where)
    assert {cell.variant.name for cell in chosen} == names
    assert len(chosen) == len(names) * seeds


def test_conditions_that_name_nothing_are_told_all_at_once():
    with pytest.raises(StudyError) as caught:
        select(QUICK.cells(), ["pool=max", "pooling=maxi", "width"])
    assert len(caught.value.problems) == 3
    assert "did you mean 'pooling'" in str(caught.value)
    assert "did you mean 'max'" in str(caught.value)
    with pytest.raises(StudyError, match="some cell meets together"):
        select(QUICK.cells(), ["pooling=flatten", "coordinates=cartesian"])


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", (0, 1, 2)), ("3,5", (3, 5)), ("0-2,7", (0, 1, 2, 7)), ("7-7", (7,))]
)
def test_seeds_by_number_or_by_name(text, seeds):
    assert parse_seeds(text) == seeds


@given(st.text(alphabet="0123-, x", max_size=6))
def test_seeds_are_distinct_and_not_negative_or_refused(text):
    try:
        seeds = parse_seeds(text)
    except StudyError as error:
        assert "--seeds" in str(error)
    else:
        assert seeds
        assert len(set(seeds)) == len(seeds)
        assert min(seeds) >= 0


@pytest.mark.parametrize(
    "text", ["0-99999999999", "99999999999999999999-99999999999999999999", "0"]
)
def test_seeds_that_no_run_could_train_are_refused(text):
    with pytest.raises(StudyError, match="--seeds"):
        parse_seeds(text)


def test_python_says_seeds_and_conditions_as_a_study_and_a_shell_do():
    plan = make_plan(QUICK, None, device="cpu", seeds=2, where="variant=simple")
    assert [cell.seed for cell in plan.todo] == [0, 1]
    assert {cell.variant.name for cell in plan.todo} == {"simple"}


@pytest.mark.parametrize("seeds", [0, [], [-1], [1, 1], [True], "3", 2.0])
def test_python_is_told_what_seeds_and_limits_are_legal(seeds):
    with pytest.raises(StudyError) as caught:
        make_plan(QUICK, None, device="cpu", seeds=seeds, limit=0)
    assert [problem.key for problem in caught.value.problems] == ["seeds", "limit"]


def test_measured_cells_set_the_scale_of_those_that_are_not():
    cells = QUICK.cells([0])
    models = {cell.variant.name: modelled_seconds(cell) for cell in cells}
    expected = cell_seconds(cells, {"simple": [2 * models["simple"]] * 3})
    assert expected == pytest.approx({cell.key: 2 * models[cell.variant.name] for cell in cells})


def test_a_range_of_time_is_narrower_when_it_is_measured():
    cells = QUICK.cells()
    guess, measured = estimate(cells, {}, 2), estimate(cells, {"simple": [10.0]}, 2)
    assert guess.high / guess.low > measured.high / measured.low
    assert "rough guess" in str(guess)
    assert "finished cells" in str(measured)
    assert estimate([], {}, 2).high == 0


def test_no_number_of_workers_ends_before_the_longest_cell():
    cells = QUICK.cells([0])
    longest = max(map(modelled_seconds, cells))
    assert estimate(cells, {}, 1000).high == pytest.approx(3 * longest)


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "5 s"), (120, "2.0 min"), (7200, "2.0 h")])
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text
