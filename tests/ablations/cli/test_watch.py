"""The live view: one frame for pipes, and a screen that ends when all cells are there."""

import os
import pty
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from ablations.cli.main import app
from ablations.cli.watch import BLOCKS, CURVE, sparkline
from ablations.records.database import database_path
from ablations.records.store import Store
from ablations.study.outcome import Outcome
from tests.ablations.comparison.test_so_far import STUDY, fill
from tests.ablations.tiny import write_tiny


def once(study, results):
    return CliRunner().invoke(app, ["watch", str(study), "--once", "--results", str(results)])


def test_one_frame_says_counts_numbers_and_failures(tmp_path):
    study, results = write_tiny(tmp_path), tmp_path / "results"
    assert "0 of 6 cells ok, 6 to do" in once(study, results).stdout
    cells = STUDY.cells()
    fill(results, cells[:4])
    with Store.write(database_path(results, "tiny")) as store:
        store.put(cells[4], Outcome("error", "no \x1b[31m[bold]colour"), {})
    done = once(study, results)
    assert done.exit_code == 0
    assert "4 of 6 cells ok, 1 failed, 1 to do" in done.stdout
    assert "MSE on test [95% CI]" in done.stdout
    assert "No driver is at work." in done.stdout
    assert "error: no \\x1b[31m[bold]colour" in done.stdout
    assert "\x1b" not in done.stdout
    assert (
        sum(any(block in line for block in BLOCKS[:-1]) for line in done.stdout.splitlines()) == 2
    )
    assert not list(results.rglob("*.html"))


def test_a_study_of_which_there_are_exports_alone_says_so(tmp_path):
    directory = tmp_path / "tiny"
    directory.mkdir()
    (directory / "predictions.parquet").write_text("")
    (directory / "cells.csv").write_text("key,variant,seed,status\nx,none,0,ok\n")
    done = once(write_tiny(tmp_path), tmp_path)
    assert "no database here, but exports of 1 cells" in done.stdout


def test_a_screen_is_left_when_all_cells_are_there(tmp_path):
    study, results = write_tiny(tmp_path), tmp_path / "results"
    fill(results, STUDY.cells())
    driver, side = pty.openpty()
    command = [sys.executable, "-m", "ablations", "watch", str(study), "--results", str(results)]
    done = subprocess.run(command, stdout=side, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(side)
    shown = os.read(driver, 100_000).decode()
    os.close(driver)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "6 of 6 cells ok" in shown
    assert "All cells are there" in shown


def test_mistakes_are_told(tmp_path):
    assert once("nowhere", tmp_path).exit_code == 2


@pytest.mark.parametrize("length", [1, 5, CURVE, 100])
def test_a_curve_falls_as_its_numbers_do_and_ends_with_the_last(length):
    values = np.geomspace(100, 1, length) if length > 1 else np.array([100.0])
    drawn = sparkline(values, 1, 100)
    heights = [BLOCKS.index(sign) for sign in drawn]
    assert len(drawn) == min(length, CURVE)
    assert heights == sorted(heights, reverse=True)
    assert drawn[-1] == BLOCKS[0 if length > 1 else -1]


def test_a_curve_has_gaps_where_there_is_no_number():
    assert sparkline([np.nan, 1.0, np.inf], 1, 1) == f" {BLOCKS[0]}{BLOCKS[-1]}"
    assert sparkline([], 1, 1) == ""
