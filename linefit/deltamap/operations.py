"""The operations that have an exact form, by torch's names: the tables that `__torch_function__` reads.

A handler has the parameters of torch's function. Whatever is not here raises `UnsupportedOperation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from linefit.deltamap import attention, reductions, scaling, softmax
from linefit.deltamap.attention import SitesFirst
from linefit.deltamap.combine import arithmetic, cat, check_spatial, rows_at
from linefit.deltamap.convolution import Convolution, site_table
from linefit.deltamap.deltamap import DeltaMap
from linefit.deltamap.dispatch import Handler
from linefit.deltamap.errors import unsupported
from linefit.deltamap.footprints import Kernel, Padded, origins
from linefit.deltamap.normalisation import batch_norm, dropout
from linefit.deltamap.reductions import pair
from linefit.deltamap.scaled import ScaledMap
from linefit.deltamap.softmax import SpatialSoftmax

# Functions of one value each; those that never decrease commute with a maximum. Softplus does not belong to them:
# it steps down at its threshold.
NON_DECREASING = {"relu", "leaky_relu", "tanh", "sigmoid", "elu"}
# fmt: off
POINTWISE = NON_DECREASING | {
    "abs", "absolute", "celu", "clamp", "clamp_max", "clamp_min", "erf", "exp", "gelu", "hardsigmoid", "hardswish",
    "cos", "hardtanh", "log", "log1p", "logsigmoid", "mish", "neg", "negative", "reciprocal", "relu6", "rsqrt", "selu",
    "silu", "sin", "softplus", "softsign", "sqrt", "square", "tanhshrink",
}
TOKENWISE = POINTWISE | {"add", "sub", "mul", "div", "pow"}
DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
# fmt: on


def pointwise(name: str) -> Handler:
    function: Callable[..., Tensor] = getattr(torch, name, None) or getattr(functional, name)

    def apply(input: DeltaMap, *args: Any, **kwargs: Any) -> DeltaMap:
        numbers = [*args, *kwargs.values()]
        if any(isinstance(number, Tensor | DeltaMap) for number in numbers):
            unsupported(name, "with an argument that is a tensor")

        def of_values(values: Tensor) -> Tensor:
            return function(values, *args, **kwargs)

        # A negative slope, beta or alpha turns the function around.
        rising = name in NON_DECREASING and all(number >= 0 for number in numbers)
        convolution = input.convolution
        # An activation in another grad mode than its convolution's must not wait for it.
        if rising and convolution is not None and convolution.grad == torch.is_grad_enabled():
            return DeltaMap(convolution.then(of_values), input.sites, input.ndim)
        return input.like(of_values(input.background), of_values(input.rows))

    return apply


def conv2d(
    input: DeltaMap,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> DeltaMap:
    check_spatial(input, "conv2d")
    if pair(stride) != (1, 1):
        unsupported("conv2d", f"with stride {stride}; only 1 keeps the background shared")
    if groups != 1:
        unsupported("conv2d", f"with groups {groups}")
    size, steps = (weight.shape[2], weight.shape[3]), pair(dilation)
    keeps_size = (size[0] // 2 * steps[0], size[1] // 2 * steps[1])
    odd = size[0] % 2 == size[1] % 2 == 1
    if padding == "same" and not odd:
        unsupported("conv2d", f"with an even kernel {size} and padding 'same'")
    zeros = (
        {"same": keeps_size, "valid": (0, 0)}[padding]
        if isinstance(padding, str)
        else pair(padding)
    )
    kernel = Kernel(size, steps, None if odd and zeros == keeps_size else zeros)
    if min(kernel.output(input.area)) < 1:
        raise ValueError(
            f"conv2d: a kernel {size} does not fit a map {input.area} padded by {zeros}"
        )
    if weight.shape[1] != input.channels:
        raise ValueError(
            f"conv2d: the weight expects {weight.shape[1]} channels, the map has {input.channels}"
        )
    convolution = Convolution(input.values, input.sites, weight, bias, kernel)
    return DeltaMap(convolution, input.sites.dilated(kernel))


def pad(
    input: DeltaMap, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> DeltaMap:
    """A map of another size: rows of copied sites are copied."""
    check_spatial(input, "pad")
    if len(pad) not in (2, 4):
        unsupported("pad", f"by {tuple(pad)}: images and channels have no border")
    left, right, top, bottom = (*pad, 0, 0)[:4]
    amounts = (left, right, top, bottom)
    background = functional.pad(input.background[None], amounts, mode, value)[0]
    sites = input.sites.batch.sites(Padded(input.sites.footprint, amounts, mode))
    origin = input.sites.batch.tables.resident(origins(input.area, amounts, mode))
    return DeltaMap((background, rows_at(input, sites, background, origin)), sites)


def flatten(input: DeltaMap, start_dim: int = 0, end_dim: int = -1) -> DeltaMap:
    start, end = start_dim % input.ndim, end_dim % input.ndim
    if end != input.ndim - 1 or start not in (1, 2):
        unsupported("flatten", f"of axes {start_dim} to {end_dim}")
    return input.view_with_axes(start + 1)


def reshape(input: DeltaMap, *shape: Any) -> DeltaMap:
    sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    height, width = input.area
    images, channels = len(input), input.channels
    for known in (
        (images, channels, height, width),
        (images, channels, height * width),
        (images, channels * height * width),
    ):
        if len(known) == len(sizes) and all(
            a in (b, -1) for a, b in zip(sizes, known, strict=True)
        ):
            return input.view_with_axes(len(known))
    return unsupported("reshape", f"of {tuple(input.shape)} to {sizes}")


def linear(input: DeltaMap, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if input.ndim != 2:
        unsupported("linear", f"over axis -1 of a map of {input.ndim} axes; flatten it first")
    features = input.shape[1]
    if weight.ndim != 2 or weight.shape[1] != features or weight.dtype != input.dtype:
        raise ValueError(
            f"linear: a weight of shape {tuple(weight.shape)} in {weight.dtype} does not fit a map"
            f" of {features} features in {input.dtype}"
        )
    background, rows = input.values
    kernels = input.sites.batch.kernels
    return kernels.flat_linear(site_table(background), rows, weight, bias, input.sites)


DeltaMap.operations |= {
    **{name: pointwise(name) for name in POINTWISE},
    "conv2d": conv2d,
    "pad": pad,
    "cat": cat,
    "concat": cat,
    "concatenate": cat,
    "add": arithmetic("add"),
    "sub": arithmetic("sub"),
    "subtract": arithmetic("sub"),
    "mul": arithmetic("mul"),
    "multiply": arithmetic("mul"),
    "div": arithmetic("div"),
    "divide": arithmetic("div"),
    "true_divide": arithmetic("div"),
    "pow": arithmetic("pow"),
    "maximum": arithmetic("maximum"),
    "minimum": arithmetic("minimum"),
    "adaptive_max_pool2d": reductions.adaptive_max_pool2d,
    "adaptive_avg_pool2d": reductions.adaptive_avg_pool2d,
    "max_pool2d": reductions.max_pool2d,
    "avg_pool2d": reductions.avg_pool2d,
    "max": reductions.extrema(reductions.amax, "maximum"),
    "min": reductions.extrema(reductions.amin, "minimum"),
    "amax": reductions.amax,
    "amin": reductions.amin,
    "sum": reductions.sum,
    "mean": reductions.mean,
    "logsumexp": reductions.logsumexp,
    "batch_norm": batch_norm,
    **{name: dropout(name) for name in DROPOUTS},
    "softmax": softmax.spatial_softmax,
    "matmul": attention.matmul,
    "bmm": attention.matmul,
    "transpose": attention.transpose,
    "swapaxes": attention.transpose,
    "permute": attention.permute,
    "flatten": flatten,
    "contiguous": lambda input: input,
    "clone": lambda input: input.with_axes(input.ndim),
    "reshape": reshape,
    "view": reshape,
    "linear": linear,
}

SpatialSoftmax.operations |= {
    "mul": softmax.multiply,
    "multiply": softmax.multiply,
    "div": softmax.divide,
    "divide": softmax.divide,
    "true_divide": softmax.divide,
    "sum": softmax.weighted_sum,
    "matmul": attention.matmul,
    "bmm": attention.matmul,
    "einsum": attention.einsum,
    "transpose": attention.transpose,
    "swapaxes": attention.transpose,
    "permute": attention.permute,
    "reshape": softmax.reshape,
    "view": softmax.reshape,
    "flatten": softmax.flatten,
}

SitesFirst.operations |= {
    **{name: attention.tokenwise(name) for name in TOKENWISE},
    **{name: attention.over_tokens(name) for name in ("sum", "mean", "amax", "amin", "logsumexp")},
    "softmax": attention.softmax,
    "linear": attention.linear,
    "matmul": attention.matmul,
    "bmm": attention.matmul,
    "einsum": attention.einsum,
    "transpose": attention.transpose,
    "swapaxes": attention.transpose,
    "permute": attention.permute,
}

ScaledMap.operations |= {
    "mul": scaling.multiply,
    "multiply": scaling.multiply,
    "div": scaling.divide,
    "divide": scaling.divide,
    "true_divide": scaling.divide,
    "sum": scaling.linear(reductions.sum),
    "mean": scaling.linear(reductions.mean),
    "adaptive_avg_pool2d": scaling.linear(reductions.adaptive_avg_pool2d),
    "avg_pool2d": scaling.linear(reductions.avg_pool2d),
    "amax": scaling.amax,
    "amin": scaling.amin,
    "adaptive_max_pool2d": scaling.adaptive_max_pool2d,
    "flatten": scaling.reshaped(flatten),
    "reshape": scaling.reshaped(reshape),
    "view": scaling.reshaped(reshape),
}
