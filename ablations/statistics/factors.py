"""Which factor buys how much: shares of the variance of log MSE over a study's grid.

A balanced grid gets an exact functional ANOVA, anything else a type-II ANOVA of statsmodels.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import statsmodels.api as sm
from scipy import special
from statsmodels.formula.api import ols

from ablations.statistics import bootstrap
from ablations.statistics.crossed import MINIMUM_SEEDS, FloatArray, as_errors, mean_squares

Term = tuple[int, ...]  # factors of an effect, by position
MOST_NOISE = 0.5
ROUNDING = 1e-12  # of the variance of log MSE
Method = Literal["functional ANOVA", "type-II ANOVA"]


@dataclass(frozen=True)
class Importance:
    """Shares of the variance of log MSE, a row a term.

    Functional ANOVA: columns `term`, `kind` (`effect` of the factors joined by ` x `, or `shapley` of one
    factor), `share`, `low`, `high`; the shares of the effects add up to 1, and so do Shapley's. As noise is
    subtracted, the share of an effect that is not there may be slightly below 0: read it as none.
    Type-II ANOVA: `term`, `kind`, `sum_of_squares`, `df`, `f`, `p`, `omega_squared`.
    `noise_share`: part of the raw variance that seeds and images explain.
    """

    method: Method
    table: pd.DataFrame
    noise_share: float
    note: str


def decompose(values: FloatArray, n_factors: int) -> dict[Term, FloatArray]:
    """Effects of a full grid: `values (n_1, ..., n_f, ...)` -> term -> its effect, averaged axes kept as 1.

    The exact inclusion-exclusion of means (Hooker 2007; Hutter et al. 2014): along each factor's axis a
    value splits into its mean and the deviation from it. The effects add up to `values`.
    """
    effects: dict[Term, FloatArray] = {(): values}
    for axis in range(n_factors):
        split: dict[Term, FloatArray] = {}
        for term, effect in effects.items():
            average = effect.mean(axis=axis, keepdims=True)
            split[term] = average
            split[(*term, axis)] = effect - average
        effects = split
    return effects


def effect_variances(values: FloatArray, n_factors: int) -> dict[Term, FloatArray]:
    """Variance over the grid of each effect but the grand mean, of the shape of the trailing axes."""
    axes = tuple(range(n_factors))
    return {
        term: np.asarray((effect**2).mean(axis=axes))
        for term, effect in decompose(values, n_factors).items()
        if term
    }


def factor_importance(
    levels: pd.DataFrame,
    errors: Mapping[str, npt.ArrayLike],
    *,
    n_boot: int = 2000,
    rng: np.random.Generator,
    confidence: float = 0.95,
) -> Importance:
    """Importance of each factor for the log of the mean squared error.

    `levels`: a row a variant (its index), a column a factor; `errors`: variant -> squared errors `(K, M)` on
    shared images. Where every combination of levels is there once the decomposition is exact, with the
    variance that seeds and images add subtracted from every share, and intervals by the crossed bootstrap (NaN
    for fewer than 3 seeds). Otherwise type-II sums of squares of log MSE per seed, and a note that names the
    missing combinations. Factors with one level are left out.

    Raises ValueError for fewer than 2 seeds, no factor with 2 levels, factors that cannot be told apart, and where
    noise explains more than half of the variance: shares of the rest are then not estimable.
    """
    arrays = {name: as_errors(errors[name], f"errors of {name!r}") for name in levels.index}
    varied = [factor for factor in levels.columns if levels[factor].nunique() > 1]
    if not varied:
        raise ValueError("no factor has two levels or more")
    fewest = min(len(values) for values in arrays.values())
    if fewest < 2:
        raise ValueError("factor importance needs at least 2 seeds in every variant")
    if any(values.mean(axis=1).min() == 0 for values in arrays.values()):
        raise ValueError("log MSE is undefined: a cell's errors are all 0")
    present = levels[varied]
    missing = missing_combinations(present)
    if missing or present.duplicated().any():
        return _type_two(present, arrays, missing)
    return _functional(present, arrays, n_boot, rng, confidence)


def missing_combinations(levels: pd.DataFrame) -> list[str]:
    """Combinations of the levels in `levels` that have no row, as `factor=level, ...`."""
    present = set(levels.itertuples(index=False, name=None))
    grid = itertools.product(*(levels[factor].unique() for factor in levels.columns))
    return [
        ", ".join(f"{factor}={level}" for factor, level in zip(levels.columns, cell, strict=True))
        for cell in grid
        if cell not in present
    ]


def _functional(
    levels: pd.DataFrame,
    errors: Mapping[str, FloatArray],
    n_boot: int,
    rng: np.random.Generator,
    confidence: float,
) -> Importance:
    factors = list(levels.columns)
    codes = [pd.factorize(levels[factor])[0] for factor in factors]
    shape = tuple(int(code.max()) + 1 for code in codes)
    position = dict(zip(levels.index, np.ravel_multi_index(codes, shape), strict=True))
    names = sorted(errors, key=lambda name: position[name])

    def on_grid(rows: Sequence[FloatArray | float]) -> FloatArray:
        stacked = np.stack([np.asarray(row) for row in rows])
        return stacked.reshape(*shape, *stacked.shape[1:])

    observed = effect_variances(on_grid([np.log(errors[n].mean()) for n in names]), len(shape))
    noise = noise_variances([errors[n] for n in names], shape)
    estimate = {term: float(observed[term] - noise[term]) for term in observed}
    total = sum(estimate.values())
    raw_total = float(sum(observed.values()))
    _refuse_noise(1 - total / raw_total if raw_total > ROUNDING else 1.0)

    fewest = min(len(values) for values in errors.values())
    if fewest >= MINIMUM_SEEDS:
        resamples = bootstrap.replicates(errors, bootstrap.mean, n_boot, rng)
        drawn = effect_variances(on_grid([np.log(resamples[n]) for n in names]), len(shape))
        # A resample carries the noise twice, once from the run and once from resampling: what it adds on
        # average is taken off, so that the resamples scatter about the estimate.
        centred = {term: drawn[term] - drawn[term].mean() + estimate[term] for term in drawn}
        tail = _tail(fewest, len(names), confidence)
    else:
        centred = {term: np.full(1, np.nan) for term in observed}
        tail = (1 - confidence) / 2
    centred_total = np.sum(list(centred.values()), axis=0)

    def row(term: str, kind: str, weights: Mapping[Term, float]) -> dict[str, object]:
        share = sum(weight * estimate[t] for t, weight in weights.items()) / total
        scatter = np.sum([w * centred[t] for t, w in weights.items()], axis=0) / centred_total
        low, high = np.quantile(scatter, [tail, 1 - tail])
        return {"term": term, "kind": kind, "share": share, "low": low, "high": high}

    terms = sorted(estimate, key=lambda term: (len(term), term))
    rows = [row(" x ".join(factors[i] for i in term), "effect", {term: 1.0}) for term in terms]
    # Shapley shares of a variance: every effect is split evenly among its factors (Owen 2014)
    rows += [
        row(factor, "shapley", {term: 1 / len(term) for term in terms if i in term})
        for i, factor in enumerate(factors)
    ]
    sizes = " x ".join(f"{n} {factor}" for n, factor in zip(shape, factors, strict=True))
    note = f"exact functional ANOVA of log MSE on the full grid {sizes}, noise subtracted"
    return Importance("functional ANOVA", pd.DataFrame(rows), 1 - total / raw_total, note)


def _refuse_noise(share: float) -> None:
    """Shares are parts of what is left when noise is taken off: of little, they are anything (-12 to 28 were seen)."""
    if share > MOST_NOISE:
        raise ValueError(
            f"not estimable: seeds and images explain {min(share, 1):.0%} of the variance of log MSE between variants, "
            f"more than {MOST_NOISE:.0%}"
        )


def _tail(fewest: int, n_variants: int, confidence: float) -> float:
    """As `bootstrap.expanded_tail`, with the seeds' variance known from all variants together."""
    df = n_variants * (fewest - 1)
    quantile = np.sqrt(fewest / (fewest - 1)) * special.stdtrit(df, (1 - confidence) / 2)
    return float(special.ndtr(quantile))


def noise_variances(errors: Sequence[FloatArray], shape: tuple[int, ...]) -> dict[Term, float]:
    """What the noise of seeds and images is expected to add to each effect's variance of log MSE.

    The trace of the covariance of the log means, projected on the effect: seeds are independent from variant
    to variant and add to an effect by its degrees of freedom, images are shared and are decomposed themselves.
    """
    n_variants, n_images = len(errors), errors[0].shape[1]
    influence = np.stack([values.mean(axis=0) / values.mean() - 1 for values in errors])
    of_images = effect_variances(influence.reshape(*shape, n_images), len(shape))
    seed_variance = 0.0
    for values in errors:
        squares = mean_squares(values / values.mean())
        # without the noise of cells, which the images' influence holds already
        seed_variance += (squares.seed - squares.cell) / values.size / n_variants
    seed_variance = max(seed_variance, 0.0)
    noise = {}
    for term, variances in of_images.items():
        df = np.prod([shape[axis] - 1 for axis in term])
        noise[term] = float(
            variances.sum() / (n_images * (n_images - 1)) + df / n_variants * seed_variance
        )
    return noise


def _type_two(
    levels: pd.DataFrame, errors: Mapping[str, FloatArray], missing: Sequence[str]
) -> Importance:
    """Type-II ANOVA of log MSE per seed; two-factor interactions where the grid can estimate them all."""
    factors = list(levels.columns)
    rows = [
        {"y": float(np.log(value)), **{f"x{i}": levels.loc[name, f] for i, f in enumerate(factors)}}
        for name, values in errors.items()
        for value in values.mean(axis=1)
    ]
    data = pd.DataFrame(rows)
    symbols = [f"C(x{i})" for i in range(len(factors))]
    main, pairs = " + ".join(symbols), [f"{a}:{b}" for a, b in itertools.combinations(symbols, 2)]
    for formula in (" + ".join([main, *pairs]), main):
        model = ols(f"y ~ {formula}", data)
        n_columns = model.exog.shape[1]
        if np.linalg.matrix_rank(model.exog) == n_columns < len(data):
            break
    else:
        raise ValueError(
            "the factors cannot be told apart on this grid: their levels always change together"
        )
    anova = sm.stats.anova_lm(model.fit(), typ=2)
    residual = anova.loc["Residual"]
    residual_ms = residual["sum_sq"] / residual["df"]
    total = float(((data["y"] - data["y"].mean()) ** 2).sum())
    anova = anova.drop(index="Residual")
    _refuse_noise(float(residual["sum_sq"] / total))
    omega = (anova["sum_sq"] - anova["df"] * residual_ms) / (total + residual_ms)
    names = dict(zip(symbols, factors, strict=True))
    table = pd.DataFrame(
        {
            "term": [" x ".join(names[part] for part in term.split(":")) for term in anova.index],
            "kind": "effect",
            "sum_of_squares": anova["sum_sq"].to_numpy(),
            "df": anova["df"].to_numpy(),
            "f": anova["F"].to_numpy(),
            "p": anova["PR(>F)"].to_numpy(),
            "omega_squared": omega.to_numpy(),
        }
    )
    shown = "; ".join(missing[:8]) + (f"; and {len(missing) - 8} more" if len(missing) > 8 else "")
    reason = f"the grid lacks {shown}" if missing else "some combinations occur more than once"
    note = f"type-II ANOVA of log MSE per seed, for these test images, because {reason}"
    return Importance("type-II ANOVA", table, float(residual["sum_sq"] / total), note)
