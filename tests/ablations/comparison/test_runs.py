"""Runs from anywhere: the same comparison as that of a study, checked against statsmodels and by hand."""

import io
import json
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from typer.testing import CliRunner

import ablations
from ablations.cli.main import app
from ablations.comparison.metrics import variant_errors, yardstick_errors
from ablations.comparison.study_comparison import compare_study
from ablations.statistics import compare_estimators, crossed_mean
from ablations.study.study import StudyError
from tests.ablations.synthetic import synthetic_results


def tidy(n_seeds=5, n_items=60, seed=0):
    """A 2 x 2 grid of variants and a baseline; every error has effects of its seed and its item."""
    rng = np.random.default_rng(seed)
    difficulty = rng.lognormal(0, 0.7, n_items)
    rows = [
        (f"net{depth}-{width}", k, item, depth * luck * difficulty[item] * rng.lognormal(0, 0.5))
        for depth in (1, 3)
        for width in (8, 48)
        for k, luck in enumerate(rng.lognormal(0, 0.2, n_seeds))
        for item in range(n_items)
    ]
    rows += [("baseline", None, item, difficulty[item]) for item in range(n_items)]
    frame = pd.DataFrame(rows, columns=["variant", "seed", "item", "error"])
    parts = frame["variant"].str.split("-", expand=True)
    return frame.assign(depth=parts[0], width=parts[1]).sample(frac=1, random_state=1)


def errors_of(frame, name):
    rows = frame[frame["variant"] == name]
    return rows.pivot(index="seed", columns="item", values="error").sort_index().to_numpy()


def row_of(comparison, name):
    return comparison.table.set_index("variant").loc[name]


def test_the_baseline_is_what_the_others_are_compared_with():
    frame = tidy()
    comparison = ablations.compare_errors(frame)
    assert comparison.against == "baseline"
    expected = compare_estimators(errors_of(frame, "net3-8"), errors_of(frame, "baseline")[0])
    row = row_of(comparison, "net3-8")
    assert row["mean_error"] == pytest.approx(errors_of(frame, "net3-8").mean())
    assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == pytest.approx(
        (expected.ratio.value, expected.ratio.low, expected.ratio.high)
    )
    assert row["verdict"] == "worse"
    assert not comparison.table["few_images"].any()
    assert "60 items" in comparison.sentence("net3-8")
    assert "4 variants with 5 seeds each, 20 runs" in comparison.methods


def test_the_crossed_variance_is_that_of_a_mixed_model():
    """statsmodels' REML fit with seeds and items as crossed random effects, on one variant."""
    frame = tidy(n_seeds=6, n_items=25)
    rows = frame[frame["variant"] == "net3-8"].assign(everything=1)
    effects = {"seed": "0 + C(seed)", "item": "0 + C(item)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its optimiser, which tries several
        model = smf.mixedlm("error ~ 1", rows, groups="everything", vc_formula=effects)
        fit = model.fit(reml=True)
    ours = crossed_mean(ablations.compare_errors(frame).estimators["net3-8"].errors)
    assert ours.mean == pytest.approx(fit.fe_params["Intercept"])
    assert ours.se == pytest.approx(fit.bse_fe["Intercept"], rel=0.02)


def test_a_study_told_as_a_table_gives_the_same_ratios():
    results = synthetic_results(3, 5, 40)
    split = results.splits["test"]
    rows = [
        (variant.name, seed, item, error)
        for variant in split.variants
        for seed, errors in enumerate(variant_errors(split, variant))
        for item, error in enumerate(errors)
    ]
    rows += [("huber", None, i, e) for i, e in enumerate(yardstick_errors(split, "huber"))]
    frame = pd.DataFrame(rows, columns=["model", "run", "image", "loss"])
    comparison = ablations.compare_errors(
        frame, variant="model", seed="run", item="image", error="loss"
    )
    study = compare_study(results, against="huber").table.set_index("variant")
    for variant in split.variants:
        row = row_of(comparison, variant.name)
        for column in ("ratio", "ratio_low", "ratio_high", "p", "p_beats"):
            assert row[column] == pytest.approx(study.loc[variant.name, column]), column


def test_factors_have_their_importance():
    comparison = ablations.compare_errors(tidy(), factors=["depth", "width"])
    shares = comparison.importance.table.set_index("term")["share"]
    assert shares["depth"].iloc[0] > 0.8
    shown = comparison.to_text()
    assert "Factor importance" in shown
    assert "share of the variance of log mean error" in shown
    assert "MSE" not in shown + comparison.methods


def test_failed_runs_score_as_the_constant_and_are_refused_without_it():
    frame = tidy()
    failed = (frame["variant"] == "net1-8") & (frame["seed"] == 2)
    frame.loc[failed, "error"] = np.nan
    with pytest.raises(ValueError, match="1 cells failed and there is no `constant` yardstick"):
        ablations.compare_errors(frame)
    constant = pd.DataFrame(
        {"variant": "constant", "seed": None, "item": range(60), "error": 50.0}
    ).astype({"seed": float})
    comparison = ablations.compare_errors(pd.concat([frame, constant]))
    assert comparison.against == "baseline"
    row = row_of(comparison, "net1-8")
    ok = np.delete(errors_of(frame, "net1-8"), 2, axis=0)
    assert row["mean_error"] == pytest.approx((4 * ok.mean() + 50) / 5)
    assert (row["n_ok"], row["flagged"]) == (4, True)


def test_the_reference_has_to_be_said_where_there_is_no_one_baseline():
    frame = tidy()
    alone = frame[frame["variant"] != "baseline"]
    with pytest.raises(ValueError, match="against: say what the others are compared with"):
        ablations.compare_errors(alone)
    assert ablations.compare_errors(alone, against="net1-8").against == "net1-8"
    with pytest.raises(
        ValueError, match=r"against 'net1-9' is not one of .* did you mean 'net1-8'"
    ):
        ablations.compare_errors(alone, against="net1-9")
    with pytest.raises(StudyError, match="did you mean 'error'"):
        ablations.compare_errors(frame, error="errors")


def invoke(*arguments):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_verb_reads_files(tmp_path, kind):
    frame = tidy().rename(columns={"variant": "model"})
    path = tmp_path / f"runs.{kind}"
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path, index=False)
    done = invoke(
        path, "--columns", "variant=model", "--factors", "depth,width", "--format", "json"
    )
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["n_images"], document["metric"]) == (60, "error")
    table = invoke(path, "--columns", "variant=model", "--format", "csv").stdout
    assert len(pd.read_csv(io.StringIO(table))) == 5
    claim = invoke(path, "--columns", "variant=model", "--fail-unless", "net3-8<=1.1*baseline")
    assert claim.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs.csv"], "runs.csv"),  # there is none
        (["quick", "--factors", "width"], "--factors cannot be used with a study"),
        (["{path}", "--split", "test"], "--split cannot be used with a table of errors"),
        (["{path}", "--columns", "model=x"], "NAME=COLUMN with each of variant, seed"),
        (["{path}", "--factors", "dept"], "did you mean 'depth'"),
        (["{path}", "--against", "x"], "against 'x' is not one of"),
    ],
)
def test_mistakes_exit_with_2(tmp_path, arguments, message):
    path = tmp_path / "table.csv"
    tidy(n_seeds=3, n_items=5).to_csv(path, index=False)
    done = invoke(*(argument.format(path=path) for argument in arguments))
    assert done.exit_code == 2
    assert message in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_the_terminal_and_keeps_what_matters(width):
    comparison = ablations.compare_errors(tidy())
    lines = comparison.to_text(width=width).split("\n\n")[1].split("\n")
    assert all(len(line) <= width for line in lines if not line.startswith("Left out"))
    header = lines[0]
    assert all(column in header for column in ("estimator", "ratio to baseline", "verdict"))
    assert ("mean error" in header) == (width >= 80)
    assert len(lines) - (width < 80) == 6


def test_latex_is_a_table_and_comments():
    text = ablations.compare_errors(tidy(), factors=["depth", "width"]).to_text("latex")
    for line in filter(None, text.split("\n")):
        assert line.startswith(("%", "\\")) or line.endswith(r"\\")
    assert text.count(r"\begin{tabular}") == 2


def test_what_never_errs_is_refused_by_name():
    frame = tidy()
    frame.loc[frame["variant"] == "net1-8", "error"] = 0.0
    with pytest.raises(ValueError, match="net1-8: never errs"):
        ablations.compare_errors(frame)
