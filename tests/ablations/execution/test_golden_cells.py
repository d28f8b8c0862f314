"""One tiny cell a level, with the predictions that it made when its engine's version was new.

A change that moves these numbers moves everybody's: raise `ENGINE_VERSION` and write the file anew with

    python -m tests.ablations.execution.test_golden_cells

A new level is added by the same command; the numbers of the others stay as they are.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from ablations.execution.cells import train_cell
from ablations.study.catalogue import example
from ablations.study.reader import parse_study
from ablations.study.study import ENGINE_VERSION
from linefit.levels import PADDINGS, PLACEMENTS, REGISTRIES

FILE = Path(__file__).with_name("golden_cells.json")
LEVELS = [
    (factor, level)
    for factor, levels in {**REGISTRIES, "placement": PLACEMENTS, "padding": PADDINGS}.items()
    for level in levels
]
GOLDEN = json.loads(FILE.read_text()) if FILE.is_file() else {"predictions": {}}


def numbers(factor, level):
    """Mean and standard deviation of slope and intercept on the lab's test images after two steps on 32 images."""
    net = example(factor, level) | ({"loss": "cross_entropy"} if level == "hough" else {})
    lines = [f"{name} = {json.dumps(value)}" for name, value in net.items()]
    protocol = "[protocol]\nepochs = 1\ntrain_size = 32\nbatch_size = 16\nlearning_rate = 0.01\n"
    study = parse_study(
        "\n".join(["seeds = 1", protocol, "[grid]", *lines, "[evaluation]", 'splits = ["test"]']),
        name="golden",
        source="golden",
    )
    outcome = train_cell(study.cells()[0], "cpu", lambda epoch: None)
    assert outcome.status == "ok", outcome.message
    lines = outcome.predictions["test"].astype(np.float64)
    return [float(f"{x:.6g}") for x in (*lines.mean(0), *lines.std(0))]


def test_every_level_has_its_numbers_and_they_are_of_this_version():
    assert GOLDEN["engine_version"] == ENGINE_VERSION
    assert set(GOLDEN["predictions"]) == {f"{factor} {level}" for factor, level in LEVELS}


@pytest.mark.parametrize(("factor", "level"), LEVELS)
def test_the_numbers_of_a_level_are_those_of_the_engines_version(factor, level):
    # Other machines sum in another order; a change of what is computed shows in the first digits.
    golden = GOLDEN["predictions"][f"{factor} {level}"]
    np.testing.assert_allclose(numbers(factor, level), golden, rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    old = GOLDEN["predictions"] if GOLDEN.get("engine_version") == ENGINE_VERSION else {}
    found = {f"{f} {x}": old.get(f"{f} {x}") or numbers(f, x) for f, x in LEVELS}
    FILE.write_text(
        json.dumps({"engine_version": ENGINE_VERSION, "predictions": found}, indent=1) + "\n"
    )
