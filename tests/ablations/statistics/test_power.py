"""Power, adjusted p-values and the failure policy, against published numbers and scipy's own."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from ablations.statistics import (
    Components,
    adjust,
    compare_to_baseline,
    convergence,
    minimum_detectable_ratio,
    required_seeds,
    score_failures,
)
from ablations.statistics.power import planned_uncertainty


def test_minimum_detectable_ratio_is_that_of_the_one_sample_t_test():
    n, sd = 9, 0.4
    effect = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    expected = np.exp(effect * sd)
    assert minimum_detectable_ratio(sd / np.sqrt(n), n - 1) == pytest.approx(expected, rel=1e-4)


def test_minimum_detectable_ratio_by_simulation():
    rng = np.random.default_rng(0)
    n, sd = 5, 0.3
    shift = np.log(minimum_detectable_ratio(sd / np.sqrt(n), n - 1))
    p = stats.ttest_1samp(rng.normal(shift, sd, (20_000, n)), 0, axis=1).pvalue
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.01)


def test_required_seeds_where_only_seeds_matter_is_the_t_test_sample_size():
    components = Components(seed=0.3**2, image=0.0, cell=0.0, image_df=1e6)
    n = TTestPower().solve_power(effect_size=np.log(1.5) / 0.3, alpha=0.05, power=0.8)
    assert required_seeds(1.5, components, 1000).n_seeds == int(np.ceil(n))
    assert required_seeds(1 / 1.5, components, 1000).n_seeds == int(np.ceil(n))


def test_images_set_a_floor_that_seeds_cannot_pass():
    components = Components(seed=0.1, image=50.0, cell=5.0, image_df=499)
    plan = required_seeds(1.3, components, 500)
    assert plan.n_seeds is None
    assert plan.smallest_ratio == pytest.approx(np.exp(2.805 * np.sqrt(50 / 500)), rel=5e-3)
    assert required_seeds(1.3, components, 50_000).n_seeds is not None


def test_a_larger_ratio_never_needs_more_seeds():
    components = Components(seed=0.1, image=1.0, cell=5.0, image_df=1999)
    needed = [required_seeds(ratio, components, 2000).n_seeds for ratio in (1.1, 1.2, 1.5, 2, 4)]
    assert needed == sorted(needed, reverse=True)
    assert needed[-1] == 3


def test_the_planned_uncertainty_of_a_pilot_is_its_own():
    rng = np.random.default_rng(1)
    difficulty = rng.chisquare(3, 800)
    errors = rng.lognormal(0, 0.3, (6, 1)) * difficulty * rng.chisquare(3, (6, 800))
    comparison = compare_to_baseline(errors, difficulty * rng.chisquare(3, 800))
    assert comparison.components.seed > 0
    se, df = planned_uncertainty(comparison.components, 6, 800, sides=1)
    assert se == pytest.approx(comparison.ratio.se, rel=1e-9)
    assert df == pytest.approx(comparison.ratio.df, rel=1e-9)


def test_power_bad_input():
    components = Components(0.1, 0.1, 0.1, 99)
    with pytest.raises(ValueError, match="ratio must be positive and not 1"):
        required_seeds(1.0, components, 100)
    with pytest.raises(ValueError, match="power must lie between"):
        minimum_detectable_ratio(0.1, 5, power=0.01)


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
