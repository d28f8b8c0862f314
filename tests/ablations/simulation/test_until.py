"""Runs that stop by looking, by simulation: quick here, in full behind `results/statistics/until.md`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablations.simulation.nets import NetSetting
from ablations.simulation.runner import run_settings
from ablations.simulation.until import LOOKS, simulate, stopped
from ablations.simulation.until_page import kept, to_markdown
from ablations.study.until import FEWEST, MOST, look_seeds

COMMITTED = Path(__file__).parents[3] / "results" / "statistics"
NEVER_SEEN = {"10% of seeds tenfold", "30% of seeds tenfold", "10% of cells fail"}


def test_the_looks_are_those_of_the_command():
    assert look_seeds(FEWEST, MOST) == LOOKS


def test_shared_intervals_cover_together_and_plain_ones_do_not():
    setting = NetSetting("lab nets", LOOKS[-1], 500, 1.0)
    found = {f.rule: f for f in stopped(setting, 150, np.random.default_rng(1))}
    slack = 2 * np.sqrt(0.05 * 0.95 / 150)
    for finding in found.values():
        assert finding.shared > 0.95 - slack
        assert finding.shared_wrong < 0.05 + slack
    assert found["any look"].plain < 0.92
    assert found["verdict"].plain_seeds < found["verdict"].shared_seeds


def test_the_committed_page_is_that_of_the_committed_table():
    table = pd.read_csv(COMMITTED / "until.csv")
    page = (COMMITTED / "until.md").read_text(encoding="utf-8")
    command = page.split("Made by `")[1].split("`")[0]
    assert to_markdown(table, command) == page


def test_what_the_committed_table_proves():
    """Runs that stop by a rule of `--until` are covered and seldom wrong, but where failures are rare."""
    table = pd.read_csv(COMMITTED / "until.csv")
    seen = table[~table["process"].isin(NEVER_SEEN)]
    assert kept(seen[seen["rule"] != "any look"]).all()
    assert (seen["shared_wrong"] <= 0.07).all()
    assert (table["plain"] <= table["shared"]).all()


def drawn(setting, replications, rng):
    return [(setting, replications, float(rng.random()))]


def test_every_setting_has_a_stream_of_its_own_whatever_the_workers():
    planned = [(drawn, name, share) for name, share in (("a", 1.0), ("b", 0.5), ("c", 0.01))]
    expected = [
        (name, replications, float(np.random.default_rng(child).random()))
        for name, replications, child in zip(
            "abc", (100, 50, 20), np.random.SeedSequence(7).spawn(3), strict=True
        )
    ]
    for workers in (1, 2):
        assert run_settings(planned, 100, 7, workers, fewest=20) == expected


@pytest.mark.statistics
def test_the_whole_table_is_the_same_for_any_number_of_workers():
    assert simulate(20, 1, 1).equals(simulate(20, 1, 2))
