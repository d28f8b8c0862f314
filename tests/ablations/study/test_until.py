"""What `--until` says is read or refused with its legal forms, and looks are known before the first."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ablations.study.reader import NAME, load_study
from ablations.study.selection import selection
from ablations.study.study import StudyError
from ablations.study.until import Looks, Target, Until, look_seeds, parse_until, seeds_in_order

QUICK = load_study("quick")
NAMES = st.from_regex(NAME, fullmatch=True)
PERCENTS = st.floats(0, 1000, exclude_min=True)
TARGETS = st.builds(Target, st.none() | NAMES, st.none() | PERCENTS)


@given(TARGETS)
@example(Target("verdict", None))
@example(Target("ratio", 10.0))
@example(Target(None, 5e-324))
def test_a_target_is_read_as_it_is_written(target):
    assert parse_until([str(target)]) == Until((target,))


@given(st.lists(st.text(alphabet="rationwhvedc 0123.%-", max_size=25), min_size=1, max_size=3))
def test_any_text_is_read_or_refused_with_the_legal_forms(texts):
    try:
        until = parse_until(texts)
    except StudyError as error:
        assert all(p.key == "--until" and "ratio within N%" in str(p) for p in error.problems)
    else:
        assert 1 <= len(until.targets) <= len(texts)
        assert parse_until(map(str, until.targets)) == until


@pytest.mark.parametrize(
    "text",
    [
        *("", "ratio", "ratio within", "ratio within 10", "ratio within %", "within 10%"),
        *("ratio within 0%", "ratio within -1%", "ratio within nan%", "ratio within 1e9%"),
        *("verdicts", "a b verdict", "mse within 10%", "ratio within 10% verdict"),
    ],
)
def test_what_is_no_target(text):
    with pytest.raises(StudyError, match=r"expected '.VARIANT. ratio within N%' or"):
        parse_until([text])


def test_all_mistakes_are_told_at_once():
    with pytest.raises(StudyError) as caught:
        parse_until(["ratio", "verdict?"])
    assert len(caught.value.problems) == 2
    with pytest.raises(StudyError, match="--max-seeds: 12 is not legal; expected --until beside"):
        parse_until([], 12)
    with pytest.raises(StudyError) as caught:
        parse_until(["coordcov verdict"], 3).looks(QUICK, None)
    assert "did you mean 'coordconv'" in str(caught.value)
    assert "--max-seeds: 3 is not legal; expected from 5" in str(caught.value)
    with pytest.raises(StudyError) as caught:
        parse_until(["verdict"]).require_alone(
            selection(seeds=3, shard=(1, 2), limit=4, where="seed=1")
        )
    assert [p.key for p in caught.value.problems] == [
        *("--seeds", "--shard", "--limit", "--where seed")
    ]


def test_nothing_is_asked_for():
    assert parse_until([]) is None


@given(st.integers(5, 100), st.integers(0, 900))
def test_looks_grow_by_about_half_from_the_first_to_the_most(first, more):
    seeds = look_seeds(first, first + more)
    assert (seeds[0], seeds[-1]) == (first, first + more)
    growth = [b / a for a, b in pairwise(seeds)]
    assert all(g > 1 for g in growth)
    if first + more >= 2 * first:
        assert all(1.2 < g < 1.9 for g in growth)


def test_the_first_look_has_the_seeds_of_the_study():
    until = parse_until(["verdict"])
    assert until.looks(QUICK, None) == Looks((5, 8, 11, 17, 26, 40), ("verdict",))
    assert until.looks(replace(QUICK, seeds=(0, 1)), None).seeds[0] == 5
    assert until.looks(replace(QUICK, seeds=tuple(range(10))), None).seeds == (10, 16, 25, 40)
    assert until.looks(replace(QUICK, seeds=tuple(range(50))), None).seeds == (50,)
    assert seeds_in_order(replace(QUICK, seeds=(2, 7)), 5) == (2, 7, 0, 1, 3)


def test_looks_stay_as_they_were_decided():
    earlier = Looks((5, 8, 12), ("verdict",))
    wider = parse_until(["ratio within 10%", "verdict"])
    assert wider.looks(QUICK, earlier) == Looks((5, 8, 12), ("verdict", "ratio within 10%"))
    fewer = parse_until(["verdict"], 8)
    assert fewer.looks(QUICK, earlier) == earlier
    assert fewer.within_cap(earlier) == (5, 8)
    with pytest.raises(StudyError, match=r"--max-seeds: 40 .* one of 5, 8, 12, where an earlier"):
        parse_until(["verdict"], 40).looks(QUICK, earlier)
