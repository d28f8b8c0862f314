"""Every closed form and the posterior on 5,000 images of the lab, and on one."""

from __future__ import annotations

import pytest

from linefit.images import lab_split
from linefit.yardsticks import YARDSTICKS

TRAIN, TEST = lab_split("train"), lab_split("test_large")


@pytest.mark.parametrize("name", YARDSTICKS)
@pytest.mark.parametrize("count", [5000, 1])
def test_yardstick(benchmark, name, count):
    benchmark.group = f"yardsticks, {count:,} images"
    estimator = YARDSTICKS[name](TRAIN)
    estimator(TEST.pixels[:1])  # the prior over lines is listed once
    benchmark(estimator, TEST.pixels[:count])
