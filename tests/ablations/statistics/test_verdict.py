"""One rule from both sides: better and worse swap, all else stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.statistics import Known, compare_estimators, verdict
from ablations.statistics.verdict import MIRRORED


def of(comparison, margin=1.25):
    return verdict(comparison, comparison.p, comparison.p_different(margin))


@given(st.integers(0, 2**32 - 1), st.floats(0.4, 2.5), st.floats(0.01, 0.6))
@settings(max_examples=60, deadline=None)
def test_verdicts_are_the_same_from_both_sides(seed, ratio, seed_sd):
    rng = np.random.default_rng(seed)
    difficulty = rng.chisquare(3, 200)
    a, b = (
        rng.lognormal(0, seed_sd, (n, 1)) * difficulty * rng.chisquare(3, (n, 200)) for n in (5, 6)
    )
    for one, other in ((ratio * a, b), (ratio * a, difficulty), (ratio * a, Known(3.0))):
        found = of(compare_estimators(one, other))
        assert of(compare_estimators(other, one)) == MIRRORED.get(found, found)


def test_a_sure_difference_within_the_margin_is_equivalent_from_both_sides():
    a, b = Known(1.07, 0.001), Known(1.0, 0.001)
    assert compare_estimators(a, b).p < 1e-6
    assert of(compare_estimators(a, b)) == of(compare_estimators(b, a)) == "equivalent"


@pytest.mark.parametrize("n_seeds", [3, 4])
def test_fewer_than_five_seeds_have_no_verdict(n_seeds):
    rng = np.random.default_rng(0)
    errors = rng.uniform(9, 11, (n_seeds, 500))
    assert of(compare_estimators(errors, Known(1.0))) == "too few seeds"
    assert verdict(None, 0.0, 0.0) == "too few seeds"


def test_clear_cases():
    errors = np.random.default_rng(1).uniform(9, 11, (5, 500))
    for reference, expected in ((1.0, "worse"), (100.0, "better"), (10.0, "equivalent")):
        assert of(compare_estimators(errors, Known(reference))) == expected
    wide = errors * np.exp([[-1.0], [1.0], [0.5], [-0.5], [0.1]])
    assert of(compare_estimators(wide, Known(10.0))) == "inconclusive"
