"""What is said of nets on images of the lab, by simulation: quick here, in full behind `results/statistics/risk.md`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablations.simulation.nets import NetSetting, draw_run, images, true_mse
from ablations.simulation.risk import (
    coverage,
    family_wise_error,
    least_squares_risk,
    outlying_seeds,
    simulate,
)
from ablations.simulation.risk_page import kept, to_markdown
from linefit.known_risk import known_risk

COMMITTED = Path(__file__).parents[3] / "results" / "statistics"


def test_the_made_up_population_is_near_the_labs():
    """Its 200,000 images hold the tail of least squares to a few per cent only."""
    known = known_risk()
    assert images().floor == pytest.approx(known.risk("posterior_mean").mse, rel=0.1)
    assert least_squares_risk() == pytest.approx(known.risk("least_squares").mse, rel=0.15)


@pytest.mark.parametrize("process", ["lab nets", "imitates least squares", "10% of cells fail"])
def test_nets_have_the_risk_they_claim(process):
    setting = NetSetting(process, 40, 40_000, 3.0)
    rng = np.random.default_rng(0)
    regret = np.mean([draw_run(setting, rng).regrets[0].mean() for _ in range(4)])
    assert images().floor + regret == pytest.approx(true_mse(setting), rel=0.3)


@pytest.mark.parametrize(
    ("process", "ratio", "shorter"),
    [("no seed effect", 1.0, 8), ("imitates least squares", 1.1, 1.5), ("lab nets", 5.0, 2)],
)
def test_intervals_of_a_ratio_cover_and_are_shorter(process, ratio, shorter):
    findings = coverage(NetSetting(process, 5, 500, ratio), 150, np.random.default_rng(1))
    found = {finding.quantity: finding for finding in findings}["ratio"]
    assert found.now > 0.93 - 2 * np.sqrt(0.05 * 0.95 / 150)
    assert found.before < 0.93
    assert found.before_half_width > shorter * found.now_half_width


def test_families_seldom_err_and_few_seeds_have_no_verdict():
    three, eight, twenty = family_wise_error(
        NetSetting("lab nets", 5, 500, 1.0), 60, np.random.default_rng(2)
    )
    assert max(three.now, eight.now, twenty.now) < 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 60)
    assert max(three.before, eight.before, twenty.before) > 0.05
    few = family_wise_error(NetSetting("lab nets", 4, 500, 1.0), 10, np.random.default_rng(3))
    assert all(found.now == 0 for found in few)


def test_seeds_that_fail_are_flagged_and_others_seldom():
    calm, failing = (
        outlying_seeds(NetSetting(process, 10, 500, 5.0), 60, np.random.default_rng(4))[0].now
        for process in ("lab nets", "30% of seeds tenfold")
    )
    assert calm < 0.15
    assert failing > 0.8


def test_the_committed_page_is_that_of_the_committed_table():
    table = pd.read_csv(COMMITTED / "risk.csv")
    page = (COMMITTED / "risk.md").read_text(encoding="utf-8")
    command = page.split("Made by `")[1].split("`")[0]
    assert to_markdown(table, command) == page


def test_what_the_committed_table_proves():
    """No family errs more often than promised; plain nets are covered on 500 images and more."""
    table = pd.read_csv(COMMITTED / "risk.csv")
    families = table[table["study"] == "family-wise error"]
    assert kept(families).all()
    plain = table[
        (table["study"] == "coverage")
        & table["process"].isin(["lab nets", "no seed effect", "imitates least squares"])
        & table["quantity"].isin(["MSE", "ratio", "regret"])
    ]
    assert kept(plain).all()


def test_an_unknown_process_is_refused():
    with pytest.raises(ValueError, match="process 'lucky nets' is not one of lab nets, no seed"):
        NetSetting("lucky nets", 5, 100, 1.0)


@pytest.mark.statistics
def test_the_whole_table_is_the_same_for_any_number_of_workers():
    assert simulate(20, 1, 1).equals(simulate(20, 1, 2))
