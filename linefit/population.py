"""The exact population of the lab's images, and the risk of any estimator over it.

A line shows `v` columns and an image of it lights `s` of them, any set of that size as probably as any other. So the
population falls into strata `(v, s)` of known probability: small ones are enumerated image by image, large ones are
sampled, most where an estimator's error varies most. The table that is made of it is `linefit.known_risk`.

The generator draws again, line and all, until 3 pixels are lit: every probability here is conditional on that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from linefit.closed_form import Estimator, FloatArray
from linefit.images import Pixels, rounded_line
from linefit.known_risk import LineMoments
from linefit.posterior import lab_prior, lit_probability, posterior
from linefit.prior import MIN_LIT, POINTS

CHUNK = 8192  # images looked at at once
PILOT = 100  # images of each stratum that decide how many it gets
FEWEST = 16  # images of a stratum that is sampled: its variance has to be estimated

Values = Callable[[Pixels], FloatArray]


@dataclass(frozen=True)
class Stratum:
    """The images with `lit` pixels of lines with as many visible columns as these."""

    heights: npt.NDArray[np.float32]  # (L, dim) y of each line, 0 where it is not visible
    line_probability: FloatArray  # (L,) of a line, given the stratum
    lit: int
    probability: float  # of the stratum

    @property
    def visible(self) -> int:
        """Visible columns of each of the lines."""
        return int(np.count_nonzero(self.heights[0]))

    @property
    def size(self) -> int:
        """Pairs of a line and a set of lit columns."""
        return len(self.heights) * comb(self.visible, self.lit)

    def every_image(self) -> Iterator[tuple[Pixels, FloatArray]]:
        """All images in pieces, with their probability given the stratum."""
        columns = np.array([np.flatnonzero(line) for line in self.heights])
        sets = np.array(list(combinations(range(self.visible), self.lit)))
        lines_at_once = max(1, CHUNK // len(sets))
        for first in range(0, len(columns), lines_at_once):
            some = slice(first, first + lines_at_once)
            for start in range(0, len(sets), CHUNK):
                lit = columns[some][:, sets[start : start + CHUNK]].reshape(-1, self.lit)
                line = np.repeat(np.arange(len(columns))[some], len(sets[start : start + CHUNK]))
                yield self._draw(line, lit), self.line_probability[line] / len(sets)

    def sample(self, count: int, rng: np.random.Generator) -> Iterator[Pixels]:
        """`count` independent images in pieces."""
        columns = np.array([np.flatnonzero(line) for line in self.heights])
        for start in range(0, count, CHUNK):
            n = min(CHUNK, count - start)
            line = rng.choice(len(columns), size=n, p=self.line_probability)
            order = np.argsort(rng.random((n, self.visible)), axis=1)[:, : self.lit]
            yield self._draw(line, np.take_along_axis(columns[line], order, axis=1))

    def _draw(self, line: npt.NDArray[np.intp], lit: npt.NDArray[np.intp]) -> Pixels:
        dim = self.heights.shape[1]
        pixels = np.zeros((len(line), dim, dim), dtype=bool)
        rows = dim - self.heights[line[:, None], lit].astype(np.intp)
        pixels[np.arange(len(line))[:, None], rows, lit] = True
        return pixels


@dataclass(frozen=True)
class Integral:
    """Means `(Q,)` of some values over the population, and the covariance of their errors `(Q, Q)`."""

    mean: FloatArray
    covariance: FloatArray
    enumerated: int  # images
    enumerated_probability: float  # of the population
    sampled: int  # images


def _visible_lines(dim: int) -> tuple[npt.NDArray[np.float32], FloatArray]:
    """Heights `(L, dim)` of every line of the prior, 0 where not visible, and its probability."""
    prior = lab_prior()
    heights = rounded_line(
        prior.slope[:, None], prior.intercept[:, None], np.arange(dim, dtype=np.float32)
    )
    heights[(heights <= 0) | (heights >= dim)] = 0
    return heights, prior.probability


def _set_probabilities(dim: int) -> FloatArray:
    """`(dim + 1, POINTS + 1)`: that s of v visible columns are lit, at `[v, s]`, if s is enough."""
    counts = [[comb(v, s) for s in range(POINTS + 1)] for v in range(dim + 1)]
    shown = lit_probability(dim) * np.array(counts, dtype=np.float64)
    shown[:, :MIN_LIT] = 0
    return shown


def strata(dim: int = 40) -> list[Stratum]:
    """The population as strata `(v, s)`; their probabilities sum to 1."""
    heights, probability = _visible_lines(dim)
    # Lines that look alike have the same images.
    heights, index = np.unique(heights, axis=0, return_inverse=True)
    probability = np.bincount(index.ravel(), probability).astype(np.float64)
    visible = np.count_nonzero(heights, axis=1)
    shown = _set_probabilities(dim)
    accepted = float(probability @ shown.sum(axis=1)[visible])
    found = []
    for v in range(MIN_LIT, dim + 1):
        own = probability[visible == v]
        for s in range(MIN_LIT, min(v, POINTS) + 1):
            weight = float(own.sum() * shown[v, s] / accepted)
            if weight > 0:
                found.append(Stratum(heights[visible == v], own / own.sum(), s, weight))
    return found


def line_moments(dim: int = 40) -> LineMoments:
    """Exact moments of the lines of accepted images."""
    heights, probability = _visible_lines(dim)
    weight = probability * _set_probabilities(dim).sum(axis=1)[np.count_nonzero(heights, axis=1)]
    weight /= weight.sum()
    params = lab_prior().params
    mean = weight @ params
    variance = weight @ (params - mean) ** 2
    return LineMoments((float(mean[0]), float(mean[1])), (float(variance[0]), float(variance[1])))


def fingerprint(dim: int = 40) -> str:
    """SHA-256 of the population: of the lines as they are drawn, their probabilities and those of sets.

    What it depends on is all that `linefit.images` draws from; two generators with one fingerprint draw the same images
    equally often.
    """
    digest = hashlib.sha256()
    heights, probability = _visible_lines(dim)
    for part in (lab_prior().params, heights, probability, _set_probabilities(dim)):
        digest.update(np.round(part.astype(np.float64), 12).tobytes())
    return digest.hexdigest()


def regrets(estimators: Mapping[str, Estimator]) -> Values:
    """Values of images to integrate: the floor's risk `(3)`, then each estimator's regret `(3)`, by `OUTPUTS`.

    The expected squared error of an answer f given the pixels is the posterior variance plus `(f - posterior mean)^2`.
    The mean of the first over images is the risk of the floor, that of the second the estimator's regret: both are free
    of the noise of which line was drawn (Rao-Blackwell).
    """

    def values(pixels: Pixels) -> FloatArray:
        known = posterior(pixels)
        parts = [known.variance, *((f(pixels) - known.mean) ** 2 for f in estimators.values())]
        by_output = [np.column_stack([part.mean(axis=1), part]) for part in parts]
        return np.concatenate(by_output, axis=1)

    return values


def integrate(
    values: Values, images: int, rng: np.random.Generator, parts: Sequence[Stratum]
) -> Integral:
    """Means of `values`, which map pixels `(N, dim, dim)` to `(N, Q)`, over the population of `parts`.

    About `images` of them are looked at. A pilot of each stratum gives its standard deviations; images are then
    allotted in proportion to probability times standard deviation (Neyman 1934), that of the values each divided by its
    mean, and a stratum with no more images than its share is enumerated. The pilot decides nothing else, so that
    means are unbiased however heavy the tails.
    """
    pilot = _moments(
        values,
        parts,
        ((i, *piece) for i, p in enumerate(parts) for piece in _sampled(p, PILOT, rng)),
    )
    weights = np.array([part.probability for part in parts])
    scale = weights @ pilot.means
    scale[scale == 0] = 1
    variances = np.diagonal(pilot.covariances, axis1=1, axis2=2)
    spread = np.sqrt(np.maximum(variances / scale**2, 0).sum(axis=1))
    share = weights * spread
    allotted = np.maximum(np.ceil(images * share / max(share.sum(), 1e-300)), FEWEST).astype(int)

    sizes = np.array([min(part.size, 2**62) for part in parts])
    enumerated = sizes <= allotted
    found = _moments(
        values,
        parts,
        (
            (i, *piece)
            for i, part in enumerate(parts)
            for piece in (part.every_image() if enumerated[i] else _sampled(part, allotted[i], rng))
        ),
    )
    of_mean = np.where(enumerated, 0.0, weights**2 / np.maximum(allotted - 1, 1))
    return Integral(
        mean=weights @ found.means,
        covariance=np.einsum("s,sij->ij", of_mean, found.covariances),
        enumerated=int(sizes[enumerated].sum()),
        enumerated_probability=float(weights[enumerated].sum()),
        sampled=int(allotted[~enumerated].sum()),
    )


def _sampled(
    part: Stratum, count: int, rng: np.random.Generator
) -> Iterator[tuple[Pixels, FloatArray]]:
    """A sample with equal weights."""
    for pixels in part.sample(count, rng):
        yield pixels, np.full(len(pixels), 1 / count)


@dataclass(frozen=True)
class _Moments:
    """Of Q values in S strata."""

    means: FloatArray  # (S, Q)
    covariances: FloatArray  # (S, Q, Q)


def _moments(
    values: Values,
    parts: Sequence[Stratum],
    pieces: Iterator[tuple[int, Pixels, FloatArray]],
) -> _Moments:
    """Weighted moments of values from pieces `(stratum, pixels, weights)`; a stratum's weights sum to 1.

    Small pieces are looked at together: estimators take many images at once for little more than a few.
    """
    sums: dict[int, tuple[FloatArray, FloatArray]] = {}
    held: list[tuple[int, Pixels, FloatArray]] = []

    def look() -> None:
        found = values(np.concatenate([pixels for _, pixels, _ in held]))
        ends = np.cumsum([len(pixels) for _, pixels, _ in held])
        for (i, _, weight), own in zip(held, np.split(found, ends[:-1]), strict=True):
            mean, products = weight @ own, (own * weight[:, None]).T @ own
            if i in sums:
                mean, products = sums[i][0] + mean, sums[i][1] + products
            sums[i] = mean, products
        held.clear()

    for piece in pieces:
        held.append(piece)
        if sum(len(pixels) for _, pixels, _ in held) >= CHUNK:
            look()
    if held:
        look()
    means = np.stack([sums[i][0] for i in range(len(parts))])
    products = np.stack([sums[i][1] for i in range(len(parts))])
    return _Moments(means, products - means[:, :, None] * means[:, None, :])
