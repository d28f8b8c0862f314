"""Factor importance: sums of squares of anova_lm, exact noise-free cases, unbiasedness under noise."""

import itertools

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.formula.api import ols

from ablations.statistics import factor_importance
from ablations.statistics.factors import decompose, effect_variances, noise_variances

GRID = {
    "coordinates": ["none", "cartesian", "radial"],
    "pooling": ["max", "average"],
    "width": [8, 48],
}


def grid_levels(grid=GRID):
    rows = list(itertools.product(*grid.values()))
    return pd.DataFrame(rows, columns=list(grid), index=[f"v{i}" for i in range(len(rows))])


def noisy_errors(log_mse, rng, n_seeds=5, n_images=100, seed_sd=0.3):
    difficulty = rng.lognormal(0, 0.5, n_images)
    return {
        name: np.exp(value)
        * rng.lognormal(0, seed_sd, (n_seeds, 1))
        * difficulty
        * rng.chisquare(2, (n_seeds, n_images))
        for name, value in log_mse.items()
    }


def noiseless_errors(log_mse, n_seeds=3, n_images=4):
    return {name: np.full((n_seeds, n_images), np.exp(value)) for name, value in log_mse.items()}


def test_effects_add_up_and_match_the_sums_of_squares_of_anova_lm():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((3, 2, 4))
    np.testing.assert_allclose(sum(decompose(y, 3).values()), y)
    a, b, c = np.indices(y.shape)
    table = pd.DataFrame({"y": y.ravel(), "a": a.ravel(), "b": b.ravel(), "c": c.ravel()})
    # the saturated model has no residual, so type-I sums of squares of a balanced grid are enough
    anova = sm.stats.anova_lm(ols("y ~ C(a) * C(b)", table).fit())
    ours = effect_variances(y, 3)
    np.testing.assert_allclose(
        [ours[0,] * y.size, ours[1,] * y.size, ours[0, 1] * y.size],
        anova["sum_sq"][["C(a)", "C(b)", "C(a):C(b)"]],
    )
    residual = sum(v for term, v in ours.items() if 2 in term) * y.size
    assert residual == pytest.approx(anova["sum_sq"]["Residual"])


def test_shares_of_a_grid_without_noise_are_exact():
    """log MSE = 2 [coordinates none] + 1 [pooling max]: variances 4 * 2/9 and 1/4, no interaction."""
    levels = grid_levels()
    log_mse = 2.0 * (levels["coordinates"] == "none") + 1.0 * (levels["pooling"] == "max")
    found = factor_importance(
        levels, noiseless_errors(log_mse), n_boot=20, rng=np.random.default_rng(0)
    )
    share = found.table.set_index(["kind", "term"])["share"]
    total = 8 / 9 + 1 / 4
    assert share["effect", "coordinates"] == pytest.approx(8 / 9 / total)
    assert share["effect", "pooling"] == pytest.approx(1 / 4 / total)
    assert share["effect", "coordinates x pooling"] == pytest.approx(0, abs=1e-12)
    assert share["effect", "width"] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(
        share["shapley"], share["effect"][["coordinates", "pooling", "width"]], atol=1e-12
    )
    assert found.noise_share == pytest.approx(0, abs=1e-12)


def test_an_interaction_is_split_evenly_by_shapley():
    levels = grid_levels({"a": [0, 1], "b": [0, 1]})
    log_mse = pd.Series([1.0, -1.0, -1.0, 1.0], index=levels.index)
    table = factor_importance(
        levels, noiseless_errors(log_mse), n_boot=20, rng=np.random.default_rng(0)
    ).table.set_index(["kind", "term"])["share"]
    assert table["effect", "a x b"] == pytest.approx(1)
    np.testing.assert_allclose(table["shapley"][["a", "b"]], 0.5)


def test_shares_add_up_and_rows_may_come_in_any_order():
    rng = np.random.default_rng(1)
    levels = grid_levels()
    errors = noisy_errors(pd.Series(rng.normal(0, 1, len(levels)), index=levels.index), rng)
    one = factor_importance(levels, errors, n_boot=50, rng=np.random.default_rng(0)).table
    sums = one.groupby("kind")["share"].sum()
    np.testing.assert_allclose(sums, 1)
    shuffled = levels.sample(frac=1, random_state=3)
    other = factor_importance(shuffled, errors, n_boot=50, rng=np.random.default_rng(0)).table
    np.testing.assert_allclose(
        one.set_index(["kind", "term"])["share"].sort_index(),
        other.set_index(["kind", "term"])["share"].sort_index(),
    )


def test_subtracting_noise_leaves_no_bias():
    """With no factor at work each effect's variance is noise alone: corrected, it averages 0."""
    rng = np.random.default_rng(2)
    shape = (3, 2)
    raw, corrected = [], []
    for _ in range(300):
        errors = noisy_errors(dict.fromkeys("abcdef", 0.0), rng, n_images=60)
        observed = effect_variances(
            np.log([e.mean() for e in errors.values()]).reshape(shape), len(shape)
        )
        noise = noise_variances(list(errors.values()), shape)
        raw.append([observed[term] for term in sorted(noise)])
        corrected.append([observed[term] - noise[term] for term in sorted(noise)])
    bias = np.mean(corrected, axis=0)
    standard_error = np.std(corrected, axis=0) / np.sqrt(len(corrected))
    assert (np.abs(bias) < 3 * standard_error).all()
    assert (np.abs(bias) < 0.15 * np.mean(raw, axis=0)).all()


def test_interval_holds_the_true_share():
    rng = np.random.default_rng(3)
    levels = grid_levels({"a": [0, 1, 2], "b": [0, 1]})
    log_mse = 0.8 * levels["a"] + 0.4 * levels["b"]
    true_share = 0.64 * (2 / 3) / (0.64 * (2 / 3) + 0.16 / 4)
    held = 0
    for _ in range(60):
        table = factor_importance(levels, noisy_errors(log_mse, rng), n_boot=200, rng=rng).table
        row = table[(table["term"] == "a") & (table["kind"] == "effect")].iloc[0]
        held += row["low"] <= true_share <= row["high"]
    assert held >= 54


def test_two_seeds_give_shares_without_interval():
    levels = grid_levels({"a": [0, 1], "b": [0, 1]})
    rng = np.random.default_rng(5)
    errors = noisy_errors(2.0 * levels["a"], rng, n_seeds=2)
    table = factor_importance(levels, errors, rng=rng).table
    assert table["share"].notna().all()
    assert table[["low", "high"]].isna().all(axis=None)


def test_an_incomplete_grid_gets_type_two_sums_of_squares_and_names_what_is_missing():
    rng = np.random.default_rng(6)
    levels = grid_levels({"a": ["x", "y", "z"], "b": [1, 2]}).drop(index="v3")
    errors = noisy_errors({name: rng.normal() for name in levels.index}, rng)
    found = factor_importance(levels, errors, rng=rng)
    assert found.method == "type-II ANOVA"
    assert "the grid lacks a=y, b=2" in found.note
    long = pd.DataFrame(
        [
            {"y": np.log(row.mean()), "a": levels["a"][name], "b": levels["b"][name]}
            for name in levels.index
            for row in errors[name]
        ]
    )
    full, without_a = ols("y ~ C(a) + C(b)", long).fit(), ols("y ~ C(b)", long).fit()
    sum_of_squares = without_a.ssr - full.ssr
    row = found.table.set_index("term").loc["a"]
    assert row["sum_of_squares"] == pytest.approx(sum_of_squares)
    omega = (sum_of_squares - 2 * full.mse_resid) / (full.centered_tss + full.mse_resid)
    assert row["omega_squared"] == pytest.approx(omega)


def test_factors_that_always_change_together_cannot_be_told_apart():
    levels = pd.DataFrame({"a": ["x", "y"], "b": [1, 2]}, index=["v0", "v1"])
    rng = np.random.default_rng(7)
    with pytest.raises(ValueError, match="cannot be told apart"):
        factor_importance(levels, noisy_errors({"v0": 0.0, "v1": 1.0}, rng), rng=rng)


def test_what_has_no_importance_is_refused():
    rng = np.random.default_rng(8)
    levels = grid_levels({"a": [0, 1], "b": [0]})
    with pytest.raises(ValueError, match="at least 2 seeds in every variant"):
        factor_importance(levels, noisy_errors({"v0": 0.0, "v1": 1.0}, rng, n_seeds=1), rng=rng)
    with pytest.raises(ValueError, match="no factor has two levels"):
        factor_importance(levels[["b"]], noisy_errors({"v0": 0.0, "v1": 1.0}, rng), rng=rng)
    same = np.random.default_rng(0).chisquare(2, (3, 50))
    with pytest.raises(ValueError, match="not estimable: seeds and images explain"):
        factor_importance(levels, {"v0": same, "v1": same}, rng=rng)
