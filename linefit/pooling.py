"""Pooling: what turns feature maps `(N, C, H, W)` into a vector per image.

A level is a function or class that makes an `nn.Module`; it takes `channels`, `height` and `width` of the maps if
its signature says so. The registry is `linefit.levels.POOLINGS`.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linefit.legal import Between

SPATIAL = (2, 3)


def none() -> nn.Module:
    """No pooling: for nets that pool by themselves."""
    return nn.Identity()


def flatten() -> nn.Module:
    """All features of all sites, `C * H * W`: keeps every position."""
    return nn.Flatten()


def maximum() -> nn.Module:
    """Largest value of each channel: whether something is there, not where."""
    return nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())


def average() -> nn.Module:
    """Mean of each channel over all sites (Lin et al., "Network in network", 2014)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Sum(nn.Module):
    """Sum of each channel over all sites: an average that counts."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.sum(SPATIAL)


class MaxAverage(nn.Module):
    """Largest value and mean of each channel, concatenated: `2 C` features."""

    def forward(self, maps: Tensor) -> Tensor:
        # The mean first: delta maps then find the maximum among values that they have, not in a pass of its own.
        mean = maps.mean(SPATIAL)
        return torch.cat([maps.amax(SPATIAL), mean], dim=1)


class LogSumExp(nn.Module):
    """`log(sum(exp(x)))` of each channel: a smooth maximum (Pinheiro & Collobert 2015, without their scale)."""

    def forward(self, maps: Tensor) -> Tensor:
        return torch.logsumexp(maps, SPATIAL)


class GeM(nn.Module):
    """Generalised mean `mean(x^p)^(1/p)` with an exponent p learned per channel: 1 is average, large p is max.

    x is clamped to 1e-6 from below. Computed through logarithms, which keeps large p from overflowing. Source:
    Radenovic et al., "Fine-tuning CNN image retrieval with no human annotation", 2018, equation 3, which starts at 3.
    """

    def __init__(
        self, channels: int, *, exponent: Annotated[float, Between(0.1, 100)] = 3.0
    ) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.full((channels,), exponent))

    def forward(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[2:]
        logarithms = maps.clamp(min=1e-6).log() * self.exponent[:, None, None]
        pooled = torch.logsumexp(logarithms, SPATIAL) - math.log(height * width)
        return (pooled / self.exponent).exp()


class SoftPool(nn.Module):
    """Mean of each channel weighted by its own softmax over all sites (Stergiou et al. 2021, equation 2)."""

    def forward(self, maps: Tensor) -> Tensor:
        values = maps.flatten(2)
        return (values.softmax(-1) * values).sum(-1)


class SpatialSoftmax(nn.Module):
    """Expected column and row under each channel's softmax: `2 C` features in [-1, 1], columns first.

    The temperature is learned, one for all channels, from 1. Source: Levine et al., "End-to-end training of deep
    visuomotor policies", 2016, section 5.1; Finn et al. 2016 for the temperature.
    """

    positions: Tensor  # (H * W, 2)

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.zeros(()))
        columns = torch.linspace(-1, 1, width).expand(height, width).flatten()
        rows = torch.linspace(-1, 1, height)[:, None].expand(height, width).flatten()
        self.register_buffer("positions", torch.stack([columns, rows], dim=1), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        shares = (maps.flatten(2) * (-self.log_temperature).exp()).softmax(-1)
        return (shares @ self.positions).transpose(1, 2).flatten(1)


class Attention(nn.Module):
    """Mean of the features weighted by softmax over sites of `w tanh(V x)`, one weight a site.

    Source: Ilse et al., "Attention-based deep multiple instance learning", 2018, equation 8.
    """

    def __init__(self, channels: int, *, hidden: Annotated[int, Between(1, 1024)] = 32) -> None:
        super().__init__()
        self.value = nn.Conv2d(channels, hidden, kernel_size=1)
        self.score = nn.Conv2d(hidden, 1, kernel_size=1)

    def scores(self, maps: Tensor) -> Tensor:
        scores: Tensor = self.score(torch.tanh(self.value(maps)))
        return scores

    def forward(self, maps: Tensor) -> Tensor:
        shares = self.scores(maps).flatten(2).softmax(-1)
        return (shares * maps.flatten(2)).sum(-1)


class GatedAttention(Attention):
    """Attention with scores `w (tanh(V x) * sigmoid(U x))` (Ilse et al. 2018, equation 9)."""

    def __init__(self, channels: int, *, hidden: Annotated[int, Between(1, 1024)] = 32) -> None:
        super().__init__(channels, hidden=hidden)
        self.gate = nn.Conv2d(channels, hidden, kernel_size=1)

    def scores(self, maps: Tensor) -> Tensor:
        scores: Tensor = self.score(torch.tanh(self.value(maps)) * torch.sigmoid(self.gate(maps)))
        return scores


class GridMaximum(nn.Module):
    """Largest value of each channel in each cell of a grid of `k x k`: `k^2 C` features that say roughly where."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, maps: Tensor) -> Tensor:
        return F.adaptive_max_pool2d(maps, self.k).flatten(1)


def grid2() -> nn.Module:
    """Maxima over a grid of 2 x 2: `4 C` features (spatial pyramid pooling, He et al. 2015, one level of it)."""
    return GridMaximum(2)


def grid4() -> nn.Module:
    """Maxima over a grid of 4 x 4: `16 C` features (spatial pyramid pooling, He et al. 2015, one level of it)."""
    return GridMaximum(4)
