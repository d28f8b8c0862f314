from __future__ import annotations

import numpy as np
import pytest

from linefit.images import lab_images, lab_split
from linefit.posterior import posterior
from linefit.yardsticks import YARDSTICKS

# MSE of slope and intercept together on the lab's test split, which is fixed to the bit.
TEST_MSE = {
    "constant": 60.7915,
    "least_squares": 0.0788,
    "total_least_squares": 0.0780,
    "theil_sen": 0.1340,
    "huber": 0.0842,
    "least_absolute_deviations": 0.1344,
    "chebyshev": 0.0800,
    "posterior_mean": 0.0194,
    "posterior_mode": 0.0285,
}


@pytest.fixture(scope="module")
def train():
    return lab_split("train")


def test_every_yardstick_has_a_known_error():
    assert list(YARDSTICKS) == list(TEST_MSE)


@pytest.mark.parametrize("name", YARDSTICKS)
def test_error_on_the_labs_test_split(name, train):
    test = lab_split("test")
    lines = YARDSTICKS[name](train)(test.pixels)
    assert lines.shape == (500, 2)
    assert lines.dtype == np.float64
    assert ((lines - test.params) ** 2).mean() == pytest.approx(TEST_MSE[name], abs=5e-5)


def test_almost_all_of_a_constants_error_is_the_intercept(train):
    test = lab_split("test")
    slope, intercept = ((YARDSTICKS["constant"](train)(test.pixels) - test.params) ** 2).mean(
        axis=0
    )
    assert intercept / (slope + intercept) == pytest.approx(0.98, abs=0.005)


@pytest.mark.parametrize("name", [name for name in YARDSTICKS if name != "posterior_mean"])
@pytest.mark.parametrize("dim", [12, 40])
def test_no_yardstick_is_below_the_floor(name, dim, train):
    # Given the image, an estimator's expected squared error is the posterior variance plus the square
    # of its distance from the posterior mean. Seen over images, it must come out as that sum.
    images = lab_images(5000, dim, 40_000_000)
    lines, exact = YARDSTICKS[name](train)(images.pixels), posterior(images.pixels)
    expected = exact.variance + (lines - exact.mean) ** 2
    excess = (lines - images.params) ** 2 - expected
    assert (np.abs(excess.mean(axis=0)) < 4 * excess.std(axis=0) / np.sqrt(5000)).all()
    assert (expected.mean(axis=0) > exact.variance.mean(axis=0)).all()
