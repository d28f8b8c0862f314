"""Adjusted p-values and the failure policy, against published numbers and scipy's own."""

import numpy as np
import pytest
from scipy import stats

from ablations.statistics import adjust, convergence, score_failures


def test_holm_by_hand():
    """Holm (1979): p sorted, times the hypotheses left, made monotone; NaN is no hypothesis."""
    adjusted = adjust([0.01, np.nan, 0.04, 0.03, 0.005], "holm")
    np.testing.assert_allclose(adjusted, [0.03, np.nan, 0.06, 0.06, 0.02])
    assert np.isnan(adjust([np.nan, np.nan], "holm")).all()


def test_benjamini_hochberg_on_the_paper_s_example():
    """Benjamini and Hochberg (1995), sec. 4: 15 p-values, of which 4 are rejected at 0.05."""
    p = [
        *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
        *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
    ]
    assert (adjust(p, "fdr_bh") <= 0.05).sum() == 4
    assert (adjust(p, "holm") <= 0.05).sum() == 3  # as the paper reports of Bonferroni's kin


def test_convergence_is_clopper_pearson():
    for n_ok in (0, 7, 10):
        expected = stats.binomtest(n_ok, 10).proportion_ci(0.95, method="exact")
        found = convergence(np.arange(10) < n_ok)
        assert (found.n_ok, found.n_seeds) == (n_ok, 10)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    with pytest.raises(ValueError, match="no cells"):
        convergence(np.array([], dtype=bool))


def test_a_failed_cell_counts_as_the_constant_predictor():
    errors = np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, 4.0]])
    ok = np.array([True, False, True])
    scored = score_failures(errors, ok, np.array([50.0, 70.0]))
    np.testing.assert_array_equal(scored, [[1, 2], [50, 70], [3, 4]])
    np.testing.assert_array_equal(score_failures(errors[[0, 2]], ok[[0, 2]], None), errors[[0, 2]])
    with pytest.raises(ValueError, match="1 cells failed and there is no `constant` yardstick"):
        score_failures(errors, ok, None)
    with pytest.raises(ValueError, match=r"ok must have shape \(3,\)"):
        score_failures(errors, ok[:2], None)
