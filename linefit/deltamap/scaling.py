"""What can be done with a map that has a factor per image: scaling on, and pools, which the factor leaves outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from linefit.deltamap import reductions
from linefit.deltamap.deltamap import DeltaMap
from linefit.deltamap.dispatch import Handler, TensorLike
from linefit.deltamap.errors import unsupported
from linefit.deltamap.reductions import Axes
from linefit.deltamap.scaled import ScaledMap, per_image


def multiply(input: Any, other: Any) -> ScaledMap:
    scaled, factor = (input, other) if isinstance(input, ScaledMap) else (other, input)
    if isinstance(factor, TensorLike) and not isinstance(factor, DeltaMap):
        unsupported("mul", f"of a {type(scaled).__name__} and a {type(factor).__name__}")
    more = per_image(scaled.map, factor)
    if more is not None:
        return ScaledMap(scaled.map, scaled.factor * more)
    return ScaledMap(scaled.map * factor, scaled.factor)


def divide(input: Any, other: Any) -> ScaledMap:
    if isinstance(other, TensorLike) and not isinstance(other, DeltaMap):
        unsupported("div", f"by a {type(other).__name__}")
    return multiply(input, 1 / other)


def _beside(factor: Tensor, pooled: Tensor) -> Tensor:
    """The factor `(N, C)` with as many axes as what was pooled."""
    return factor.view(*factor.shape, *[1] * (pooled.ndim - 2))


def linear(pool: Callable[..., Tensor]) -> Handler:
    """A pool that is linear in its input."""

    def apply(input: ScaledMap, *args: Any, **kwargs: Any) -> Tensor:
        pooled = pool(input.map, *args, **kwargs)
        return pooled * _beside(input.factor, pooled)

    return apply


def amax(input: ScaledMap, dim: Axes = (), keepdim: bool = False) -> Tensor:
    largest = reductions.amax(input.map, dim, keepdim)
    smallest = reductions.amin(input.map, dim, keepdim)
    factor = _beside(input.factor, largest)
    return (
        torch.where(factor >= 0, largest, smallest) * factor
    )  # a negative factor turns the order around


def amin(input: ScaledMap, dim: Axes = (), keepdim: bool = False) -> Tensor:
    return -amax(ScaledMap(input.map, -input.factor), dim, keepdim)


def adaptive_max_pool2d(input: ScaledMap, output_size: Any, return_indices: bool = False) -> Tensor:
    largest, smallest = (
        sign * reductions.adaptive_max_pool2d(input.map * sign, output_size, return_indices)
        for sign in (1, -1)
    )
    factor = _beside(input.factor, largest)
    return torch.where(factor >= 0, largest, smallest) * factor


def reshaped(handler: Handler) -> Handler:
    """To another shape that keeps images and channels apart."""

    def apply(input: ScaledMap, *args: Any, **kwargs: Any) -> ScaledMap:
        map = handler(input.map, *args, **kwargs)
        if map.ndim == 2:
            unsupported("flatten", "of a map with a factor per image into vectors")
        return ScaledMap(map, input.factor)

    return apply
