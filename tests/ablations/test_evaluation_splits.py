"""A study on held-out lines and on another size: what is told of it in tables, page and exports, and by whom."""

import json
import shutil
import sqlite3
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from ablations.cli.main import app
from ablations.comparison.errors import error_table
from ablations.comparison.standing import standings
from ablations.comparison.study_comparison import compare_study
from ablations.records.checking import problems
from ablations.records.database import database_path
from ablations.records.loading import load_results
from ablations.records.yardsticks import predict_yardstick, yardstick_key
from ablations.report.outputs import compare_all, write_exports
from ablations.report.page import write_report
from ablations.report.plots import write_figures
from ablations.study.reader import parse_study
from ablations.study.until import Target
from linefit.images import lab_split
from linefit.lines import largest_distance
from linefit.posterior import posterior_mean

STUDY = """
title = "Flattened or pooled, shown all lines or not"
seeds = 2
[protocol]
epochs = 1
train_size = 64
batch_size = 32
[grid]
architecture = "conv1"
coordinates = "cartesian"
pooling = ["max", "flatten"]
width = 2
training_region = ["all", "without_quadrant"]
[evaluation]
splits = ["test", "held_out_region", "image_size_32"]
yardsticks = ["least_squares"]
"""
REASON = "pooling flatten has weights for each site"
FLAT = ["flatten-training_region=all", "flatten-training_region=without_quadrant"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("splits")
    file = folder / "both.toml"
    file.write_text(STUDY)
    options = ["--workers", "1", "--results", str(folder)]
    done = CliRunner().invoke(app, ["run", str(file), *options])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def results(folder):
    return load_results("both", folder)


@pytest.fixture(scope="module")
def made(results):
    return compare_all(results)


def test_nets_that_cannot_are_no_rows_and_are_named_with_the_reason(results, made):
    assert {name: len(split.variants) for name, split in results.splits.items()} == {
        "test": 4,
        "held_out_region": 4,
        "image_size_32": 2,
    }
    found = made["image_size_32"]
    assert found.not_applicable == dict.fromkeys(FLAT, REASON)
    assert not set(FLAT) & set(found.table["variant"])
    note = f"Not applicable to 2 of 4 variants, which have no row here: {REASON} ({' and '.join(FLAT)})."
    for format in ("table", "markdown", "latex", "typst"):
        assert "Not applicable to 2 of 4 variants" in found.to_text(format)
    assert note in found.to_text("table")
    assert json.loads(found.to_text("json"))["not_applicable"] == found.not_applicable
    assert "Another 2 variants cannot be evaluated" in found.methods
    assert "of 32 x 32 pixels" in found.methods
    assert not made["test"].not_applicable


def test_exit_code_check_page_and_summary(folder):
    for name in ("summary.md", "report.html"):
        text = (folder / "both" / name).read_text()
        assert text.count(REASON) == 1, name
    assert not list(problems("both", folder))
    cells = pd.read_csv(folder / "both" / "cells.csv")
    assert set(cells["status"]) == {"ok"}


def test_errors_have_a_row_for_every_cell(results, folder):
    for table in (error_table(results), pd.read_csv(folder / "both" / "errors.csv")):
        nets = table[table["kind"] == "variant"]
        assert (nets.groupby("split").size() == 8).all()
        other = nets[nets["status"] == "not applicable"]
        assert set(other["split"]) == {"image_size_32"}
        assert set(other["estimator"]) == set(FLAT)
        assert other["mse"].isna().all()
        assert nets.loc[nets["status"] == "ok", "mse"].notna().all()


@pytest.mark.parametrize("max_predictions", [np.inf, 0.05])
def test_a_clone_says_the_same(results, made, tmp_path, max_predictions):
    """From exports alone, also from those without predictions."""
    write_exports(results, tmp_path / "both", max_predictions, made)
    left = load_results("both", tmp_path)
    assert ("image_size_32" in left.left_out) == (max_predictions < 1)
    here = compare_study(left, split="image_size_32")
    assert here.notes == made["image_size_32"].notes
    assert here.not_applicable == made["image_size_32"].not_applicable
    assert here.table["variant"].tolist() == made["image_size_32"].table["variant"].tolist()
    order = ["split", "kind", "estimator", "seed"]
    tables = [error_table(one).sort_values(order, ignore_index=True) for one in (left, results)]
    pd.testing.assert_frame_equal(*tables)


def test_a_split_that_no_net_can_take_shows_yardsticks_alone(results, tmp_path):
    split = results.splits["image_size_32"]
    none = replace(
        results,
        cells=results.cells[results.cells["variant"].isin(FLAT)],
        curves=results.curves[results.curves["variant"].isin(FLAT)],
        splits={split.name: replace(split, variants=())},
    )
    found = compare_study(none)
    assert set(found.table["kind"]) == {"yardstick"}
    assert "Not applicable to 2 of 2 variants" in found.notes[-1]
    assert {path.stem for path in write_figures(none, tmp_path)} == {"learning_curves"}
    page = tmp_path / "report.html"
    write_report(none, {split.name: found}, tmp_path, page, command="the command")
    assert REASON in page.read_text()


def test_no_seeds_are_sought_for_nets_that_cannot(results):
    split = results.splits["image_size_32"]
    other = replace(results, splits={split.name: split})
    names = [variant.name for variant in results.study.variants]
    found = standings(other, [Target(None, 25.0)], dict.fromkeys(names, (0, 1)))
    assert {standing.variant for standing in found} == set(names) - set(FLAT)


def test_the_headline_is_on_the_labs_images(results, folder):
    """Though the other splits have more."""
    assert results.sizes["test"] < min(
        results.sizes["held_out_region"], results.sizes["image_size_32"]
    )
    assert compare_study(results).split == "test"
    assert "Findings on test," in (folder / "both" / "report.html").read_text()


def test_known_values_are_not_used_where_they_do_not_hold(made):
    assert made["test"].table["exact"].any()
    for name in ("held_out_region", "image_size_32"):
        table = made[name].table
        assert not table["exact"].any()
        assert table["regret"].isna().all()


def test_distances_are_inside_images_of_that_size(results):
    split = results.splits["image_size_32"]
    found = compare_study(results, split="image_size_32", metric="distance").table
    row = found[found["variant"] == "least_squares"].iloc[0]
    lines = split.yardsticks["least_squares"]
    assert row["line_distance"] == pytest.approx(largest_distance(lines, split.params, 32).mean())
    assert row["line_distance"] != pytest.approx(largest_distance(lines, split.params, 40).mean())


def test_yardsticks_know_the_lines_that_they_are_asked_about(results, made):
    split = lab_split("held_out_region")
    floor = results.splits["held_out_region"].yardsticks["posterior_mean"]
    np.testing.assert_array_equal(floor, posterior_mean(split.pixels, "quadrant"))
    table = made["held_out_region"].table.set_index("variant")
    assert table["mse"].idxmin() == "posterior_mean"


def test_the_constant_predictor_is_that_of_the_studys_training_lines():
    def study(region):
        text = STUDY.replace('training_region = ["all", "without_quadrant"]', "")
        text = text.replace("epochs = 1", f'epochs = 1\ntraining_region = "{region}"')
        return parse_study(text, name="tiny", source="tiny.toml")

    lab, kept = (
        predict_yardstick(study(r), "constant", "test")[0] for r in ("all", "without_quadrant")
    )
    assert kept[0] < lab[0]  # rising lines above 0 are missing
    assert kept[1] < lab[1]
    keys = {yardstick_key(study(r), "constant", "test") for r in ("all", "without_quadrant")}
    assert len(keys) == 2


def test_a_cell_without_predictions_that_it_should_have_is_told(folder, tmp_path):
    shutil.copytree(folder / "both", tmp_path / "both")
    with sqlite3.connect(database_path(tmp_path, "both")) as db:
        db.execute("DELETE FROM predictions WHERE split = 'image_size_32'")
    told = [problem for problem in problems("both", tmp_path) if "missing" in problem]
    assert len(told) == 4  # of the nets that can
