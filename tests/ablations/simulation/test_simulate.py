"""Coverage, error rates and power by simulation: quick here, in full behind `results/statistics/`."""

from dataclasses import replace

import numpy as np
import pytest

from ablations.simulation.findings import to_markdown
from ablations.simulation.populations import Setting, draw
from ablations.simulation.simulate import (
    COVERAGE_BAND,
    TYPE_I_BAND,
    bootstrap_coverage,
    coverage,
    family_wise_error,
    power,
    simulate,
    size_at_margin,
    type_i_error,
)

HEAVY = "log-normal x chi-square"


def within(found, band):
    """In the band, or outside it by no more than twice the Monte Carlo standard error."""
    slack = 2 * found.standard_error
    return band[0] - slack <= found.observed <= band[1] + slack


@pytest.mark.parametrize("n_seeds", [5, 10])
@pytest.mark.parametrize(
    ("distribution", "seed_sd"), [("gaussian", 0.0), ("gaussian", 0.02), (HEAVY, 0.0), (HEAVY, 0.3)]
)
def test_intervals_cover_what_they_promise_and_pooling_cells_does_not(
    distribution, seed_sd, n_seeds
):
    setting = Setting(distribution, n_seeds, 500, seed_sd, ratio=2.0)
    *findings, pooled = coverage(setting, 600, np.random.default_rng(1))
    for found in findings:
        assert within(found, (found.low, found.high)), found
    # the more of the noise seeds and images share, the worse
    assert pooled.observed < (0.6 if seed_sd else 0.85)


def test_type_one_error_at_a_thousand_images():
    for setting in (Setting("gaussian", 5, 1000, 0.02, 1.0), Setting(HEAVY, 5, 1000, 0.3, 1.0)):
        for found in type_i_error(setting, 800, np.random.default_rng(2)):
            assert within(found, TYPE_I_BAND), found


def test_holm_holds_the_family_wise_error():
    setting = Setting(HEAVY, 5, 1000, 0.3, 1.0)
    for found in family_wise_error(setting, 200, np.random.default_rng(3)):
        assert found.observed <= 0.05 + 3 * found.standard_error, found


def test_size_at_the_margin():
    setting = Setting(HEAVY, 10, 2000, 0.1, 1.0)
    equivalent, non_inferior = size_at_margin(setting, 400, np.random.default_rng(4))
    assert equivalent.observed <= 0.05 + 3 * equivalent.standard_error
    assert non_inferior.observed <= 0.025 + 3 * non_inferior.standard_error


def test_power_grows_with_seeds():
    setting = Setting(HEAVY, 3, 1000, 0.3, ratio=1.4)
    found = [
        power(replace(setting, n_seeds=n), 200, np.random.default_rng(5))[0].observed
        for n in (3, 6, 12)
    ]
    assert found[0] < found[1] < found[2]


def test_bootstrap_does_not_fall_short():
    setting = Setting(HEAVY, 5, 300, 0.3, 1.0)
    for found in bootstrap_coverage(setting, 60, np.random.default_rng(6), n_boot=200):
        assert found.observed >= COVERAGE_BAND[0] - 2 * max(found.standard_error, 0.02), found


@pytest.mark.parametrize("distribution", ["gaussian", HEAVY, "very heavy"])
def test_populations_have_the_means_they_claim(distribution):
    setting = Setting(distribution, 4, 1000, 0.2, ratio=1.5)
    rng = np.random.default_rng(7)
    drawn = [draw(setting, rng) for _ in range(100)]
    means = np.array([[variants[0].mean(), baseline.mean()] for variants, baseline in drawn])
    standard_error = means.std(axis=0) / 10
    assert (np.abs(means.mean(axis=0) - [1.5, 1.0]) < 3.5 * standard_error).all()


def test_unknown_distribution_is_refused():
    with pytest.raises(ValueError, match="distribution 'cauchy' is not one of gaussian"):
        Setting("cauchy", 3, 10, 0.1, 1.0)


@pytest.mark.statistics
def test_the_whole_table_is_the_same_for_any_number_of_workers_and_says_what_broke():
    one, two = simulate(50, 1, 1), simulate(50, 1, 2)
    assert one.equals(two)
    page = to_markdown(one, "the command")
    assert "Made by `the command`." in page
    assert page.count("\n|coverage|") >= len(one[one["study"] == "coverage"])


@pytest.mark.statistics
@pytest.mark.parametrize("n_images", [500, 2000])
@pytest.mark.parametrize("n_seeds", [5, 10])
@pytest.mark.parametrize(
    ("distribution", "seed_sd"), [("gaussian", 0.0), ("gaussian", 0.02), (HEAVY, 0.0), (HEAVY, 0.3)]
)
def test_coverage_in_full(distribution, seed_sd, n_seeds, n_images):
    setting = Setting(distribution, n_seeds, n_images, seed_sd, ratio=2.0)
    *findings, _ = coverage(setting, 3000, np.random.default_rng(10))
    for found in findings:
        # two variants without seed effects: the larger of two estimates of the same noise errs wide
        high = max(found.high, 0.98) if found.quantity == "variants: ratio" else found.high
        assert within(found, (found.low, high)), found
