"""A Hough transform that learns how a pixel votes: an architecture of its own, from images to slope and intercept."""

from __future__ import annotations

import functools
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from linefit.legal import Between
from linefit.posterior import lab_prior
from linefit.prior import POINTS

Integers = npt.NDArray[np.int64]


class Hough(nn.Module):
    """Every lit pixel votes for the prior's lines near it; a softmax over all lines, whose mean is the prediction.

    The score of a line is a bias, plus a weight times the number of lit pixels, plus the votes of the lit pixels: a
    learned function of the vertical distance from line to pixel, one for even and one for odd rows (halves are rounded
    to even rows), in steps of 1 / `resolution` pixels up to `reach` pixels, and 0 beyond. The log posterior is such a
    sum over lit pixels but for how many they are, so the net can come near the floor. It is told which lines there are
    and learns everything else. Sources: Duda & Hart, "Use of the Hough transformation to detect lines and curves in
    pictures", 1972; Zhao et al., "Deep Hough transform for semantic line detection", 2021.
    """

    slopes: Tensor
    intercepts: Tensor
    lines: Tensor  # (dim * dim, V) the lines within reach of each pixel, padded
    kinds: (
        Tensor  # (dim * dim, V) which vote each of them gets; padding gets the last one, always 0
    )

    def __init__(
        self,
        dim: int,
        *,
        resolution: Annotated[int, Between(1, 100)] = 20,
        reach: Annotated[int, Between(1, 40)] = 1,
    ) -> None:
        super().__init__()
        slopes, intercepts = _grid()
        lines, kinds = _lines_near(dim, resolution, reach)
        for name, values in (
            ("slopes", slopes),
            ("intercepts", intercepts),
            ("lines", lines),
            ("kinds", kinds),
        ):
            self.register_buffer(name, torch.tensor(values), persistent=False)
        # At first votes fall with the distance, and all lines are alike: what is known is learned.
        distance = torch.arange(-reach * resolution, reach * resolution + 1).abs() / resolution
        self.votes = nn.Parameter((reach - distance).repeat(2, 1))  # even rows, odd rows
        self.bias = nn.Parameter(torch.zeros(len(slopes) * len(intercepts)))
        self.count_weight = nn.Parameter(torch.zeros_like(self.bias))

    def scores(self, images: Tensor) -> Tensor:
        """Of every line `(N, S, I)`, by slope and intercept, from images `(N, 1, dim, dim)`.

        No more than 20 lit pixels of an image are looked at, which is the most that one of the lab has.
        """
        count = len(images)
        value, site = images.flatten(1).topk(min(POINTS, images[0].numel()), dim=1)
        lit = value > 0
        image, site = lit.nonzero()[:, 0], site[lit]
        votes = torch.cat([self.votes.flatten(), self.votes.new_zeros(1)])[self.kinds[site]]
        line = self.lines[site] + len(self.bias) * image[:, None]
        total = votes.new_zeros(count * len(self.bias)).index_add(
            0, line.flatten(), votes.flatten()
        )
        share = lit.sum(1, keepdim=True).to(votes.dtype) / POINTS
        scores = total.view(count, -1) + self.bias + share * self.count_weight
        return scores.view(count, len(self.slopes), len(self.intercepts))

    def logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of the slopes `(N, S)` and of the intercepts `(N, I)`, both in ascending order."""
        scores = self.scores(images)
        return scores.logsumexp(2), scores.logsumexp(1)

    def forward(self, images: Tensor) -> Tensor:
        slope, intercept = self.logits(images)
        return torch.stack(
            [slope.softmax(1) @ self.slopes, intercept.softmax(1) @ self.intercepts], dim=1
        )


@functools.cache
def _lines_near(dim: int, resolution: int, reach: int) -> tuple[Integers, Integers]:
    """For each pixel, row by row: the lines within reach, and which vote each of them gets; padded."""
    slopes, intercepts = _grid()
    steps = 2 * reach * resolution + 1
    lines, kinds = [], []
    for row, x in np.ndindex(dim, dim):
        y = dim - row
        line = slopes[:, None].astype(np.float64) * x + intercepts
        step = np.rint((y - line.ravel()) * resolution).astype(np.int64)
        near = np.flatnonzero(np.abs(step) <= reach * resolution)
        lines.append(near)
        kinds.append(step[near] + reach * resolution + y % 2 * steps)
    most = max(map(len, lines))
    return (
        np.array([np.pad(own, (0, most - len(own))) for own in lines]),
        np.array([np.pad(own, (0, most - len(own)), constant_values=2 * steps) for own in kinds]),
    )


def _grid() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The slopes and the intercepts of the prior, ascending; every pair of them is a line of it."""
    prior = lab_prior()
    return np.unique(prior.slope), np.unique(prior.intercept)
