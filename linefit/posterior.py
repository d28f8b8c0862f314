"""The exact posterior over lines given an image of the lab, its mean (the floor) and its mode.

Parameters come from a discrete prior and pixels are the rounded line, so everything is a finite sum;
float64 throughout. Fits that know nothing of how images are drawn live in `linefit.closed_form`.

The generator draws line and columns anew until 3 pixels are lit. So a line and an image come together
with probability proportional to prior times likelihood, by one constant for all pairs of an image with
3 or more lit pixels and a line: given an image, the rejection has no influence on the posterior.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from linefit.closed_form import FloatArray, Points, lit_points
from linefit.images import (
    INTERCEPT_RANGE,
    MIN_LIT,
    POINTS,
    SLOPE_RANGE,
    Indices,
    Pixels,
    rounded_line,
)

CHUNK = 1024  # images looked at at once; the lines through each of their pixels take up to 100 MB


@dataclass(frozen=True)
class Lines:
    """The prior: the distinct lines `(L,)` that can be drawn, flat and low ones first."""

    slope: npt.NDArray[np.float32]
    intercept: npt.NDArray[np.float32]
    probability: FloatArray  # of being drawn at an attempt

    @property
    def params(self) -> FloatArray:
        """`(L, 2)` slope and intercept."""
        return np.stack([self.slope, self.intercept], axis=1).astype(np.float64)


@dataclass(frozen=True)
class Posterior:
    """Lines that go through all lit pixels of N images, image by image in the order of the prior.

    M lines in all; each has the rounded line on every lit pixel of its image.
    """

    images: int
    image: Indices  # (M,) in ascending order, every image at least once
    params: FloatArray  # (M, 2) slope and intercept
    probability: FloatArray  # (M,) sums to 1 over the lines of an image

    @cached_property
    def mean(self) -> FloatArray:
        """`(N, 2)`: no estimator has a smaller expected squared error."""
        return self._expectation(self.params)

    @cached_property
    def variance(self) -> FloatArray:
        """`(N, 2)`: the expected squared errors of the mean, given the image."""
        return self._expectation((self.params - self.mean[self.image]) ** 2)

    @property
    def mode(self) -> FloatArray:
        """`(N, 2)`: the most probable line; of several the flattest, then the one nearest to 0."""
        # lexsort is stable: equals stay in the order of the prior.
        order = np.lexsort([-self.probability, self.image])
        return self.params[order[np.searchsorted(self.image, np.arange(self.images))]]

    def _expectation(self, values: FloatArray) -> FloatArray:
        return np.stack(
            [np.bincount(self.image, self.probability * value, self.images) for value in values.T],
            axis=1,
        )


def posterior_mean(pixels: Pixels) -> FloatArray:
    """Mean `(N, 2)` of the posterior given images `(N, dim, dim)`; raises like `posterior`."""
    return posterior(pixels).mean


def posterior_mode(pixels: Pixels) -> FloatArray:
    """Most probable line `(N, 2)` given images `(N, dim, dim)`; raises like `posterior`."""
    return posterior(pixels).mode


def posterior(pixels: Pixels) -> Posterior:
    """The posterior over `(slope, intercept)` given each of the images `(N, dim, dim)`.

    Raises ValueError for images that are not square, and for one that the generator cannot draw.
    """
    points = lit_points(pixels)
    count, dim, width = np.shape(pixels)
    if dim != width:
        raise ValueError(f"pixels has shape {np.shape(pixels)}, legal is (images, dim, dim)")
    prior = lab_prior()
    columns = np.arange(dim, dtype=np.float32)
    heights = rounded_line(prior.slope, prior.intercept, columns[:, None])  # (dim, L)
    heights[(heights <= 0) | (heights >= dim)] = 0  # no pixel has y = 0
    visible = np.count_nonzero(heights, axis=0)
    likelihood = lit_probability(dim)

    parts = []
    for start in range(0, count, CHUNK):
        chunk = points[start : start + CHUNK]
        lit = np.count_nonzero(chunk.lit, axis=1)
        image, line = _lines_through(chunk, heights)
        weight = prior.probability[line] * likelihood[visible[line], np.minimum(lit, POINTS)[image]]
        possible = (lit >= MIN_LIT) & (lit <= POINTS) & (np.bincount(image, minlength=len(lit)) > 0)
        if not possible.all():
            first = np.flatnonzero(~possible)[0]
            raise ValueError(
                f"image {start + first} with {lit[first]} lit pixels is none of the lab's: those have "
                f"{MIN_LIT} to {POINTS}, all on the rounded form of one of its lines"
            )
        evidence = np.bincount(image, weight, len(lit))
        parts.append((image + start, prior.params[line], weight / evidence[image]))
    if not parts:
        return Posterior(0, np.empty(0, np.intp), np.empty((0, 2)), np.empty(0))
    return Posterior(count, *(np.concatenate(part) for part in zip(*parts, strict=True)))


def _lines_through(points: Points, heights: npt.NDArray[np.float32]) -> tuple[Indices, Indices]:
    """The pairs of image and line with every point of the image on the line, sorted.

    A line is a column of `heights` `(dim, L)`. The lines through a pixel are a set of bits, those
    through an image the intersection over its pixels.
    """
    dim, lines = heights.shape
    pixel = np.where(points.lit, points.y * dim + points.x, -1).astype(np.intp)
    distinct, index = np.unique(pixel, return_inverse=True)
    y, x = np.divmod(distinct, dim)
    through = np.packbits((heights[x] == y[:, None]) | (distinct < 0)[:, None], axis=1)
    alive = np.full((len(points), through.shape[1]), 255, dtype=np.uint8)
    for slot in index.reshape(pixel.shape).T:
        alive &= through[slot]
    image, line = np.divmod(np.flatnonzero(np.unpackbits(alive, axis=1, count=lines)), lines)
    return image, line


@cache
def lab_prior() -> Lines:
    """All lines `y = dy / dx * x + c` of the lab, with slopes in float32 as its generator has them."""
    steps = np.arange(-SLOPE_RANGE, SLOPE_RANGE, dtype=np.float32)
    # A draw of dx = 0 shows nothing. Adding 0 makes slopes of -0 and 0 one.
    slopes = steps[:, None] / steps[steps != 0] + np.float32(0)
    slope, ways = np.unique(slopes, return_counts=True)
    intercept = np.arange(-INTERCEPT_RANGE, INTERCEPT_RANGE, dtype=np.float32)
    slope, ways = np.repeat(slope, len(intercept)), np.repeat(ways, len(intercept))
    intercept = np.tile(intercept, len(slope) // len(intercept))
    order = np.lexsort([intercept, slope, np.abs(intercept), np.abs(slope)])
    draws = (2 * SLOPE_RANGE) ** 2 * 2 * INTERCEPT_RANGE
    return Lines(slope[order], intercept[order], ways[order] / draws)


def lit_probability(dim: int) -> FloatArray:
    """Probability that the drawn columns light a given set of s out of v visible columns, and no other.

    `(dim + 1, POINTS + 1)`, at `[v, s]` (of no meaning for s > v). By inclusion-exclusion it is

        sum over j of (-1)^j binomial(s, j) ((dim - v + s - j) / dim)^POINTS,

    which cancels badly for large s. The sum is built draw by draw instead, of positive terms: the
    last draw hits a lit or invisible column, or is the first to hit one of the s.
    """
    visible, lit = np.arange(dim + 1)[:, None], np.arange(POINTS + 1)
    probability = np.zeros((dim + 1, POINTS + 1))
    probability[:, 0] = 1
    for _ in range(POINTS):
        first_hit = lit[1:] * probability[:, :-1]
        probability *= dim - visible + lit
        probability[:, 1:] += first_hit
        probability /= dim
    return probability
