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
from numba import njit

from linefit.closed_form import FloatArray
from linefit.images import REGION_WORDS, Indices, Pixels, rounded_line
from linefit.prior import INTERCEPT_RANGE, MIN_LIT, POINTS, SLOPE_RANGE, Region, in_region


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


def posterior_mean(pixels: Pixels, region: Region = "all") -> FloatArray:
    """Mean `(N, 2)` of the posterior given images `(N, dim, dim)`; raises like `posterior`."""
    return posterior(pixels, region).mean


def posterior_mode(pixels: Pixels, region: Region = "all") -> FloatArray:
    """Most probable line `(N, 2)` given images `(N, dim, dim)`; raises like `posterior`."""
    return posterior(pixels, region).mode


def posterior(pixels: Pixels, region: Region = "all") -> Posterior:
    """The posterior over `(slope, intercept)` given each of the images `(N, dim, dim)`, whose lines are of a region.

    The generator draws anew until a line is of the region, as it does until pixels are lit: by the same argument the
    posterior is the lab's, restricted to the region.
    Raises ValueError for images that are not square, and for one that the generator cannot draw.
    """
    pixels = np.asarray(pixels)
    if pixels.ndim != 3 or pixels.shape[1] != pixels.shape[2]:
        raise ValueError(f"pixels has shape {pixels.shape}, legal is (images, dim, dim)")
    count, dim, _ = pixels.shape
    owner, site = np.divmod(np.flatnonzero(pixels), max(1, dim * dim))
    lit = np.bincount(owner, minlength=count)
    prior, heights = lab_prior(), _visible_heights(dim)
    image, line = _lines_through(np.append(0, np.cumsum(lit)), site, _lines_by_pixel(dim))
    own = in_region(region, prior.slope, prior.intercept)[line]
    image, line = image[own], line[own]
    possible = (lit >= MIN_LIT) & (lit <= POINTS) & (np.bincount(image, minlength=count) > 0)
    if not possible.all():
        first = np.flatnonzero(~possible)[0]
        raise ValueError(
            f"image {first} with {lit[first]} lit pixels is none of the lab's: those have "
            f"{MIN_LIT} to {POINTS}, all on the rounded form of one of its lines"
            + ("" if region == "all" else f", here {REGION_WORDS[region]}")
        )
    visible = np.count_nonzero(heights, axis=0)
    weight = prior.probability[line] * lit_probability(dim)[visible[line], lit[image]]
    evidence = np.bincount(image, weight, count)
    return Posterior(count, image, prior.params[line], weight / evidence[image])


@cache
def _visible_heights(dim: int) -> npt.NDArray[np.float32]:
    """y `(dim, L)` of each line of the prior in each column, 0 where no pixel shows it."""
    prior, columns = lab_prior(), np.arange(dim, dtype=np.float32)
    heights = rounded_line(prior.slope, prior.intercept, columns[:, None])
    heights[(heights <= 0) | (heights >= dim)] = 0
    return heights


@cache
def _lines_by_pixel(dim: int) -> npt.NDArray[np.uint64]:
    """The lines through each pixel, row by row, as bits `(dim * dim, L / 64)`."""
    heights = _visible_heights(dim)
    row, column = np.divmod(np.arange(dim * dim), max(1, dim))
    through = heights[column] == (dim - row)[:, None]
    bits = np.packbits(np.pad(through, ((0, 0), (0, -through.shape[1] % 64))), 1, bitorder="little")
    return bits.view(np.dtype("<u8"))


@njit(cache=True, nogil=True)
def _lines_through(
    first: Indices, site: Indices, by_pixel: npt.NDArray[np.uint64]
) -> tuple[Indices, Indices]:
    """The pairs of image and line with every lit pixel of the image on the line, sorted.

    Image `i` has the lit pixels `site[first[i]:first[i + 1]]`.
    """
    words = by_pixel.shape[1]
    alive = np.empty(words, np.uint64)
    image, line = [], []
    for i in range(len(first) - 1):
        alive[:] = ~np.uint64(0) if first[i] < first[i + 1] else np.uint64(0)
        for p in range(first[i], first[i + 1]):
            for w in range(words):
                alive[w] &= by_pixel[site[p], w]
        for w in range(words):
            if alive[w]:
                for bit in range(64):
                    if (alive[w] >> np.uint64(bit)) & np.uint64(1):
                        image.append(i)
                        line.append(64 * w + bit)
    return np.array(image, np.intp), np.array(line, np.intp)


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
