"""Means over seeds x images: against anova_lm, REML and what must not change them."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.formula.api import ols

from ablations.statistics import TooFewSeedsError, crossed_mean, image_mean
from ablations.statistics.crossed import combined_df, mean_squares, variance_df

positive = st.floats(0.01, 100.0)
error_arrays = st.tuples(st.integers(3, 5), st.integers(4, 9)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=positive)
)


def crossed_errors(rng, n_seeds=5, n_images=40, seed_sd=1.0, image_sd=1.0, cell_sd=1.0):
    return (
        20
        + seed_sd * rng.standard_normal((n_seeds, 1))
        + image_sd * rng.standard_normal(n_images)
        + cell_sd * rng.standard_normal((n_seeds, n_images))
    )


def long_table(errors):
    seed, image = np.indices(errors.shape)
    return pd.DataFrame({"error": errors.ravel(), "seed": seed.ravel(), "image": image.ravel()})


def test_mean_squares_are_those_of_anova_lm():
    errors = crossed_errors(np.random.default_rng(0), 4, 12)
    anova = sm.stats.anova_lm(ols("error ~ C(seed) + C(image)", long_table(errors)).fit())
    ours = mean_squares(errors)
    expected = anova["sum_sq"] / anova["df"]
    np.testing.assert_allclose(
        [ours.seed, ours.image, ours.cell],
        expected[["C(seed)", "C(image)", "Residual"]],
        rtol=1e-10,
    )


def test_standard_error_is_that_of_reml():
    """On balanced data with positive components REML and the mean squares agree exactly."""
    errors = crossed_errors(np.random.default_rng(3), 5, 12)
    table = long_table(errors).assign(everything=1)
    model = sm.MixedLM.from_formula(
        "error ~ 1",
        table,
        groups="everything",
        re_formula="0",
        vc_formula={"seed": "0 + C(seed)", "image": "0 + C(image)"},
    ).fit(reml=True, method="lbfgs")
    ours = crossed_mean(errors, scale="linear")
    assert ours.se == pytest.approx(float(model.bse_fe["Intercept"]), rel=1e-3)
    assert ours.components.cell == pytest.approx(model.scale, rel=1e-3)
    by_name = dict(zip(model.model.exog_vc.names, model.vcomp, strict=True))
    assert ours.components.seed == pytest.approx(by_name["seed"], rel=5e-3)
    assert ours.components.image == pytest.approx(by_name["image"], rel=5e-3)


def test_without_image_and_cell_noise_it_is_the_t_interval_of_the_seeds():
    seed_means = np.array([1.0, 1.3, 0.8, 1.1])
    errors = np.repeat(seed_means[:, None], 50, axis=1)
    interval = crossed_mean(errors, scale="linear")
    expected = stats.t.interval(0.95, 3, seed_means.mean(), stats.sem(seed_means))
    assert interval.df == pytest.approx(3)
    np.testing.assert_allclose([interval.low, interval.high], expected, rtol=1e-12)


def test_copies_of_one_seed_have_no_seed_variance():
    one = np.random.default_rng(1).chisquare(1, 300)
    interval = crossed_mean(np.tile(one, (6, 1)))
    assert interval.components.seed == pytest.approx(0, abs=1e-25)
    assert interval.components.cell == pytest.approx(0, abs=1e-25)
    assert interval.se == pytest.approx(stats.sem(one), rel=1e-9)
    alone = image_mean(one)
    np.testing.assert_allclose([interval.low, interval.high], [alone.low, alone.high], rtol=1e-9)


@given(error_arrays, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_order_of_seeds_and_images_does_not_matter(errors, random):
    seeds, images = list(range(len(errors))), list(range(errors.shape[1]))
    random.shuffle(seeds)
    random.shuffle(images)
    one, other = crossed_mean(errors), crossed_mean(errors[np.ix_(seeds, images)])
    np.testing.assert_allclose([one.low, one.high], [other.low, other.high], rtol=1e-6)


@given(error_arrays, st.floats(1e-3, 1e3))
@settings(max_examples=50, deadline=None)
def test_scaling_errors_scales_the_interval(errors, factor):
    for scale in ("log", "linear"):
        one = crossed_mean(errors, scale=scale)
        other = crossed_mean(errors * factor, scale=scale)
        np.testing.assert_allclose(
            [other.mean, other.low, other.high, other.se],
            np.multiply(factor, [one.mean, one.low, one.high, one.se]),
            rtol=1e-6,
            atol=1e-9 * factor,
        )


@given(error_arrays)
@settings(max_examples=50, deadline=None)
def test_variance_is_never_below_its_parts(errors):
    n_seeds, n_images = errors.shape
    squares = mean_squares(errors)
    se = crossed_mean(errors).se
    assert se**2 * n_seeds * n_images >= max(squares.seed, squares.image) * (1 - 1e-9)


@given(error_arrays)
@settings(max_examples=50, deadline=None)
def test_log_interval_holds_the_mean_and_is_positive(errors):
    interval = crossed_mean(errors)
    assert 0 < interval.low <= interval.mean * (1 + 1e-12)
    assert interval.high >= interval.mean * (1 - 1e-12)


def test_higher_confidence_is_wider():
    errors = crossed_errors(np.random.default_rng(5))
    narrow, wide = crossed_mean(errors, confidence=0.9), crossed_mean(errors, confidence=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_errors_that_are_all_zero_give_zero():
    interval = crossed_mean(np.zeros((3, 5)))
    assert (interval.mean, interval.low, interval.high) == (0, 0, 0)


def test_heavy_tails_leave_fewer_degrees_of_freedom_than_images():
    rng = np.random.default_rng(7)
    gaussian, heavy = rng.standard_normal(5000), np.exp(2 * rng.standard_normal(5000))
    assert variance_df(gaussian) == pytest.approx(5000, rel=0.1)
    assert variance_df(heavy) < 100


def test_variance_df_matches_the_spread_of_sample_variances():
    """The chi-square with these degrees of freedom has the relative variance that s^2 shows."""
    rng = np.random.default_rng(8)
    samples = rng.laplace(size=(20_000, 400))
    variances = samples.var(axis=1, ddof=1)
    spread = variances.var() / variances.mean() ** 2
    assert 2 / variance_df(rng.laplace(size=1_000_000)) * 1_000_000 / 400 == pytest.approx(
        spread, rel=0.05
    )


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_too_few_seeds_for_an_interval(n_seeds):
    with pytest.raises(TooFewSeedsError, match=f"at least 3 seeds, got {n_seeds}") as raised:
        crossed_mean(np.ones((n_seeds, 10)))
    assert raised.value.n_seeds == n_seeds


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        (np.ones(5), r"errors must have shape \(seeds, images\), got \(5,\)"),
        (np.ones((2, 3, 4)), r"errors must have shape \(seeds, images\)"),
        (np.ones((3, 1)), "errors needs at least 2 images, got 1"),
        (np.ones((0, 4)), "errors holds no seeds"),
        (np.where(np.eye(4) > 0, np.nan, 1), "errors holds 4 values that are NaN"),
        (np.where(np.eye(4) > 0, np.inf, 1), "errors holds 4 values that are NaN or infinite"),
        (-np.ones((4, 4)), "errors must be squared errors, which are never negative"),
    ],
)
def test_bad_errors_are_refused_by_name(errors, message):
    with pytest.raises(ValueError, match=message):
        crossed_mean(errors)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="scale 'sqrt' is not one of log, linear"):
        crossed_mean(np.ones((3, 4)), scale="sqrt")
    with pytest.raises(ValueError, match="confidence must lie strictly between 0 and 1"):
        crossed_mean(np.ones((3, 4)), confidence=95)


@pytest.mark.parametrize("size", [1e-165, 1e-200])
def test_contrasts_whose_squares_underflow_have_degrees_of_freedom(size):
    assert combined_df(size, (size / 2, 4.0), (size / 2, 9.0), 0.0) == 4.0


def test_degrees_of_freedom_do_not_depend_on_the_unit():
    values = np.random.default_rng(0).lognormal(size=500)
    assert variance_df(values * 1e-100) == pytest.approx(variance_df(values), rel=1e-12)
