"""Runs from anywhere give a page with the same comparison, figures whose numbers lie beside them, and no more."""

import re

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import ablations
from ablations.cli.main import app
from ablations.comparison.runs import compare_table
from ablations.records.tidy import error_table
from ablations.report.runs_figures import effects_data, errors_data
from ablations.report.runs_page import write_runs
from tests.ablations.comparison.test_runs import errors_of, tidy
from tests.ablations.report.test_page import Page


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A 2 x 2 grid of runs as CSV, and what `compare --to` made of it."""
    folder = tmp_path_factory.mktemp("runs")
    frame = tidy()
    frame.to_csv(folder / "runs.csv", index=False)
    done = CliRunner().invoke(
        app,
        [
            *("compare", str(folder / "runs.csv"), "--factors", "depth,width"),
            *("--to", str(folder / "out"), "--format", "csv"),
        ],
    )
    assert done.exit_code == 0, done.output
    return frame, folder / "out", done


def test_it_writes_a_page_figures_with_numbers_a_table_and_a_summary(written):
    _, folder, done = written
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    figures = {
        f"figures/{kind}.{suffix}"
        for kind in ("errors", "effects", "importance")
        for suffix in ("png", "svg", "csv")
    }
    assert names == {"report.html", "compare.csv", "summary.md", *figures}
    assert (folder / "compare.csv").read_text() == done.stdout
    assert set(done.stderr.split()) == {str(folder / name) for name in names}


def test_the_page_says_what_the_comparison_says(written):
    frame, folder, _ = written
    comparison = ablations.compare_errors(frame, factors=("depth", "width"), name="runs.csv")
    page = Page((folder / "report.html").read_text())
    for name in comparison.table.loc[comparison.table["kind"] == "variant", "variant"]:
        assert f"{comparison.sentence(name)}." in page.text
    assert comparison.methods.replace("`", "") in page.text
    for row in comparison.display(wide=True).to_numpy().tolist():
        assert " ".join(" ".join(row).split()) in page.text
    assert (
        "4 variants, 5 seeds each, 1 without seeds, all measured on the same 60 items" in page.text
    )
    shown = [i.removeprefix("figure-") for i in page.ids if i.startswith("figure-")]
    assert shown == ["errors", "effects", "importance"]
    assert "images" not in page.text
    assert not re.search(r"\bMSE\b|least squares", page.text)


def test_rows_of_the_page_carry_levels_and_nothing_is_loaded(written):
    _, folder, _ = written
    page = Page((folder / "report.html").read_text())
    (table,) = [a for tag, a in page.attributes if tag == "table" and "data-factors" in a]
    assert table["data-factors"] == '["depth", "width"]'
    assert not {"link", "iframe", "img"} & set(page.tags)


def test_drawn_numbers_are_those_of_the_errors(written):
    frame, folder, _ = written
    drawn = pd.read_csv(folder / "figures" / "errors.csv")
    for name, rows in drawn[drawn["what"] == "seed"].groupby("estimator"):
        expected = errors_of(frame, name).mean(axis=1)
        np.testing.assert_allclose(np.sort(rows["value"]), np.sort(expected))
    means = drawn[drawn["what"] == "mean"].set_index("estimator")["value"]
    assert means["net3-8"] == pytest.approx(errors_of(frame, "net3-8").mean())
    effects = pd.read_csv(folder / "figures" / "effects.csv")
    logs = {name: np.log(value) for name, value in means.items() if name.startswith("net")}
    deep = np.mean([value for name, value in logs.items() if name.startswith("net3")])
    everything = np.mean(list(logs.values()))
    row = effects[(effects["factor"] == "depth") & (effects["level"] == "net3")]
    assert row["ratio"].item() == pytest.approx(np.exp(deep - everything))


def test_runs_without_factors_or_with_a_seed_that_never_errs_are_drawn(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        (name, seed, item, float(seed > 0 and rng.random() < rate))
        for name, rate in (("a", 0.2), ("b", 0.4))
        for seed in range(3)
        for item in range(30)
    ]
    frame = pd.DataFrame(rows, columns=["variant", "seed", "item", "error"])
    data = error_table(frame)
    comparison = compare_table(data, against="b")
    assert errors_data(comparison)["value"].min() == 0
    assert effects_data(comparison, data.levels) is None
    paths = write_runs(data, comparison, tmp_path, command="x", facts={})
    names = {path.name for path in paths}
    assert "errors.svg" in names
    assert "effects.svg" not in names


def test_whole_levels_stay_whole_beside_a_baseline_without_any():
    frame = tidy().assign(layers=lambda f: f["depth"].map({"net1": 1, "net3": 3}))
    frame.loc[frame["variant"] == "baseline", "layers"] = np.nan
    assert sorted(set(error_table(frame, factors=("layers",)).levels["layers"])) == [1, 3]
    assert error_table(frame, factors=("layers",)).levels["layers"].dtype == np.int64


def test_the_folder_of_a_study_is_left_alone(tmp_path):
    tidy().to_csv(tmp_path / "runs.csv", index=False)
    (tmp_path / "study.toml").write_text("")
    arguments = ["compare", str(tmp_path / "runs.csv"), "--to", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "holds the results of a study" in done.stderr
    assert not (tmp_path / "report.html").exists()
    refused = CliRunner().invoke(app, ["compare", "quick", "--to", str(tmp_path)])
    assert refused.exit_code == 2
    assert "--to cannot be used with a study" in refused.stderr
