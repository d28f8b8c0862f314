"""Targets: what a net is to say of an image, as the drawn line has it or as the exact posterior has it.

The posterior is that of the region which the lines are drawn from: a target is to know of no other.
The posterior mean has the same minimiser of the squared error as the drawn line, without the noise of the draw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from linefit.closed_form import FloatArray
from linefit.images import Indices, LineImages
from linefit.posterior import lab_prior, posterior
from linefit.protocol import Loss, Target

# Slope and intercept (N, 2), for the losses of a prediction.
POINTS: dict[Target, Callable[[LineImages], FloatArray]] = {
    "truth": lambda images: images.params.astype(np.float64),
    "posterior": lambda images: posterior(images.pixels, images.region).mean,
}


def drawn_classes(images: LineImages) -> FloatArray:
    """All probability on the slope and on the intercept of the drawn line, laid out as by `marginals`."""
    return _distributions(np.arange(len(images)), images.params, np.ones(len(images)), len(images))


def marginals(images: LineImages) -> FloatArray:
    """The posterior's marginals `(N, S + I)`: over the prior's S slopes, then over its I intercepts, ascending."""
    found = posterior(images.pixels, images.region)
    return _distributions(found.image, found.params, found.probability, found.images)


# Distributions over slopes and intercepts (N, S + I), for cross-entropy.
DISTRIBUTIONS: dict[Target, Callable[[LineImages], FloatArray]] = {
    "truth": drawn_classes,
    "posterior": marginals,
}


def targets_of(images: LineImages, target: Target, loss: Loss) -> FloatArray:
    """The targets of images in the form that a loss compares a net with."""
    return (DISTRIBUTIONS if loss == "cross_entropy" else POINTS)[target](images)


def _distributions(
    image: Indices,  # (M,)
    params: npt.NDArray[np.floating[Any]],  # (M, 2)
    probability: FloatArray,  # (M,)
    count: int,
) -> FloatArray:
    prior = lab_prior()
    parts = []
    for values, given in zip((prior.slope, prior.intercept), params.T, strict=True):
        classes = np.unique(values)
        index = image * len(classes) + np.searchsorted(classes, given)
        sums = np.bincount(index, probability, count * len(classes))
        parts.append(sums.reshape(count, len(classes)))
    return np.concatenate(parts, axis=1)
