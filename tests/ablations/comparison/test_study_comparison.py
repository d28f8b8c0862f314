"""The comparison of a study and its verb: what the rows, words, exit codes and refusals say."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import ablations.records.folder
import ablations.records.loading
from ablations.cli.main import app
from ablations.comparison.metrics import METRICS, variant_errors, yardstick_errors
from ablations.comparison.spelling import two_digits
from ablations.comparison.study_comparison import compare_study
from ablations.records.results import StudyResults
from ablations.statistics import compare_estimators, crossed_mean, probability_nearer
from ablations.study.problems import Problem
from ablations.study.study import StudyError
from linefit.closed_form import least_squares
from linefit.images import lab_images
from linefit.known_risk import known_risk
from linefit.population import line_moments
from linefit.posterior import posterior_mean
from tests.ablations.synthetic import synthetic_results


@pytest.fixture(scope="module")
def results() -> StudyResults:
    """A full 1 x 3 x 2 x 2 grid of which the second variant lost a seed."""
    return synthetic_results(12, 5, 400, failures={(1, 2): "diverged"}, splits=("test", "more"))


def row_of(table: pd.DataFrame, name: str) -> pd.Series:
    return table.set_index("variant").loc[name]


def with_error(results: StudyResults, name: str, factor: float, seed: int = 0) -> StudyResults:
    """The first split with another variant, whose residuals are `factor` times those of least squares."""
    split = next(iter(results.splits.values()))
    rng = np.random.default_rng(seed)
    template = split.variants[0]
    residual = split.yardsticks["least_squares"] - split.params
    spread = rng.lognormal(0, 0.02, (len(template.seeds), 1, 1))
    predictions = (split.params + np.sqrt(factor) * spread * residual).astype(np.float32)
    variant = replace(
        template, name=name, predictions=predictions, status=("ok",) * len(template.seeds)
    )
    new = replace(split, variants=(variant,))
    return replace(results, splits={split.name: new})


def test_every_estimator_has_a_row_and_variants_come_first_by_their_error(results):
    table = compare_study(results, split="test").table
    split = results.splits["test"]
    assert set(table["variant"]) == {v.name for v in split.variants} | set(split.yardsticks)
    variants = table[table["kind"] == "variant"]
    assert list(variants.index) == list(range(12))
    assert variants["mse"].is_monotonic_increasing
    assert list(variants["rank"]) == list(range(1, 13))
    assert table["rank"].isna().sum() == len(split.yardsticks)


def test_figures_are_those_of_the_statistics(results):
    split = results.splits["more"]
    variant = split.variants[3]
    for metric in ("mse", "slope", "intercept"):
        row = row_of(compare_study(results, split="more", metric=metric).table, variant.name)
        errors = variant_errors(split, variant, metric)
        mean = crossed_mean(errors)
        against = compare_estimators(errors, yardstick_errors(split, "least_squares", metric))
        floor = compare_estimators(errors, yardstick_errors(split, "posterior_mean", metric))
        assert (row[METRICS[metric].column], row["low"], row["high"]) == (
            mean.mean,
            mean.low,
            mean.high,
        )
        assert (row["ratio_low"], row["ratio_high"]) == (against.ratio.low, against.ratio.high)
        assert row["difference_high"] == against.difference.high
        assert (row["p"], row["p_different"]) == (against.p, against.p_different(1.25))
        assert (
            row["p_beats_low"]
            == probability_nearer(errors, yardstick_errors(split, "least_squares", metric)).low
        )
        assert row["ratio_to_floor_high"] == floor.ratio.high
        assert row["slope_mse"] == pytest.approx(variant_errors(split, variant, "slope").mean())
        assert row["intercept_mse"] == pytest.approx(
            variant_errors(split, variant, "intercept").mean()
        )


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_fills_a_column_of_its_own_name(results, metric):
    comparison = compare_study(results, split="test", metric=metric)
    table, chosen = comparison.table, METRICS[metric]
    values = table[table["kind"] == "variant"][chosen.column]
    assert values.is_monotonic_increasing
    assert (table["low"] <= table[chosen.column]).all()
    assert (table["high"] >= table[chosen.column]).all()
    mse = row_of(compare_study(results, split="test").table, "huber")["mse"]
    assert row_of(table, "huber")["mse"] == pytest.approx(mse)
    np.testing.assert_allclose(
        table["ratio"], table[chosen.column] / row_of(table, "least_squares")[chosen.column]
    )
    assert chosen.words in comparison.to_text("markdown")
    assert chosen.words in comparison.sentence("huber")
    assert (comparison.importance is None) == (chosen.aggregate != "mean")


def test_the_median_is_that_of_all_seeds_and_images(results):
    table = compare_study(results, split="test", metric="median").table
    split = results.splits["test"]
    variant = split.variants[3]
    squared = (variant.predictions.astype(float) - split.params) ** 2
    expected = np.median(squared.mean(axis=-1))
    assert row_of(table, variant.name)["median_squared_error"] == pytest.approx(expected)
    assert not table["few_images"].any()


def test_mse_is_the_mean_of_slope_and_intercept(results):
    table = compare_study(results, split="test").table
    np.testing.assert_allclose(
        table["mse"], (table["slope_mse"] + table["intercept_mse"]) / 2, rtol=1e-12
    )


def test_failed_cells_score_as_the_constant_predictor_and_stand_beside(results):
    split = results.splits["test"]
    variant = split.variants[1]
    row = row_of(compare_study(results, split="test").table, variant.name)
    assert row["flagged"]
    assert (row["n_ok"], row["n_seeds"]) == (4, 5)
    ok = variant_errors(split, variant)[variant.ok]
    constant = yardstick_errors(split, "constant").mean()
    assert row["mse"] == pytest.approx((4 * ok.mean() + constant) / 5)
    given = crossed_mean(ok)
    assert row["mse_given_convergence"] == pytest.approx(given.mean)
    assert row["mse_given_convergence_high"] == pytest.approx(given.high)
    # one failure in five says little about how often it happens
    assert row["high"] / row["low"] > 10 * given.high / given.low
    text = compare_study(results, split="test").to_text()
    assert f"{variant.name}*" in text
    assert "score as the constant predictor" in text


def test_a_variant_without_any_converged_seed_keeps_its_row():
    results = synthetic_results(2, 3, 100, failures={(0, k): "oom" for k in range(3)})
    comparison = compare_study(results, split="test")
    name = results.splits["test"].variants[0].name
    row = row_of(comparison.table, name)
    constant = row_of(comparison.table, "constant")
    assert row["mse"] == pytest.approx(constant["mse"])
    assert np.isnan(row["mse_given_convergence"])
    assert "0 of 3 seeds converged" in comparison.sentence(name)


def test_failures_without_a_constant_yardstick_are_refused():
    results = synthetic_results(1, 3, 50, failures={(0, 0): "error"})
    split = results.splits["test"]
    yardsticks = {k: v for k, v in split.yardsticks.items() if k != "constant"}
    results = replace(results, splits={"test": replace(split, yardsticks=yardsticks)})
    with pytest.raises(ValueError, match="no `constant` yardstick"):
        compare_study(results, split="test")


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_few_seeds_show_points_without_intervals(n_seeds):
    comparison = compare_study(synthetic_results(3, n_seeds, 100), split="test")
    variants = comparison.table[comparison.table["kind"] == "variant"]
    points = ["mse", "ratio", "difference", "p_beats", "ratio_to_floor", "mse_given_convergence"]
    assert variants[points].notna().all(axis=None)
    limits = [
        c
        for c in variants
        if c.endswith(("low", "high")) and not c.startswith(("ok", "median_over_seeds"))
    ]
    assert variants[[*limits, "p", "p_holm"]].isna().all(axis=None)
    assert (variants["verdict"] == "too few seeds").all()
    assert "too few seeds for an interval" in comparison.sentence(variants["variant"].iloc[0])
    assert comparison.fail_unless("variant<=1000*constant")[0].holds is False


def test_yardsticks_have_intervals_over_images_and_are_in_the_family(results):
    table = compare_study(results, split="test").table
    yardsticks = table[table["kind"] == "yardstick"]
    assert yardsticks["n_seeds"].isna().all()
    tested = yardsticks[yardsticks["verdict"] != "reference"]
    assert (tested["p_holm"] >= tested["p"]).all()  # nothing is known: they are in the family, too
    assert yardsticks[["low", "high"]].notna().all(axis=None)
    reference = row_of(table, "least_squares")
    assert (reference["ratio"], reference["verdict"]) == (1, "reference")
    assert np.isnan(reference["ratio_low"])


def test_against_the_floor_or_a_variant(results):
    floor = compare_study(results, split="test", against="floor")
    assert floor.against == "posterior_mean"
    np.testing.assert_allclose(floor.table["ratio"], floor.table["ratio_to_floor"])
    name = results.splits["test"].variants[4].name
    comparison = compare_study(results, split="test", against=name)
    assert row_of(comparison.table, name)["verdict"] == "reference"
    assert row_of(comparison.table, name)["ratio"] == 1
    assert comparison.table["p_holm"].notna().sum() == 20
    assert "the others are compared with it" in comparison.sentence(name)


def test_published_numbers_stand_beside_the_test_mse_only(results):
    name = results.study.variants[0].name
    assert row_of(compare_study(results, split="test").table, name)["published"] == 16.5643
    assert compare_study(results, split="more").table["published"].isna().all()
    assert compare_study(results, split="test", metric="slope").table["published"].isna().all()


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(0.5, "better"), (1.0, "equivalent"), (3.0, "worse")],
)
def test_verdicts_of_clear_cases(factor, expected):
    results = with_error(synthetic_results(1, 5, 400), "made-up", factor)
    assert row_of(compare_study(results, split="test").table, "made-up")["verdict"] == expected


def test_sentence(results):
    comparison = compare_study(results, split="test")
    row = comparison.table.iloc[3]
    low, high = two_digits(row["ratio_low"]), two_digits(row["ratio_high"])
    assert comparison.sentence(row["variant"]) == (
        f"{row['variant']}: {two_digits(row['ratio'])}x the MSE of least squares (95% CI [{low}, {high}]; "
        "5 of 5 seeds converged, a failure rate up to 45% is not excluded; 400 images; too few images for a reliable "
        "interval)"
    )
    assert "95% CI over images" in comparison.sentence("constant")
    assert comparison.sentence("floor").startswith("the floor (the posterior mean): ")
    with pytest.raises(ValueError, match="variant 'leastsquares' is not one of"):
        comparison.sentence("leastsquares")


def test_methods_name_every_n_and_the_commit(results):
    comparison = compare_study(
        replace(results, provenance={"git_commit": "0123456789abcdef", "git_dirty": True}),
        split="test",
    )
    for fact in (
        "12 variants with 5 seeds each",
        "60 trained networks, of which 59 converged",
        "9 estimators without training",
        "400 images of split `test`",
        "family of 20",
        "outside 1/1.25 to 1.25",
        "given the one training set of 5,000 images",
        "do not exclude that it happens to 45% of seeds",
        "commit 0123456789ab with local changes",
    ):
        assert fact in comparison.methods
    listed = replace(results, provenance={"git_commit": ["a" * 40, "b" * 40], "git_dirty": [False]})
    assert f"commit {'a' * 12} and {'b' * 12}." in compare_study(listed, split="test").methods
    assert "commit unknown" in compare_study(replace(results, provenance={}), split="test").methods


def test_importance_of_a_full_grid_and_why_there_is_none_of_a_confounded_one(results):
    comparison = compare_study(results, split="test")
    assert comparison.importance is not None
    assert comparison.importance.method == "functional ANOVA"
    assert "Factor importance (exact functional ANOVA" in comparison.to_text("markdown")
    single = compare_study(synthetic_results(1, 5, 100), split="test")
    assert single.importance is None
    assert "no factor has two levels" in single.importance_note
    assert "no factor has two levels" in single.methods


def test_pairs_are_all_pairs_with_benjamini_hochberg(results):
    comparison = compare_study(results, split="test")
    pairs = comparison.pairs()
    assert len(pairs) == 12 * 11 / 2
    assert (pairs["ratio"] >= 1).all()
    assert (pairs["p_bh"] >= pairs["p"]).all()
    assert len(compare_study(synthetic_results(1, 3, 50), split="test").pairs()) == 0


def test_formats(results):
    comparison = compare_study(results, split="test", metric="intercept")
    read = pd.read_csv(io.StringIO(comparison.to_text("csv")))
    np.testing.assert_allclose(read["ratio_high"], comparison.table["ratio_high"])
    assert set(read["metric"]) == {"intercept"}
    assert set(read["against"]) == {"least_squares"}
    document = json.loads(comparison.to_text("json"))
    assert document["n_images"] == 400
    assert document["methods"] == comparison.methods
    assert [row["variant"] for row in document["table"]] == list(comparison.table["variant"])
    assert document["importance"]["table"][0]["term"] == "coordinates"
    markdown = [
        line for line in comparison.to_text("markdown").splitlines() if line.startswith("|")
    ]
    assert len({line.count("|") for line in markdown[:20]}) == 1
    assert "MSE of the intercept [95% CI]" in markdown[0]
    with pytest.raises(ValueError, match="format 'html' is not one of table, csv, json, markdown"):
        comparison.to_text("html")


def test_claims_about_every_variant_and_about_one(results):
    comparison = compare_study(results, split="test")
    checks = comparison.fail_unless("variant<=1.25*least_squares", "floor<=1.25*least_squares")
    assert len(checks) == 13
    for check in checks:
        assert not check.holds
        assert str(check).startswith("FAILS")
        assert "a claim on a mean that is not known needs 30,000 images" in check.reason
    names = list(comparison.table["variant"][:12])
    best = compare_study(results, split="test", against=names[0])
    highs = best.table.set_index("variant")["ratio_high"]
    for name in names[1:]:
        (loose,) = best.fail_unless(f"{names[0]}<=1000*{name}")
        (tight,) = best.fail_unless(f"{name}<={highs[name] * 0.99}*{names[0]}")
        assert loose.holds
        assert not tight.holds
    (check,) = comparison.fail_unless("least_squares<=1.1*least_squares")
    assert check.holds
    with pytest.raises(
        ValueError, match="the right side of the claim 'least_square' is not one of"
    ):
        comparison.fail_unless("variant<=1.25*least_square")
    with pytest.raises(ValueError, match="the left side of the claim 'variants' is not one of"):
        comparison.fail_unless("variants<=1.25*least_squares")


def test_unknown_names_are_refused_with_the_nearest(results):
    with pytest.raises(
        ValueError, match="split 'tst' is not one of test, more; did you mean 'test'"
    ):
        compare_study(results, split="tst")
    with pytest.raises(ValueError, match="did you mean 'least_squares'"):
        compare_study(results, split="test", against="leastsquares")
    with pytest.raises(
        ValueError, match="metric 'mae' is not one of mse, slope, intercept, median, distance"
    ):
        compare_study(results, split="test", metric="mae")
    with pytest.raises(ValueError, match="margin is a ratio above 1"):
        compare_study(results, split="test", margin=0.5)


@pytest.fixture
def verb(results, monkeypatch):
    """Run the verb on the synthetic study, whatever its name but `nowhere`."""

    def load_results(study, results_dir):
        if study == "nowhere":
            raise StudyError("nowhere", [Problem("", "nowhere", "a study", None)])
        return results

    monkeypatch.setattr(ablations.records.loading, "load_results", load_results)
    monkeypatch.setattr(ablations.records.folder, "find_study", lambda *a: load_results(*a).study)
    return lambda *arguments: CliRunner().invoke(app, ["compare", *arguments])


def test_verb_prints_table_and_methods_on_stdout(verb, results):
    done = verb("synthetic", "--split", "test")
    assert done.exit_code == 0
    comparison = compare_study(results, split="test")
    assert done.stdout.strip() == f"{comparison.to_text('table')}\n\n{comparison.methods}"
    assert done.stderr == ""


@pytest.mark.parametrize("format", ["csv", "json"])
def test_verb_prints_nothing_but_data_for_machines(verb, format):
    done = verb("synthetic", "--format", format, "--against", "floor", "--metric", "slope")
    read = (
        pd.read_csv(io.StringIO(done.stdout))
        if format == "csv"
        else pd.DataFrame(json.loads(done.stdout)["table"])
    )
    assert len(read) == 21
    pairs = verb("synthetic", "--format", format, "--pairs").stdout
    read = pd.read_csv(io.StringIO(pairs)) if format == "csv" else pd.read_json(io.StringIO(pairs))
    assert len(read) == 66


@pytest.mark.parametrize("format", ["table", "markdown"])
def test_verb_prints_pairs(verb, format):
    assert "Benjamini-Hochberg" in verb("synthetic", "--format", format, "--pairs").stdout


def test_verb_exit_codes(verb):
    assert verb("synthetic", "--fail-unless", "floor<=1.25*floor").exit_code == 0
    failed = verb(
        *("synthetic", "--fail-unless", "floor<=1.25*floor"),
        *("--fail-unless", "constant<=1.25*least_squares"),
    )
    assert failed.exit_code == 1
    assert "holds: posterior_mean<=1.25*posterior_mean" in failed.stderr
    assert "FAILS: constant<=1.25*least_squares" in failed.stderr
    for wrong, message in (
        (("--against", "nobody"), "error: against 'nobody' is not one of"),
        (("--split", "val"), "error: split 'val' is not one of"),
        (("--fail-unless", "variant<1.25*least_squares"), "error: claim"),
        (("--margin", "1"), "error: margin is a ratio above 1"),
    ):
        done = verb("synthetic", *wrong)
        assert done.exit_code == 2, wrong
        assert message in done.stderr
        assert done.stdout == ""
    assert verb("nowhere").exit_code == 2
    assert verb("synthetic", "--format", "html").exit_code == 2


def test_few_images_are_told_where_a_yardstick_is_involved_and_only_there(results):
    against_yardstick = compare_study(results, split="test")
    assert against_yardstick.table["few_images"].all()  # the reference's own interval, too
    assert "too short" in against_yardstick.methods
    variant = results.splits["test"].variants[0].name
    between = compare_study(results, split="test", against=variant).table
    assert not between.loc[between["kind"] == "variant", "few_images"].any()
    assert between.loc[between["kind"] == "yardstick", "few_images"].all()


@pytest.fixture(scope="module")
def lab() -> StudyResults:
    """Two made-up nets on 600 images of the lab: near the posterior mean, and imitating least squares."""
    images = lab_images(600, random_offset=60_000_000)
    floor, fit = posterior_mean(images.pixels), least_squares(images.pixels)
    rng = np.random.default_rng(0)
    base = synthetic_results(2, 5, 600)
    split = base.splits["test"]
    scale = np.sqrt(rng.lognormal(0, 0.3, (5, 1, 1)))
    answers = (
        floor + 3 * scale * rng.standard_normal((5, 600, 2)),
        fit + 0.02 * scale * rng.standard_normal((5, 600, 2)),
    )
    variants = tuple(
        replace(variant, predictions=own.astype(np.float32))
        for variant, own in zip(split.variants, answers, strict=True)
    )
    yardsticks = {
        "posterior_mean": floor,
        "least_squares": fit,
        "constant": np.tile([1.0, 2.0], (600, 1)),
        "unheard_of": fit + 0.5,
    }
    known = replace(
        split, params=images.params, variants=variants, yardsticks=yardsticks, lab_prior=True
    )
    return replace(base, splits={"test": known})


@pytest.mark.parametrize("metric", ["mse", "slope", "intercept"])
def test_known_yardsticks_have_their_exact_values(lab, metric):
    table = compare_study(lab, split="test", metric=metric).table
    column, output = METRICS[metric].column, METRICS[metric].output
    risk = known_risk().risk("least_squares", output)
    assert row_of(table, "least_squares")[column] == risk.mse
    assert row_of(table, "posterior_mean")["regret"] == 0
    assert row_of(table, "posterior_mean")["ratio"] == pytest.approx(risk_ratio(output))
    constant = row_of(table, "constant")
    assert constant[column] == line_moments().constant_risk([1.0, 2.0])[output]
    assert constant["verdict"] == "worse"
    assert not table["few_images"].any()
    assert table.loc[table["variant"].isin(["least_squares", "constant"]), "p_holm"].isna().all()
    # a yardstick that the table does not know is scored by its regret
    assert row_of(table, "unheard_of")["low"] < row_of(table, "unheard_of")[column]


def risk_ratio(output: str) -> float:
    return (
        known_risk().risk("posterior_mean", output).mse
        / known_risk().risk("least_squares", output).mse
    )


def test_nets_on_images_of_the_lab_are_the_floor_plus_their_regret(lab):
    table = compare_study(lab, split="test").table
    split = lab.splits["test"]
    near, imitator = (row_of(table, variant.name) for variant in split.variants)
    squares = (split.variants[0].predictions - split.yardsticks["posterior_mean"]) ** 2
    floor, fit = known_risk().risk("posterior_mean"), known_risk().risk("least_squares")
    assert near["beta"] == 0
    assert near["mse"] == pytest.approx(floor.mse + squares.mean())
    assert near["regret"] == pytest.approx(squares.mean())
    assert near["ratio"] == near["mse"] / fit.mse
    assert near["ratio_low"] == pytest.approx(near["low"] / fit.mse, rel=1e-3)
    assert not near["imitates"]
    assert imitator["imitates"]
    assert imitator["ratio"] == pytest.approx(1.0, abs=0.05)
    assert imitator["verdict"] == "equivalent"
    # the paired ratio on the images themselves stands beside
    errors = variant_errors(split, split.variants[0])
    paired = compare_estimators(errors, yardstick_errors(split, "least_squares")).ratio
    assert near["ratio_on_these_images_high"] == paired.high
    text = compare_study(lab, split="test").to_text("markdown")
    assert "‡ Errs where least squares errs" in text
    assert "too short" not in text
    assert "known, over all images" in compare_study(lab, split="test").sentence("least_squares")


def test_claims_rest_on_known_values_and_on_enough_seeds(lab):
    comparison = compare_study(lab, split="test")
    checks = comparison.fail_unless(
        "posterior_mean<=0.6*least_squares",
        "posterior_mean<=0.2*least_squares",
        f"{lab.splits['test'].variants[1].name}<=1.2*least_squares",
    )
    assert [check.holds for check in checks] == [True, False, True]
    split = lab.splits["test"]
    few = tuple(
        replace(v, predictions=v.predictions[:4], seeds=v.seeds[:4], status=v.status[:4])
        for v in split.variants
    )
    four = compare_study(replace(lab, splits={"test": replace(split, variants=few)}), split="test")
    (check,) = four.fail_unless(f"{few[1].name}<=1.2*least_squares")
    assert not check.holds
    assert "a claim needs 5 seeds" in check.reason
    assert (four.table.loc[four.table["kind"] == "variant", "verdict"] == "too few seeds").all()


def test_the_brief_table_has_seven_columns_at_most(lab, results):
    for comparison in (
        compare_study(lab, split="test"),
        compare_study(results, split="test"),
        compare_study(results, split="more", metric="distance"),
    ):
        brief, wide = comparison.display(), comparison.display(wide=True)
        assert brief.shape[1] <= 7
        assert set(brief) <= set(wide)
        assert {"estimator", "ok", "verdict"} <= set(brief)
    assert "ratio on these images [95% CI]" in compare_study(lab, split="test").display()


def test_seeds_in_two_groups_are_told_with_their_median():
    base = synthetic_results(1, 5, 400)
    split = base.splits["test"]
    spread = np.sqrt([1.0, 1.1, 0.9, 1.05, 12.0])[:, None, None]
    residual = split.yardsticks["least_squares"] - split.params
    variant = replace(
        split.variants[0], predictions=(split.params + spread * residual).astype(np.float32)
    )
    comparison = compare_study(
        replace(base, splits={"test": replace(split, variants=(variant,))}), split="test"
    )
    row = row_of(comparison.table, variant.name)
    assert row["outlying_seeds"]
    assert row["median_over_seeds"] < row["mse"] / 2
    assert f"{variant.name}†§" in comparison.to_text()
    assert "outlying seeds, their median" in comparison.sentence(variant.name)


@pytest.mark.parametrize("kind", ["fixed", "per_seed", "fresh"])
def test_methods_say_which_population_intervals_speak_of(results, kind):
    study = results.study
    variants = tuple(
        replace(v, levels={**v.levels, "training_set": kind, "train_size": 700})
        for v in study.variants
    )
    methods = compare_study(
        replace(results, study=replace(study, variants=variants)), split="test"
    ).methods
    expected = {
        "fixed": "new seeds and new images, given the one training set of 700 images",
        "per_seed": "new seeds and new images, and new training sets of 700 images",
        "fresh": "new seeds and new images, and new streams of training images",
    }
    assert expected[kind] in methods
