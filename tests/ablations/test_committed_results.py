"""Every figure of the committed comparison tables, worked out again from the exported predictions.

Written apart from the package: plain loops and scipy, and nothing of `ablations.statistics`. A
made-up study with failed cells goes the same way, so that the script is tried where no results are committed. Of a
split whose predictions were left out, all figures that follow from the error of each cell and from the p-values shown.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special, stats
from statsmodels.stats.proportion import proportion_confint

from ablations.comparison.study_comparison import compare_study
from ablations.records.exports import images_frame, predictions_frame
from ablations.report.outputs import write_exports
from tests.ablations.synthetic import synthetic_results

RESULTS = Path(__file__).parents[2] / "results"
COMMITTED = sorted(path.parent for path in RESULTS.glob("*/predictions.parquet"))
NAMES = {"variant", "rank", "published"}  # not figures; ranks are checked as a column
POPULATION = RESULTS / "yardsticks" / "population.csv"
OUTPUTS = {"mse": "mean", "slope": "slope", "intercept": "intercept"}
# Relative and absolute, where the package integrates or simulates what is tried on a finer grid here. Upper limits of
# P(beats) come of its coarse grid for the log-normal pivot: where seeds differ by factors they are up to 2% too near.
LOOSE_P = 0.02
LOOSE = dict.fromkeys(["p", "p_holm", "p_different", "p_different_holm"], (0.02, 1e-4))
LOOSE |= dict.fromkeys(["p_beats_low", "p_beats_high"], (2e-2, 0)) | {"seed_groups_p": (0, LOOSE_P)}
NOT_APPLICABLE = "not applicable"  # a cell's status on a split that its net cannot be evaluated on
OF_THE_LAB = ("test", "test_large", "test_large_20000")  # whose population is known
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
    write_exports(results, directory.with_name("made-up-lean"), max_predictions=0.03)
    return directory


@pytest.mark.parametrize("study", ["made-up", "made-up-lean", *(path.name for path in COMMITTED)])
def test_every_figure_of_the_comparison_is_reproduced(study, made_up):
    directory = made_up.with_name(study) if study.startswith("made-up") else RESULTS / study
    tables = sorted(directory.glob("compare_*.csv"))
    assert tables, f"no comparison beside {directory}/predictions.parquet"
    left_out = directory / "left_out.json"
    without = json.loads(left_out.read_text()) if left_out.is_file() else {}
    assert bool(without) == (study == "made-up-lean") or directory.parent == RESULTS
    for path in tables:
        check = check_lean if path.stem.removeprefix("compare_") in without else check_table
        check(directory, path)


def check_table(directory: Path, path: Path) -> None:
    table, (split, n_images, metric, against, margin, confidence) = read_comparison(path)
    data = read(directory, split)
    assert len(data.truth) == n_images

    rows = {
        name: figures(data, name, metric, against, margin, confidence) for name in table["variant"]
    }
    add_verdicts(rows, confidence)
    unchecked = set(table) - set(next(iter(rows.values()))) - set(SETTINGS) - NAMES
    assert not unchecked, f"columns that no one checks: {unchecked}"
    compare_rows(table, rows, f"{directory.name}, {split}")


def check_lean(directory: Path, path: Path) -> None:
    """What follows from the score of each cell, that is all but intervals and p-values; and what follows from these."""
    table, (split, n_images, metric, against, _, confidence) = read_comparison(path)
    assert metric == "mse"
    errors = pd.read_csv(directory / "errors.csv", keep_default_na=False, na_values=[""])
    errors = errors[errors["split"] == split]
    assert set(errors["n_images"]) == {n_images}
    cells = pd.read_csv(directory / "cells.csv", keep_default_na=False)
    of_cells = errors[errors["kind"] == "variant"]
    absent = set(of_cells.loc[of_cells["status"] == NOT_APPLICABLE, "estimator"])
    assert not absent & set(table["variant"])
    assert not absent or split.startswith("image_size_")
    errors, of_cells, cells = (
        rows[~rows[column].isin(absent)]
        for rows, column in ((errors, "estimator"), (of_cells, "estimator"), (cells, "variant"))
    )
    assert sorted(
        zip(of_cells["estimator"], of_cells["seed"], of_cells["status"], strict=True)
    ) == (sorted(zip(cells["variant"], cells["seed"], cells["status"], strict=True)))
    status = {
        name: dict(zip(rows["seed"], rows["status"], strict=True))
        for name, rows in of_cells.groupby("estimator")
    }
    data = Data(np.empty((n_images, 2)), {}, status, None)
    means = errors.groupby("estimator")["mse_score"].mean()
    rows = {}
    for found in table.to_dict("records"):
        name = found["variant"]
        own = errors[errors["estimator"] == name]
        own = own.sort_values("seed")
        converged = own.loc[own["status"] == "ok", "mse_score"].mean()
        rows[name] = {
            **{name: own[f"{name}_score"].mean() for name in ("mse", "slope_mse", "intercept_mse")},
            "ratio": means[name] / means[against],
            "difference": means[name] - means[against],
            "ratio_to_floor": means[name] / means["posterior_mean"],
            "mse_given_convergence": converged,
            "ratio_given_convergence": converged / means[against],
            **of_seeds(data, name, [np.array([score]) for score in own["mse_score"]]),
            "p": found["p"],
            "p_different": found["p_different"],
            "_itself": name == against,
            "_seeds": found["n_seeds"] if name in status else math.inf,
            "_family": name != against and not (found["exact"] and name not in status),
        }
        if directory.parent == RESULTS and split in OF_THE_LAB:
            rows[name]["regret"] = means[name] - means["posterior_mean"]
    add_verdicts(rows, confidence)
    compare_rows(table, rows, f"{directory.name}, {split}")


def read_comparison(path: Path) -> tuple[pd.DataFrame, list]:
    """The table, and what it was made with."""
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    settings = list(table[SETTINGS].iloc[0])
    assert path.name == f"compare_{settings[0]}.csv"
    return table, settings


def compare_rows(table: pd.DataFrame, rows: dict[str, dict], place: str) -> None:
    for table_row in table.to_dict("records"):
        for column, value in rows[table_row["variant"]].items():
            if column.startswith("_"):
                continue
            where = f"{place}, {table_row['variant']}, {column}"
            found = table_row[column]
            # By a simulated p, which two simulations may put on either side of 5%.
            if column == "outlying_seeds" and abs(table_row["seed_groups_p"] - 0.05) < LOOSE_P:
                continue
            if isinstance(value, str):
                assert found == value, where
            elif isinstance(value, bool | np.bool_):
                assert bool(found) is bool(value), where
            else:
                rtol, atol = LOOSE.get(column, (1e-7, 1e-12))
                np.testing.assert_allclose(found, value, rtol=rtol, atol=atol, err_msg=where)
    variants = table[table["kind"] == "variant"]
    assert list(variants["rank"]) == list(stats.rankdata(variants["mse"], "min"))


def add_verdicts(rows: dict[str, dict], confidence: float) -> None:
    adjust_family(rows, "p")
    adjust_family(rows, "p_different")
    for row in rows.values():
        row["verdict"] = verdict(row, confidence)


@dataclass(frozen=True, eq=False)
class Data:
    """A split as it is in the exported files; `known` is the table of yardsticks, None for made-up images."""

    truth: np.ndarray  # (M, 2)
    answers: dict  # (estimator, seed or None) -> (M, 2)
    status: dict  # variant -> seed -> status
    known: dict | None  # (yardstick, output) -> row of the table

    def rows(self, name: str, metric: str, truth: np.ndarray, only_ok: bool) -> list[np.ndarray]:
        """Squared distances from `truth`, an array a seed; failed cells are the constant's."""
        if name not in self.status:
            return [of_metric(self.answers[name, None] - truth, metric)]
        found = []
        for seed in sorted(self.status[name]):
            if self.status[name][seed] == "ok":
                found.append(of_metric(self.answers[name, seed] - truth, metric))
            elif not only_ok:
                found.append(of_metric(self.answers["constant", None] - truth, metric))
        return found

    def errors(self, name: str, metric: str, only_ok: bool = False) -> list[np.ndarray]:
        return self.rows(name, metric, self.truth, only_ok)

    def risk(self, name: str, metric: str) -> dict:
        return self.known[name, OUTPUTS[metric]]

    def scores(self, name: str, metric: str, only_ok: bool = False) -> list[np.ndarray] | Exact:
        """What means are taken of: errors, or, on images of the lab, exact numbers and regrets."""
        if self.known is None:
            return self.errors(name, metric, only_ok)
        if name not in self.status:
            return Exact(self.risk(name, metric)["mse"], self.risk(name, metric)["mse_se"])
        return self.controlled(name, metric, only_ok)[0]

    @cache  # noqa: B019 - a handful of small studies
    def controlled(self, name: str, metric: str, only_ok: bool) -> tuple[list[np.ndarray], float]:
        """Floor plus regret, with the regret of least squares as a control variate, and beta."""
        floor = self.answers["posterior_mean", None]
        h = of_metric(self.answers["least_squares", None] - floor, metric)
        above = h - self.risk("least_squares", metric)["regret"]
        scores, betas = [], []
        for regret in self.rows(name, metric, floor, only_ok):
            score = regret + self.risk("posterior_mean", metric)["mse"]
            for fold in range(5):
                here = np.arange(len(h)) % 5 == fold
                score[here] -= slope(regret[~here], h[~here]) * above[here]
            scores.append(score)
            betas.append(slope(regret, h))
        return scores, float(np.mean(betas)) if betas else np.nan


@dataclass(frozen=True)
class Exact:
    """A known number with its standard error."""

    value: float
    se: float


def slope(y: np.ndarray, x: np.ndarray) -> float:
    """Least-squares slope where x and y share a tenth of their variance, else 0."""
    correlation = np.corrcoef(x, y)[0, 1]
    return float(np.polyfit(x, y, 1)[0]) if correlation > math.sqrt(0.1) else 0.0


def read(directory: Path, split: str) -> Data:
    predictions = pd.read_parquet(directory / "predictions.parquet")
    predictions = predictions[predictions["split"] == split]
    images = pd.read_parquet(directory / "images.parquet")
    truth = images[images["split"] == split].sort_values("image")
    truth = truth[["slope", "intercept"]].to_numpy(np.float64)
    answers = {}
    for (name, seed), rows in predictions.groupby(
        ["estimator", "seed"], dropna=False, observed=True
    ):
        rows = rows.sort_values("image")
        assert list(rows["image"]) == list(range(len(truth)))
        values = rows[["slope", "intercept"]].to_numpy(np.float64)
        answers[name, None if pd.isna(seed) else int(seed)] = values
    cells = pd.read_csv(directory / "cells.csv", keep_default_na=False)
    status: dict[str, dict[int, str]] = {}
    for cell in cells.itertuples():
        status.setdefault(cell.variant, {})[cell.seed] = cell.status
    for variant, seeds in status.items():
        for seed, end in seeds.items():
            assert ((variant, seed) in answers) == (end == "ok")
    known = None
    if directory.parent == RESULTS:  # the images of a committed study are the lab's
        table = pd.read_csv(POPULATION).set_index(["yardstick", "output"])
        known = dict(zip(table.index, table.to_dict("records"), strict=True))
    return Data(truth, answers, status, known)


def of_metric(deviation: np.ndarray, metric: str) -> np.ndarray:
    squared = deviation**2
    return {"mse": squared.mean(axis=1), "slope": squared[:, 0], "intercept": squared[:, 1]}[metric]


def figures(
    data: Data, name: str, metric: str, against: str, margin: float, confidence: float
) -> dict:
    is_variant = name in data.status
    errors, scores = data.errors(name, metric), data.scores(name, metric)
    reference, floor = data.scores(against, metric), data.scores("posterior_mean", metric)
    unknown = data.known is None and not is_variant
    row = {
        "kind": "variant" if is_variant else "yardstick",
        "slope_mse": average(data.scores(name, "slope")),
        "intercept_mse": average(data.scores(name, "intercept")),
        "worst_1_percent_share": worst_share(errors),
        "exact": isinstance(scores, Exact),
        **mean_interval(scores, is_variant, "mse", "", confidence),
        **of_seeds(data, name, scores),
        **against_reference(scores, reference, is_variant, name == against, margin, confidence),
        **nearer(errors, data.errors(against, metric)[0], is_variant, name == against, confidence),
        "few_images": (unknown or data.known is None) and len(data.truth) < 30_000,
        "beta": np.nan,
        "_family": name != against and not (data.known is not None and not is_variant),
    }
    if data.known is not None and is_variant:
        row["beta"] = data.controlled(name, metric, False)[1]
    row["imitates"] = row["beta"] >= 0.5
    row |= regret(data, name, scores, metric, confidence)
    row |= limits("ratio_to_floor", ratio(scores, floor, is_variant, confidence))
    if name == "posterior_mean":
        row["ratio_to_floor_low"] = row["ratio_to_floor_high"] = np.nan
    row |= limits("ratio_on_these_images", (np.nan,) * 3)
    if data.known is not None:
        paired = ratio(errors, data.errors(against, metric), is_variant, confidence)
        row |= limits("ratio_on_these_images", paired if name != against else (1, np.nan, np.nan))
    converged = data.scores(name, metric, only_ok=True)
    given = "mse_given_convergence"
    row |= mean_interval(converged, is_variant, given, f"{given}_", confidence)
    found = ratio(converged, reference, is_variant, confidence)
    row |= limits("ratio_given_convergence", found)
    if name == against:
        row |= dict.fromkeys(
            ["ratio_given_convergence_low", "ratio_given_convergence_high"], np.nan
        )
    return row


def of_seeds(data: Data, name: str, scores: list[np.ndarray] | Exact) -> dict:
    """Counts, and what so many seeds can show."""
    names = ["n_ok", "n_seeds", "ok_low", "ok_high", "failure_rate_not_excluded", "seed_groups_p"]
    row = dict.fromkeys(names, np.nan) | limits("median_over_seeds", (np.nan,) * 3)
    row |= {"flagged": False, "outlying_seeds": False}
    if name not in data.status:
        return row
    ends = list(data.status[name].values())
    n_ok, n = sum(end == "ok" for end in ends), len(ends)
    exact = stats.binomtest(n_ok, n).proportion_ci(0.95, "exact")
    one_sided = stats.binomtest(n - n_ok, n, alternative="less").proportion_ci(0.95, "exact")
    by_seed = sorted(float(row.mean()) for row in scores)
    p, factor = groups(np.log(by_seed))
    # lowest and highest of up to 8 seeds, the second of 9 to 11: P(a binomial(n, 1/2) is beyond) at most 2.5%
    rank = max([0, *(i for i in range(n // 2) if stats.binom.cdf(i, n, 0.5) <= 0.025)])
    return row | {
        "n_ok": n_ok,
        "n_seeds": n,
        "flagged": n_ok < n,
        "ok_low": exact.low,
        "ok_high": exact.high,
        "failure_rate_not_excluded": one_sided.high,
        "seed_groups_p": p,
        "outlying_seeds": p < 0.05 and factor >= 2,
        **limits("median_over_seeds", (np.median(by_seed), by_seed[rank], by_seed[n - 1 - rank])),
    }


def best_split(values: np.ndarray) -> tuple[float, float]:
    """Share of squares between the best two groups of neighbours, and the distance of their means."""
    values = np.sort(values)
    found = []
    for i in range(1, len(values)):
        low, high = values[:i], values[i:]
        within = ((low - low.mean()) ** 2).sum() + ((high - high.mean()) ** 2).sum()
        found.append((1 - within / ((values - values.mean()) ** 2).sum(), high.mean() - low.mean()))
    return max(found)


@cache
def null_shares(n: int) -> np.ndarray:
    rng = np.random.default_rng(12345)
    return np.array([best_split(sample)[0] for sample in rng.standard_normal((10_000, n))])


def groups(logs: np.ndarray) -> tuple[float, float]:
    """p of two groups by normal samples, and the factor between the best two."""
    if len(logs) < 4:
        return np.nan, np.nan
    share, gap = best_split(logs)
    return float(np.mean(null_shares(len(logs)) >= share)), math.exp(gap)


def regret(data: Data, name: str, scores, metric: str, confidence: float) -> dict:
    if data.known is None:
        return limits("regret", (np.nan,) * 3)
    floor = data.risk("posterior_mean", metric)["mse"]
    if isinstance(scores, Exact):
        value = scores.value - floor
        reach = 0 if name == "posterior_mean" else 1.96 * scores.se
        return limits("regret", (value, value - reach, value + reach))
    value = average(scores) - floor
    variance, df, _ = variance_and_df(scores, True)
    reach = stats.t.ppf((1 + confidence) / 2, df) * math.sqrt(variance) / value
    return limits("regret", (value, value * math.exp(-reach), value * math.exp(reach)))


def limits(name: str, found) -> dict:
    return {name: found[0], f"{name}_low": found[1], f"{name}_high": found[2]}


def average(rows: list[np.ndarray] | Exact) -> float:
    if isinstance(rows, Exact):
        return rows.value
    return sum(float(row.sum()) for row in rows) / (len(rows) * len(rows[0])) if rows else np.nan


def worst_share(rows: list[np.ndarray]) -> float:
    by_image = sorted(sum(rows) / len(rows), reverse=True)
    worst = by_image[: max(round(len(by_image) / 100), 1)]
    return sum(worst) / sum(by_image)


def variance_and_df(rows: list[np.ndarray], is_variant: bool) -> tuple[float, float, float]:
    """Variance of the mean of `rows`, its degrees of freedom, and those of the images' part."""
    n_images = len(rows[0])
    by_image = sum(rows) / len(rows)
    squares_of_images = ((by_image - by_image.mean()) ** 2).sum()
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
        residual += ((row - seed_mean - by_image + by_image.mean()) ** 2).sum()
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


def mean_interval(rows, is_variant: bool, name: str, prefix: str, confidence: float) -> dict:
    mean, low, high = average(rows), np.nan, np.nan
    if isinstance(rows, Exact):
        reach = stats.norm.ppf((1 + confidence) / 2) * rows.se
        low, high = mean - reach, mean + reach
    elif rows and (not is_variant or len(rows) >= 3):
        variance, df, _ = variance_and_df(rows, is_variant)
        reach = stats.t.ppf((1 + confidence) / 2, df) * math.sqrt(variance) / mean
        low, high = mean * math.exp(-reach), mean * math.exp(reach)
    return {name: mean, f"{prefix}low": low, f"{prefix}high": high}


def uncertainty(a, b, is_variant: bool) -> tuple[float, float]:
    """Variance of the log of the ratio of means, and its degrees of freedom."""
    extra = sum((side.se / side.value) ** 2 for side in (a, b) if isinstance(side, Exact))
    if isinstance(a, Exact):
        return extra, math.inf
    scaled = [row / average(a) for row in a]
    if not isinstance(b, Exact):
        scaled = [row - b[0] / average(b) for row in scaled]
    variance, df, _ = variance_and_df(scaled, is_variant)
    return variance + extra, df


def ratio(a, b, is_variant: bool, confidence: float) -> tuple[float, float, float]:
    """Ratio of means and its limits."""
    value = average(a) / average(b)
    if not isinstance(a, Exact) and (not a or (is_variant and len(a) < 3)):
        return value, np.nan, np.nan
    variance, df = uncertainty(a, b, is_variant)
    reach = math.exp(stats.t.ppf((1 + confidence) / 2, df) * math.sqrt(variance))
    return value, value / reach, value * reach


def against_reference(a, b, is_variant, itself, margin, confidence) -> dict:
    value, low, high = ratio(a, b, is_variant, confidence)
    row = limits("ratio", (value, low, high) if not itself else (1.0, np.nan, np.nan))
    row |= limits("difference", (average(a) - average(b), np.nan, np.nan))
    row |= {"p": np.nan, "p_different": np.nan, "_itself": itself, "_seeds": math.inf}
    if itself or np.isnan(low):
        return row
    row["_seeds"] = len(a) if is_variant else math.inf
    variance, df = uncertainty(a, b, is_variant)

    def shown_below(factor: float) -> float:
        """p of "at least `factor`"; the larger of the t test's and the pivot's."""
        at = math.log(value / factor) / math.sqrt(variance)
        pivot = 1 - pivot_below(a, b, math.log(factor)) if is_variant else 0.0
        return max(stats.t.cdf(at, df), pivot)

    def shown_above(factor: float) -> float:
        at = math.log(value / factor) / math.sqrt(variance)
        return max(stats.t.sf(at, df), pivot_below(a, b, math.log(factor)) if is_variant else 0.0)

    row["p"] = min(1.0, 2 * min(shown_below(1), shown_above(1)))
    row["p_different"] = max(shown_below(margin), shown_above(1 / margin))
    variance, df = difference_uncertainty(a, b, is_variant)
    reach = stats.t.ppf((1 + confidence) / 2, df) * math.sqrt(variance)
    return row | limits(
        "difference", (row["difference"], row["difference"] - reach, row["difference"] + reach)
    )


def difference_uncertainty(a, b, is_variant: bool) -> tuple[float, float]:
    extra = sum(side.se**2 for side in (a, b) if isinstance(side, Exact))
    if isinstance(a, Exact):
        return extra, math.inf
    shifted = a if isinstance(b, Exact) else [row - b[0] for row in a]
    variance, df, _ = variance_and_df(shifted, is_variant)
    return variance + extra, df


@cache
def chi_square(df: int) -> np.ndarray:
    """Quantiles at the middles of 20,000 equal steps."""
    return stats.chi2.ppf((np.arange(20_000) + 0.5) / 20_000, df)


def pivot_cdf(logs: np.ndarray, image_variance: float, at: float) -> float:
    """P(mean - Z sqrt(s^2 / (K U)) + s^2 / (2 U) < at), U chi-square / (K - 1), by its quantiles."""
    n = len(logs)
    variance = logs.var(ddof=1) * (n - 1) / chi_square(n - 1)
    spread = np.sqrt(variance / n + image_variance)
    return float(special.ndtr((at - logs.mean() - variance / 2) / spread).mean())


def pivot_below(a, b, at: float) -> float:
    """That of the log of the ratio of a variant to a yardstick."""
    logs = np.log([row.mean() for row in a])
    scaled = [row / average(a) for row in a]
    if not isinstance(b, Exact):
        scaled = [row - b[0] / average(b) for row in scaled]
    # the variance of the mean over seeds at an image, without the noise of cells in it
    by_image = sum(scaled) / len(scaled)
    n_seeds, n_images = len(scaled), len(by_image)
    cells = sum(((row - row.mean() - by_image + by_image.mean()) ** 2).sum() for row in scaled)
    cells /= (n_seeds - 1) * (n_images - 1) * n_seeds
    images = max(by_image.var(ddof=1) - cells, 0) / n_images
    return pivot_cdf(logs - math.log(average(b)), images, at)


def nearer(rows, baseline, is_variant: bool, itself: bool, confidence: float) -> dict:
    if itself:
        return limits("p_beats", (np.nan,) * 3)
    wins = [(row < baseline) + (row == baseline) / 2 for row in rows]
    share = average(wins)
    if is_variant and len(rows) < 3:
        return limits("p_beats", (share, np.nan, np.nan))
    if share in (0, 1):
        n = len(baseline)
        return limits(
            "p_beats", (share, *proportion_confint(round(share * n), n, 0.05, method="beta"))
        )
    variance, df, _ = variance_and_df(wins, is_variant)
    reach = stats.t.ppf((1 + confidence) / 2, df) * math.sqrt(variance) / (share * (1 - share))
    odds = share / (1 - share)
    low, high = (1 / (1 + 1 / (odds * math.exp(sign * reach))) for sign in (-1, 1))
    if is_variant and len(rows) >= 5:
        rarer = [row if share < 0.5 else 1 - row for row in wins]
        logs = np.log([(row.sum() + 0.5) / (len(row) + 1) for row in rarer])
        skewed = [
            math.exp(
                optimize.brentq(lambda x, q=q: pivot_cdf(logs, 0.0, x) - q, -40, 40, xtol=1e-9)
            )
            for q in ((1 - confidence) / 2, (1 + confidence) / 2)
        ]
        if share > 0.5:
            skewed = [1 - min(skewed[1], 1), 1 - skewed[0]]
        low, high = min(low, skewed[0]), max(high, min(skewed[1], 1))
    return limits("p_beats", (share, low, high))


def adjust_family(rows: dict[str, dict], column: str) -> None:
    """Holm (1979): the i-th smallest of n times n - i, never below the one before, at most 1."""
    family = [n for n, row in rows.items() if row["_family"] and row[column] == row[column]]
    for row in rows.values():
        row[f"{column}_holm"] = np.nan
    largest = 0.0
    for i, name in enumerate(sorted(family, key=lambda name: rows[name][column])):
        largest = max(largest, min(1.0, rows[name][column] * (len(family) - i)))
        rows[name][f"{column}_holm"] = largest


def verdict(row: dict, confidence: float) -> str:
    if row["_itself"]:
        return "reference"
    if np.isnan(row["p"]) or row["_seeds"] < 5:
        return "too few seeds"
    suffix = "_holm" if row["_family"] else ""
    if row[f"p_different{suffix}"] < 1 - confidence:
        return "equivalent"
    if row[f"p{suffix}"] < 1 - confidence:
        return "better" if row["ratio"] < 1 else "worse"
    return "inconclusive"
