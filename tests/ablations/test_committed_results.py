"""Every figure of the committed comparison tables, worked out again from the exported predictions.

Written apart from the package: plain loops and scipy, and nothing of `ablations.statistics`. A
made-up study with failed cells goes the same way, so that the script is tried where no results are committed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats
from statsmodels.stats.proportion import proportion_confint

from ablations.comparison.study_comparison import compare_study
from ablations.records.exports import images_frame, predictions_frame
from tests.ablations.synthetic import synthetic_results

RESULTS = Path(__file__).parents[2] / "results"
COMMITTED = sorted(path.parent for path in RESULTS.glob("*/predictions.parquet"))
NAMES = {"variant", "rank", "published"}  # not figures; ranks are checked as a column
SETTINGS = ["split", "n_images", "metric", "against", "margin", "confidence"]


@pytest.fixture(scope="session")
def made_up(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("results") / "made-up"
    directory.mkdir()
    results = synthetic_results(
        6, 4, 150, failures={(1, 2): "diverged", (3, 0): "oom"}, splits=("test", "test_large")
    )
    # the made-up yardsticks are multiples of each other, which leaves rounding for a variance of their ratio
    rng = np.random.default_rng(0)
    jittered = {
        name: replace(
            split,
            yardsticks={
                yardstick: predictions + rng.normal(0, 0.05, (150, 2))
                for yardstick, predictions in split.yardsticks.items()
            },
        )
        for name, split in results.splits.items()
    }
    results = replace(results, splits=jittered)
    results.cells.to_csv(directory / "cells.csv", index=False)
    predictions_frame(results).to_parquet(directory / "predictions.parquet")
    images_frame(results).to_parquet(directory / "images.parquet")
    for split in results.splits:
        text = compare_study(results, split=split).to_text("csv")
        (directory / f"compare_{split}.csv").write_text(text)
    return directory


@pytest.mark.parametrize("study", ["made-up", *(path.name for path in COMMITTED)])
def test_every_figure_of_the_comparison_is_reproduced(study, made_up):
    directory = made_up if study == "made-up" else RESULTS / study
    tables = sorted(directory.glob("compare_*.csv"))
    assert tables, f"no comparison beside {directory}/predictions.parquet"
    for path in tables:
        check_table(directory, path)


def check_table(directory: Path, path: Path) -> None:
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    split, n_images, metric, against, margin, confidence = table[SETTINGS].iloc[0]
    assert path.name == f"compare_{split}.csv"
    errors, status = read_errors(directory, split)
    assert all(len(e) == n_images for e in errors.values())

    rows = {}
    for name in table["variant"]:
        rows[name] = figures(name, errors, status, metric, against, margin, confidence)
    adjust_family(rows)
    for row in rows.values():
        row["verdict"] = verdict(row, margin, confidence)
    for table_row in table.to_dict("records"):
        expected = rows[table_row["variant"]]
        unchecked = set(table_row) - set(expected) - set(SETTINGS) - NAMES
        assert not unchecked, f"columns that no one checks: {unchecked}"
        for column, value in expected.items():
            if column.startswith("_"):
                continue
            where = f"{directory.name}, {split}, {table_row['variant']}, {column}"
            found = table_row[column]
            if isinstance(value, str):
                assert str(found).startswith(value), where
            elif isinstance(value, bool):
                assert bool(found) is value, where
            else:
                rtol = 1e-5 if column == "minimum_detectable_ratio" else 1e-7
                np.testing.assert_allclose(found, value, rtol=rtol, atol=1e-300, err_msg=where)
    variants = table[table["kind"] == "variant"]
    assert list(variants["rank"]) == list(stats.rankdata(variants["mse"], "min"))


def read_errors(directory: Path, split: str) -> tuple[dict, dict]:
    """(estimator, seed) -> (slope, intercept) squared errors `(M, 2)`, and variant -> seed -> status."""
    predictions = pd.read_parquet(directory / "predictions.parquet")
    predictions = predictions[predictions["split"] == split]
    images = pd.read_parquet(directory / "images.parquet")
    truth = images[images["split"] == split].sort_values("image")
    truth = truth[["slope", "intercept"]].to_numpy(np.float64)
    errors = {}
    for (name, seed), rows in predictions.groupby(
        ["estimator", "seed"], dropna=False, observed=True
    ):
        rows = rows.sort_values("image")
        assert list(rows["image"]) == list(range(len(truth)))
        values = rows[["slope", "intercept"]].to_numpy(np.float64)
        errors[name, None if pd.isna(seed) else int(seed)] = (values - truth) ** 2
    cells = pd.read_csv(directory / "cells.csv", keep_default_na=False)
    status: dict[str, dict[int, str]] = {}
    for cell in cells.itertuples():
        status.setdefault(cell.variant, {})[cell.seed] = cell.status
    for variant, seeds in status.items():
        for seed, end in seeds.items():
            assert ((variant, seed) in errors) == (end == "ok")
    return errors, status


def of_metric(squared: np.ndarray, metric: str) -> np.ndarray:
    return {"mse": squared.mean(axis=1), "slope": squared[:, 0], "intercept": squared[:, 1]}[metric]


def figures(name, errors, status, metric, against, margin, confidence) -> dict:
    def rows_of(wanted: str, only_ok: bool) -> list[np.ndarray]:
        if name not in status:
            return [of_metric(errors[name, None], wanted)]
        rows = []
        for seed in sorted(status[name]):
            if status[name][seed] == "ok":
                rows.append(of_metric(errors[name, seed], wanted))
            elif not only_ok:
                rows.append(of_metric(errors["constant", None], wanted))
        return rows

    is_variant = name in status
    baseline = of_metric(errors[against, None], metric)
    scored = rows_of(metric, only_ok=False)
    row = {
        "kind": "variant" if is_variant else "yardstick",
        "slope_mse": average(rows_of("slope", only_ok=False)),
        "intercept_mse": average(rows_of("intercept", only_ok=False)),
        "worst_1_percent_share": worst_share(scored),
        **summary("mse", "", scored, is_variant, confidence),
        **against_baseline(name, against, scored, baseline, is_variant, margin, confidence),
    }
    ends = list(status[name].values()) if is_variant else []
    row["flagged"] = any(end != "ok" for end in ends)
    row["n_ok"] = sum(end == "ok" for end in ends) if is_variant else np.nan
    row["n_seeds"] = len(ends) if is_variant else np.nan
    row["ok_low"], row["ok_high"] = np.nan, np.nan
    if is_variant:
        exact = stats.binomtest(row["n_ok"], len(ends)).proportion_ci(0.95, "exact")
        row["ok_low"], row["ok_high"] = exact.low, exact.high
    floor = of_metric(errors["posterior_mean", None], metric)
    row["ratio_to_floor"], *limits = ratio(scored, floor, is_variant, confidence)
    itself = name == "posterior_mean"
    row["ratio_to_floor_low"], row["ratio_to_floor_high"] = (
        (np.nan, np.nan) if itself else limits[:2]
    )
    converged = rows_of(metric, only_ok=True)
    given = "mse_given_convergence"
    row |= summary(given, f"{given}_", converged, is_variant, confidence)
    value, low, high, *_ = ratio(converged, baseline, is_variant, confidence)
    if name == against:
        low = high = np.nan
    row |= {
        "ratio_given_convergence": value,
        "ratio_given_convergence_low": low,
        "ratio_given_convergence_high": high,
    }
    return row


def average(rows: list[np.ndarray]) -> float:
    return sum(float(row.sum()) for row in rows) / (len(rows) * len(rows[0])) if rows else np.nan


def worst_share(rows: list[np.ndarray]) -> float:
    by_image = sorted(sum(rows) / len(rows), reverse=True)
    worst = by_image[: max(round(len(by_image) / 100), 1)]
    return math.fsum(worst) / math.fsum(by_image)


def variance_and_df(rows: list[np.ndarray], is_variant: bool) -> tuple[float, float, float]:
    """Variance of the mean of `rows`, its degrees of freedom, and those of the images' part."""
    n_images = len(rows[0])
    by_image = sum(rows) / len(rows)
    squares_of_images = math.fsum((x - by_image.mean()) ** 2 for x in by_image)
    images = squares_of_images / (n_images - 1) / n_images
    image_df = n_images - 1.0
    if squares_of_images > 0:
        kurtosis = stats.kurtosis(by_image, fisher=False)
        image_df = min(image_df, 2 * n_images / (kurtosis - (n_images - 3) / (n_images - 1)))
    if not is_variant:
        return images, image_df, image_df
    n_seeds = len(rows)
    by_seed = [row.mean() for row in rows]
    seeds = np.var(by_seed, ddof=1) / n_seeds
    residual = 0.0
    for row, seed_mean in zip(rows, by_seed, strict=True):
        residual += math.fsum((row - seed_mean - by_image + by_image.mean()) ** 2)
    cell_df = (n_seeds - 1) * (n_images - 1)
    cells = residual / cell_df / (n_seeds * n_images)
    total = seeds + images - cells
    weight = seeds**2 / (n_seeds - 1) + images**2 / image_df + cells**2 / cell_df
    if weight == 0:
        return 0.0, min(n_seeds - 1, image_df), image_df
    harmonic = (seeds + images) / (seeds / (n_seeds - 1) + images / image_df)
    df = min(total**2 / weight, harmonic)
    if total <= max(seeds, images) * (1 + 1e-9):
        total = max(seeds, images)
        df = n_seeds - 1 if seeds >= images else image_df
    return total, max(df, min(n_seeds - 1, image_df)), image_df


def summary(name: str, prefix: str, rows, is_variant, confidence) -> dict:
    mean = average(rows)
    low = high = np.nan
    if rows and (not is_variant or len(rows) >= 3):
        variance, df, _ = variance_and_df(rows, is_variant)
        reach = stats.t.ppf((1 + confidence) / 2, df) * math.sqrt(variance) / mean
        low, high = mean * math.exp(-reach), mean * math.exp(reach)
    return {name: mean, f"{prefix}low": low, f"{prefix}high": high}


def ratio(rows, baseline, is_variant, confidence):
    """Ratio of means, its limits, standard error of its log, df, and the images' df."""
    if not rows:
        return (np.nan,) * 6
    mean, of_baseline = average(rows), baseline.mean()
    if is_variant and len(rows) < 3:
        return (mean / of_baseline, *(np.nan,) * 5)
    scaled = [row / mean - baseline / of_baseline for row in rows]
    variance, df, image_df = variance_and_df(scaled, is_variant)
    reach = math.exp(stats.t.ppf((1 + confidence) / 2, df) * math.sqrt(variance))
    value = mean / of_baseline
    return value, value / reach, value * reach, math.sqrt(variance), df, image_df


def against_baseline(name, against, rows, baseline, is_variant, margin, confidence) -> dict:
    value, low, high, se, df, image_df = ratio(rows, baseline, is_variant, confidence)
    found = {
        "ratio": value,
        "difference": average(rows) - baseline.mean(),
        **dict.fromkeys(
            [
                *("ratio_low", "ratio_high", "difference_low", "difference_high", "p", "p_beats"),
                *("p_difference", "p_beats_low", "p_beats_high", "minimum_detectable_ratio"),
                *("image_df", "_equivalent_reach"),
            ],
            np.nan,
        ),
        "few_images": name != against and len(baseline) < 20_000,
        "_itself": name == against,
    }
    if name == against:
        return found
    wins = [(row < baseline) + (row == baseline) / 2 for row in rows]
    found["p_beats"] = share = average(wins)
    if is_variant and len(rows) < 3:
        return found
    differences = [row - baseline for row in rows]
    variance, difference_df, _ = variance_and_df(differences, is_variant)
    reach = stats.t.ppf((1 + confidence) / 2, difference_df) * math.sqrt(variance)
    beats_variance, beats_df, _ = variance_and_df(wins, is_variant)
    if share in (0, 1):
        n_images = len(baseline)
        limits = proportion_confint(round(share * n_images), n_images, 0.05, method="beta")
    else:
        beats_reach = stats.t.ppf((1 + confidence) / 2, beats_df) * math.sqrt(beats_variance)
        beats_reach /= share * (1 - share)
        odds = share / (1 - share)
        limits = [1 / (1 + 1 / (odds * math.exp(sign * beats_reach))) for sign in (-1, 1)]
    zero = all((d == 0).all() for d in differences)
    found |= {
        "ratio_low": low,
        "ratio_high": high,
        "difference_low": found["difference"] - reach,
        "difference_high": found["difference"] + reach,
        "p": 1.0 if zero else 2 * stats.t.sf(abs(math.log(value)) / se, df),
        "p_difference": 1.0
        if zero
        else 2 * stats.t.sf(abs(found["difference"]) / math.sqrt(variance), difference_df),
        "p_beats_low": limits[0],
        "p_beats_high": limits[1],
        "minimum_detectable_ratio": detectable(se, df, confidence),
        "image_df": image_df,
        "_equivalent_reach": abs(math.log(value)) + stats.t.ppf(confidence, df) * se,
    }
    return found


def detectable(se: float, df: float, confidence: float) -> float:
    """Ratio found with a probability of 80%, by trying effects on the noncentral t."""
    if se == 0:
        return 1.0

    # one tail at half the level: the chance of finding the opposite of a real effect is not power
    def missing(effect: float) -> float:
        critical = stats.t.ppf((1 + confidence) / 2, df)
        return float(stats.nct.sf(critical, df, effect)) - 0.8

    return math.exp(se * optimize.brentq(missing, 0.1, 20, xtol=1e-10))


def adjust_family(rows: dict[str, dict]) -> None:
    """Holm (1979): the i-th smallest of n times n - i, never below the one before, at most 1."""
    family = [n for n, row in rows.items() if row["kind"] == "variant" and row["p"] == row["p"]]
    for row in rows.values():
        row["p_holm"] = np.nan
    largest = 0.0
    for i, name in enumerate(sorted(family, key=lambda name: rows[name]["p"])):
        largest = max(largest, min(1.0, rows[name]["p"] * (len(family) - i)))
        rows[name]["p_holm"] = largest


def verdict(row: dict, margin: float, confidence: float) -> str:
    if row["_itself"]:
        return "reference"
    if np.isnan(row["p"]):
        return "too few seeds for an interval"
    p = row["p"] if np.isnan(row["p_holm"]) else row["p_holm"]
    if p < 1 - confidence and row["ratio"] < 1:
        return "better"
    if row["_equivalent_reach"] < math.log(margin):
        return "equivalent"
    if row["ratio_high"] < margin:
        return "non-inferior"
    return "worse" if p < 1 - confidence else "not distinguishable: needs "
