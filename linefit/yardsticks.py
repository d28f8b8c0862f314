"""The registry of yardsticks: estimators without training that trained nets are measured by.

To add one, write a function from images to lines and add one line. The estimators themselves live in
`linefit.closed_form` and `linefit.posterior`.
"""

from __future__ import annotations

from collections.abc import Callable

from linefit.closed_form import (
    Estimator,
    chebyshev,
    constant,
    huber,
    least_absolute_deviations,
    least_squares,
    theil_sen,
    total_least_squares,
)
from linefit.images import LineImages


def _without_training(estimator: Estimator) -> Callable[[LineImages], Estimator]:
    return lambda _train: estimator


def _posterior(name: str) -> Callable[[LineImages], Estimator]:
    def constructor(_train: LineImages) -> Estimator:
        # compiled by numba, which those who ask for names alone should not have to wait for
        from linefit import posterior

        estimator: Estimator = getattr(posterior, name)
        return estimator

    return constructor


# Name -> constructor that is given the training split and returns the estimator, a map from images
# `(N, dim, dim)` to slope and intercept `(N, 2)` float64.
YARDSTICKS: dict[str, Callable[[LineImages], Estimator]] = {
    "constant": constant,
    "least_squares": _without_training(least_squares),
    "total_least_squares": _without_training(total_least_squares),
    "theil_sen": _without_training(theil_sen),
    "huber": _without_training(huber),
    "least_absolute_deviations": _without_training(least_absolute_deviations),
    "chebyshev": _without_training(chebyshev),
    "posterior_mean": _posterior("posterior_mean"),  # the floor
    "posterior_mode": _posterior("posterior_mode"),
}
