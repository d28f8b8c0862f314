"""The registry of yardsticks: estimators without training that trained nets are measured by.

To add one, write a function from images to lines and add one line. The estimators themselves live in
`linefit.closed_form` and `linefit.posterior`.
"""

from __future__ import annotations

import functools
from typing import Protocol

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
from linefit.prior import Region


class Constructor(Protocol):
    """Makes an estimator from the training split and the region that the lines to be estimated are of."""

    def __call__(self, train: LineImages, region: Region = "all") -> Estimator: ...


def _constant(train: LineImages, region: Region = "all") -> Estimator:  # noqa: ARG001
    return constant(train)


def _without_training(estimator: Estimator) -> Constructor:
    def constructor(train: LineImages, region: Region = "all") -> Estimator:  # noqa: ARG001
        return estimator

    return constructor


def _posterior(name: str) -> Constructor:
    def constructor(train: LineImages, region: Region = "all") -> Estimator:  # noqa: ARG001
        # compiled by numba, which those who ask for names alone should not have to wait for
        from linefit import posterior

        return functools.partial(getattr(posterior, name), region=region)

    return constructor


# Name -> constructor of an estimator, a map from images `(N, dim, dim)` to slope and intercept `(N, 2)` float64. Only
# the posterior's make use of the region: they know the distribution that they are asked about, as a floor has to.
YARDSTICKS: dict[str, Constructor] = {
    "constant": _constant,
    "least_squares": _without_training(least_squares),
    "total_least_squares": _without_training(total_least_squares),
    "theil_sen": _without_training(theil_sen),
    "huber": _without_training(huber),
    "least_absolute_deviations": _without_training(least_absolute_deviations),
    "chebyshev": _without_training(chebyshev),
    "posterior_mean": _posterior("posterior_mean"),  # the floor
    "posterior_mode": _posterior("posterior_mode"),
}
