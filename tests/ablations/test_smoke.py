"""Every level trains through `python -m ablations.run`: every two levels that can meet do so in some cell."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from tests.linefit.combinations import FACTORS, combinations

HEAD = """
title = "Every level, every two that can meet"
seeds = 1
[protocol]
epochs = 1
train_size = 24
batch_size = 12
[evaluation]
splits = ["test"]
yardsticks = ["least_squares"]
"""


def study(chosen):
    """One `[[include]]` a combination; a level with parameters as the table that a user would write."""
    entries = []
    for i, levels in enumerate(chosen):
        rows = [f"{factor} = {toml(level)}" for factor, level in levels.items()]
        entries += ["[[include]]", f'name = "cell{i}"', *rows]
    return HEAD + "\n".join(entries)


def toml(level):
    if level == "least_squares(residual=true)":
        return '{ name = "least_squares", residual = true }'
    return json.dumps(level)


def once_each(chosen):
    """Some of the combinations that hold every level."""
    left = {(factor, level) for factor, levels in FACTORS.items() for level in levels}
    kept = []
    while left:
        best = max(chosen, key=lambda levels: len(left & set(levels.items())))
        kept.append(best)
        left -= set(best.items())
    return kept


def run(tmp_path, chosen):
    (tmp_path / "smoke.toml").write_text(study(chosen))
    command = [sys.executable, "-m", "ablations.run", "smoke.toml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = pd.read_csv(tmp_path / "results" / "smoke" / "cells.csv")
    assert cells["status"].tolist() == ["ok"] * len(chosen)


def test_every_level_trains(tmp_path):
    run(tmp_path, once_each(combinations(4)))


@pytest.mark.slow
def test_every_two_levels_that_can_meet_train(tmp_path):
    run(tmp_path, combinations(4))
