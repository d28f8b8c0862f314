"""Heads: from what pooling gives, or from the maps themselves, to slope and intercept `(N, 2)`.

The registry is `linefit.levels.HEADS`.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from linefit.legal import Between
from linefit.posterior import lab_prior


def mlp(features: int, *, hidden: Annotated[int, Between(1, 65536)] = 128) -> nn.Sequential:
    """The lab's: a fully connected layer of 128, ReLU, and a linear layer to slope and intercept."""
    return _perceptron(features, hidden, 2)


class Categorical(nn.Module):
    """Two softmaxes, over the lab's slopes and over its intercepts; their expectations are the prediction.

    Trained on cross-entropy, its expectation tends to the posterior mean as its logits tend to the posterior's
    marginals. Source: Imani & White, "Improving regression performance with distributional losses", 2018.
    """

    slopes: Tensor
    intercepts: Tensor

    def __init__(self, features: int, *, hidden: Annotated[int, Between(1, 65536)] = 128) -> None:
        super().__init__()
        prior = lab_prior()
        for name, values in (("slopes", prior.slope), ("intercepts", prior.intercept)):
            self.register_buffer(name, torch.from_numpy(np.unique(values)), persistent=False)
        self.layers = _perceptron(features, hidden, len(self.slopes) + len(self.intercepts))

    def logits(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Of the slopes `(N, S)` and of the intercepts `(N, I)`, both in ascending order."""
        slope, intercept = self.layers(vector).split([len(self.slopes), len(self.intercepts)], 1)
        return slope, intercept

    def expectation(self, logits: tuple[Tensor, Tensor]) -> Tensor:
        """The prediction `(N, 2)`."""
        slope, intercept = logits
        return torch.stack(
            [slope.softmax(1) @ self.slopes, intercept.softmax(1) @ self.intercepts], dim=1
        )

    def classes(self, lines: Tensor) -> tuple[Tensor, Tensor]:
        """Indices `(N,)` of the slope and of the intercept nearest to each of the lines `(N, 2)`: the targets of a
        cross-entropy."""
        return _nearest(self.slopes, lines[:, 0]), _nearest(self.intercepts, lines[:, 1])

    def forward(self, vector: Tensor) -> Tensor:
        return self.expectation(self.logits(vector))


class LeastSquares(nn.Module):
    """Weighted least squares on the lit pixels, in closed form, with weights in (0, 1) that the net gives each pixel.

    Weights are the sigmoid of a 1x1 convolution of the maps. `residual` adds what an mlp makes of the pooled maps.
    Gradients flow through the normal equations. Source: van Gansbeke et al., "End-to-end lane detection through
    differentiable least-squares fitting", 2019.
    """

    monomials: Tensor

    def __init__(
        self, channels: int, features: int, height: int, width: int, *, residual: bool = False
    ) -> None:
        super().__init__()
        self.score = nn.Conv2d(channels, 1, kernel_size=1)
        self.residual = mlp(features) if residual else None
        # x = column, y = height - row, from the centre: it is the numbers' spread that float32 can then resolve.
        self.centre = (width / 2, height / 2)
        x = (torch.arange(width) - self.centre[0]).expand(height, width)
        y = (height - torch.arange(height) - self.centre[1])[:, None].expand(height, width)
        monomials = torch.stack([torch.ones_like(x), x, y, x * x, x * y])
        self.register_buffer("monomials", monomials, persistent=False)

    # The signature of the call, as nn.Module's says nothing.
    def __call__(self, vector: Tensor, maps: Tensor, images: Tensor) -> Tensor:
        line: Tensor = super().__call__(vector, maps, images)
        return line

    def forward(self, vector: Tensor, maps: Tensor, images: Tensor) -> Tensor:
        weights = torch.sigmoid(self.score(maps)) * images  # (N, 1, H, W)
        moments = (weights * self.monomials).sum((2, 3))  # (N, 5)
        x, y, xx, xy = (moments[:, 1:] / moments[:, :1].clamp_min(1e-12)).unbind(1)
        slope = (xy - x * y) / (xx - x * x).clamp_min(1e-8)
        intercept = y - slope * x + self.centre[1] - slope * self.centre[0]
        line = torch.stack([slope, intercept], dim=1)
        return line if self.residual is None else line + self.residual(vector)


def _perceptron(features: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def _nearest(values: Tensor, given: Tensor) -> Tensor:
    middles = (values[1:] + values[:-1]) / 2
    return torch.bucketize(given.contiguous(), middles)
