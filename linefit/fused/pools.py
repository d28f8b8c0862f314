"""Poolings that the compiled step knows: recognised by their modules, with their parameters and constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from linefit.pooling import (
    Attention,
    GatedAttention,
    GeM,
    GridMaximum,
    LogSumExp,
    MaxAverage,
    SoftPool,
    SpatialSoftmax,
    Sum,
)

Kind = Literal[
    "max",
    "average",
    "flatten",
    "sum",
    "max_average",
    "grid",
    "logsumexp",
    "gem",
    "softpool",
    "spatial_softmax",
    "attention",
    "gated_attention",
]
KINDS: tuple[Kind, ...] = Kind.__args__  # type: ignore[attr-defined]  # numbered as in src/program.h
WHOLE: dict[type[nn.Module], Kind] = {
    Sum: "sum",
    MaxAverage: "max_average",
    LogSumExp: "logsumexp",
    SoftPool: "softpool",
}
LARGEST_GRID = 8  # windows of a site are the bits of a word
MODULES = (
    nn.Flatten(),
    nn.AdaptiveMaxPool2d(1),
    nn.AdaptiveAvgPool2d(1),
    *(kind() for kind in WHOLE),
    GridMaximum(1),
    GeM(1),
    SpatialSoftmax(1, 1),
    Attention(1),
    GatedAttention(1),
)


@dataclass(frozen=True, eq=False)
class Pool:
    """A pooling of maps `(N, C, height, width)`, as `Program` in src/program.h describes it."""

    kind: Kind
    size: int = 0  # a grid's side, attention's hidden units
    parameters: tuple[Tensor, ...] = ()  # in the order of src/program.h, as (in, out) or (out,)
    positions: Tensor | None = None  # (height * width, 2): what a spatial softmax takes the mean of

    @property
    def parts(self) -> int:
        """Values that it makes of a channel."""
        if self.kind == "grid":
            return self.size**2
        return 2 if self.kind in ("max_average", "spatial_softmax") else 1

    def features_by_part(self, weight: Tensor) -> Tensor:
        """The head's first matrix `(out, features)` as a view `(parts, C, out)`."""
        channels = weight.shape[1] // self.parts
        if self.kind == "grid":  # channel after channel
            return weight.view(-1, channels, self.parts).permute(2, 1, 0)
        return weight.view(-1, self.parts, channels).permute(1, 2, 0)


def recognise_pool(module: nn.Module, channels: int, height: int, width: int) -> Pool | None:
    """None for what is not known. Whether types have unknown attributes is for the caller to see."""
    if is_flatten(module):
        return Pool("flatten")
    kind = type(module)
    if kind in WHOLE:
        return Pool(WHOLE[kind])
    if type(module) is GridMaximum:
        fits = type(module.k) is int and 1 <= module.k <= min(LARGEST_GRID, height, width)
        return Pool("grid", module.k) if fits else None
    if type(module) is GeM:
        fits = module.exponent.shape == (channels,)
        return Pool("gem", parameters=(module.exponent,)) if fits else None
    if type(module) is SpatialSoftmax:
        return _spatial_softmax(module, height, width)
    if isinstance(module, Attention):
        return _attention(module, channels)
    if type(module) is not nn.Sequential or len(module) != 2 or not is_flatten(module[1]):
        return None
    pool = module[0]
    if type(pool) is nn.AdaptiveMaxPool2d and not pool.return_indices and _is_one(pool.output_size):
        return Pool("max")
    is_average = type(pool) is nn.AdaptiveAvgPool2d and _is_one(pool.output_size)
    return Pool("average") if is_average else None


def _spatial_softmax(module: SpatialSoftmax, height: int, width: int) -> Pool | None:
    expected = SpatialSoftmax(height, width).positions.to(module.positions)
    if module.log_temperature.shape != () or not torch.equal(module.positions, expected):
        return None
    parameters = (module.log_temperature.view(1),)
    return Pool("spatial_softmax", parameters=parameters, positions=module.positions.contiguous())


def _attention(module: Attention, channels: int) -> Pool | None:
    layers = [module.value, module.score]
    if type(module) is GatedAttention:
        layers.append(module.gate)
    elif type(module) is not Attention:
        return None
    hidden = module.value.out_channels
    shapes = [(hidden, channels, 1, 1), (1, hidden, 1, 1), (hidden, channels, 1, 1)]
    parameters: list[Tensor] = []
    for layer, shape in zip(layers, shapes, strict=False):
        if not _is_pointwise(layer) or layer.weight.shape != shape or layer.bias is None:
            return None
        parameters += [layer.weight.flatten(1).t(), layer.bias]
    parameters[2] = parameters[2].flatten()
    kind: Kind = "gated_attention" if len(layers) == 3 else "attention"
    return Pool(kind, hidden, tuple(parameters))


def _is_pointwise(layer: nn.Module) -> bool:
    return (
        type(layer) is nn.Conv2d
        and (layer.kernel_size, layer.stride, layer.padding) == ((1, 1), (1, 1), (0, 0))
        and (layer.dilation, layer.groups, layer.padding_mode) == ((1, 1), 1, "zeros")
    )


def is_flatten(module: nn.Module) -> bool:
    return type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1)


def _is_one(size: object) -> bool:
    return size == 1 or size == (1, 1)
