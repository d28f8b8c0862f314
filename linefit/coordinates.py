"""Coordinate encodings: what tells a convolution where it is.

A level is a function `(height, width) -> channels (C, height, width)`, which are concatenated to the input, the same
for every image; or an `nn.Module` made from `(height, width)` that maps `(N, C, height, width)` to more channels.
x runs along columns, y along rows. Random levels draw from a generator of their own, seeded by a parameter: all
nets share the draw unless a study asks for another. The registry is `linefit.levels.COORDINATES`.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from linefit.definitions import construct
from linefit.legal import Between
from linefit.levels import resolve

SPREAD = 1 / math.sqrt(12)  # standard deviation of the lab's coordinates


def none(height: int, width: int) -> Tensor:
    """No coordinate channels."""
    return torch.zeros(0, height, width)


def cartesian(height: int, width: int) -> Tensor:
    """The lab's two channels, along columns and along rows: `arange(-size/2, size/2) / size`, in [-1/2, 1/2).

    Source: Liu et al., "An intriguing failing of convolutional neural networks and the CoordConv solution", 2018.
    """
    return _grid(_centred(height) / height, _centred(width) / width)


def cartesian_unit(height: int, width: int) -> Tensor:
    """Two channels, along columns and along rows, from -1 to 1, both ends included (Liu et al. 2018, as published)."""
    return _grid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width))


def cartesian_radius(height: int, width: int) -> Tensor:
    """The lab's two channels and the distance from the image's centre in their unit, in [0, sqrt(1/2)].

    Source: Liu et al. 2018, the option "with r".
    """
    channels = cartesian(height, width)
    return torch.cat([channels, channels.square().sum(0, keepdim=True).sqrt()])


def pixels(height: int, width: int) -> Tensor:
    """Column and row as they are counted, `0 .. size - 1`: not scaled to what nets like."""
    return _grid(torch.arange(height), torch.arange(width)).float()


def x_only(height: int, width: int) -> Tensor:
    """The first of the lab's two channels, along columns, in [-1/2, 1/2)."""
    return cartesian(height, width)[:1]


def y_only(height: int, width: int) -> Tensor:
    """The second of the lab's two channels, along rows, in [-1/2, 1/2)."""
    return cartesian(height, width)[1:]


def sinusoidal(
    height: int,
    width: int,
    *,
    frequencies: Annotated[int, Between(1, 64)] = 4,
    wavelength: Annotated[float, Between(1, 1e6)] = 10_000.0,
) -> Tensor:
    """Sines and cosines of column and row at geometrically falling frequencies, in [-1, 1].

    `4 * frequencies` channels: sin and cos of `position * wavelength^(-k / frequencies)` in radians, k = 0, 1, ...,
    first of columns, then of rows. Source: Vaswani et al., "Attention is all you need", 2017, section 3.5, on two axes.
    """
    k = torch.arange(frequencies, dtype=torch.float64)
    omega = (wavelength ** (-k / frequencies))[:, None]

    def waves(size: int) -> Tensor:
        phase = omega * torch.arange(size, dtype=torch.float64)
        return torch.cat([phase.sin(), phase.cos()]).float()

    shape = (2 * frequencies, height, width)
    columns, rows = waves(width)[:, None, :], waves(height)[:, :, None]
    return torch.cat([columns.expand(shape), rows.expand(shape)])


def fourier(
    height: int,
    width: int,
    *,
    bandwidth: Annotated[float, Between(0.01, 100)] = 1.0,
    frequencies: Annotated[int, Between(1, 512)] = 8,
    seed: Annotated[int, Between(0, 4_294_967_295)] = 0,
) -> Tensor:
    """Gaussian random Fourier features: cos and sin of `2 pi B v`, with B ~ N(0, bandwidth^2), in [-1, 1].

    `2 * frequencies` channels; v = (column, row) / size, in [0, 1). Source: Tancik et al., "Fourier features let
    networks learn high frequency functions in low dimensional domains", 2020, section 6.
    """
    frequency = bandwidth * _normal(frequencies, 2, seed=seed)
    position = _grid(torch.arange(height) / height, torch.arange(width) / width)
    phase = 2 * math.pi * torch.einsum("fa,ahw->fhw", frequency, position)
    return torch.cat([phase.cos(), phase.sin()])


def constant(
    height: int, width: int, *, value: Annotated[float, Between(-1e6, 1e6)] = 0.5
) -> Tensor:
    """Control: two channels of one value, as many parameters as cartesian and no position.

    Under zero padding even these show where the border is (Islam et al. 2020).
    """
    return torch.full((2, height, width), value)


def noise(
    height: int, width: int, *, seed: Annotated[int, Between(0, 4_294_967_295)] = 0
) -> Tensor:
    """Control: two channels of fixed normal noise with the variance of cartesian, 1/12: sites differ, without order."""
    return SPREAD * _normal(2, height, width, seed=seed)


def shuffled(
    height: int, width: int, *, seed: Annotated[int, Between(0, 4_294_967_295)] = 0
) -> Tensor:
    """Control: cartesian with its positions permuted, both channels alike: the same values, each site its own pair,
    and no neighbourhood."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(height * width, generator=generator, device="cpu")
    return cartesian(height, width).flatten(1)[:, order].view(2, height, width)


class ConcatCoordinates(nn.Module):
    """Concatenate channels `(C, H, W)` to a batch `(N, C', H, W)`, the same for every image."""

    channels: Tensor

    def __init__(self, channels: Tensor, name: str = "") -> None:
        super().__init__()
        self.name = name
        self.register_buffer("channels", channels, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        # expand keeps stride 0 over the batch: the engine of delta maps knows by it that all images share the channels.
        return torch.cat([images, self.channels.expand(len(images), -1, -1, -1)], dim=1)

    def extra_repr(self) -> str:
        return f"{self.name!r}, channels={len(self.channels)}"


class Learned(nn.Module):
    """An absolute map of `channels` per site, learned with the net, initially N(0, 0.02^2).

    Source: Dosovitskiy et al., "An image is worth 16x16 words", 2021, for the embedding of positions and its start.
    """

    def __init__(
        self, height: int, width: int, *, channels: Annotated[int, Between(1, 256)] = 2
    ) -> None:
        super().__init__()
        self.channels = nn.Parameter(0.02 * torch.randn(channels, height, width))

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([images, self.channels.expand(len(images), -1, -1, -1)], dim=1)


class Gated(nn.Module):
    """The lab's two channels times the image: a position where a pixel is lit and 0 elsewhere, in [-1/2, 1/2)."""

    channels: Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.register_buffer("channels", cartesian(height, width), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([images, images * self.channels], dim=1)


class SinusoidalAdded(nn.Module):
    """The channels of sinusoidal, each added to the image instead of set beside it: what transformers do.

    Source: Vaswani et al. 2017, section 3.5. With the image repeated over the channels.
    """

    channels: Tensor

    def __init__(
        self,
        height: int,
        width: int,
        *,
        frequencies: Annotated[int, Between(1, 64)] = 4,
        wavelength: Annotated[float, Between(1, 1e6)] = 10_000.0,
    ) -> None:
        super().__init__()
        channels = sinusoidal(height, width, frequencies=frequencies, wavelength=wavelength)
        self.register_buffer("channels", channels, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return images + self.channels


def coordinates_module(level: str, height: int, width: int) -> nn.Module:
    """A level as the module that maps `(N, C, height, width)` to the input of a convolution."""
    reference, parameters = resolve("coordinates", level)
    made = construct(reference, parameters, {"height": height, "width": width})
    if isinstance(made, nn.Module):
        return made
    if not isinstance(made, Tensor) or made.shape[1:] != (height, width):
        found = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise ValueError(
            f"coordinates {level}: expected channels (C, {height}, {width}) or an nn.Module, got {found}"
        )
    return nn.Identity() if len(made) == 0 else ConcatCoordinates(made, level)


def _centred(size: int) -> Tensor:
    return torch.arange(-(size // 2), size - size // 2)


def _grid(rows: Tensor, columns: Tensor) -> Tensor:
    """`(2, H, W)`: values that run along columns, then values that run along rows."""
    shape = (len(rows), len(columns))
    return torch.stack([columns.expand(shape), rows[:, None].expand(shape)])


def _normal(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers, drawn on the CPU whatever the default device is."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, device="cpu").to(torch.get_default_device())
