"""What a user asks for is what a run is about, and every mistake in it is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.study.reader import load_study
from ablations.study.selection import parse_seeds, parse_shard, select, selection
from ablations.study.study import StudyError

QUICK = load_study("quick")


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
    cells = selection(seeds=2, where="variant=simple").cells(QUICK)
    assert [cell.seed for cell in cells] == [0, 1]
    assert {cell.variant.name for cell in cells} == {"simple"}


@pytest.mark.parametrize("seeds", [0, [], [-1], [1, 1], [True], "3", 2.0])
def test_python_is_told_what_seeds_and_limits_are_legal(seeds):
    with pytest.raises(StudyError) as caught:
        selection(seeds=seeds, limit=0)
    assert [problem.key for problem in caught.value.problems] == ["seeds", "limit"]


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7, 100])
def test_shards_are_equal_parts_that_make_the_whole(parts):
    shards = [selection(shard=(i, parts)).cells(QUICK) for i in range(1, parts + 1)]
    keys = [cell.key for cells in shards for cell in cells]
    assert sorted(keys) == sorted(cell.key for cell in QUICK.cells())
    assert max(map(len, shards)) - min(map(len, shards)) <= len(QUICK.variants)


def test_no_shard_has_all_the_cells_that_take_long():
    shards = [selection(seeds=6, shard=(i, 3)).cells(QUICK) for i in (1, 2, 3)]
    for cells in shards:
        assert sum(cell.variant.name == "simple" for cell in cells) == 2


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "1/99999", "-1/2"])
def test_a_shard_that_there_is_not_is_refused(text):
    with pytest.raises(StudyError, match="such as 2/8"):
        selection(shard=parse_shard(text))
