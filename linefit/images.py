"""The lab's images of a line's points, drawn bit for bit as the lab's generator draws them, and the lab's splits.

Image `i` comes from its own torch CPU generator, an MT19937 seeded with `i + random_offset`. Here all of these
streams are seeded and drawn at once in NumPy; no global random state is read or changed. Estimators live elsewhere.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

SLOPE_RANGE = 10  # dx and dy are integers in [-SLOPE_RANGE, SLOPE_RANGE)
INTERCEPT_RANGE = 20  # c is an integer in [-INTERCEPT_RANGE, INTERCEPT_RANGE)
POINTS = 20  # columns drawn per image, with replacement
MIN_LIT = 3  # an image with fewer lit pixels is drawn anew, line and all
MIN_DIM = MIN_LIT  # a smaller image has no room for that many columns

# One attempt at an image takes dx, dy, c and a (POINTS, 2) block, of which the lab overwrites column 1.
ATTEMPT_WORDS = 3 + 2 * POINTS
USED_WORDS = np.r_[0, 1, 2, 3:ATTEMPT_WORDS:2]

STATE_WORDS, MIDDLE_WORD = 624, 397  # n and m of MT19937
# So many attempts can be read from a state before words that the twist has yet to make are needed.
ATTEMPTS_PER_STATE = (STATE_WORDS - MIDDLE_WORD) // ATTEMPT_WORDS

CHUNK = 4096  # images drawn at once: their states take 10 MB

Words = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class LineImages:
    """Images and the lines in them; `y = slope * x + intercept` with x = column and y = dim - row, in pixels."""

    pixels: npt.NDArray[np.bool_]  # (N, dim, dim), True where lit
    params: npt.NDArray[np.float32]  # (N, 2) slope, intercept

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class Split:
    """Images `0 .. size - 1` at `random_offset`."""

    size: int
    random_offset: int


SPLITS: dict[str, Split] = {
    "train": Split(5000, 0),
    "val": Split(500, 33_333),
    "test": Split(500, 99_999),
    "test_large": Split(
        5000, 10_000_000
    ),  # for statistics: no image seed in common with the lab's splits
}


def lab_split(name: str) -> LineImages:
    """The 40x40 images of a split in `SPLITS`. Raises ValueError for another name."""
    if name not in SPLITS:
        raise ValueError(f"split {name!r} is not one of {', '.join(SPLITS)}")
    split = SPLITS[name]
    return lab_images(split.size, random_offset=split.random_offset)


def lab_images(
    size: SupportsIndex, dim: SupportsIndex = 40, random_offset: SupportsIndex = 0
) -> LineImages:
    """Draw images `(size, dim, dim)` and their lines, image `i` from seed `i + random_offset`.

    An image is drawn by

        dx, dy ~ integers in [-10, 10);  c ~ integers in [-20, 20);  m = dy / dx
        20 columns x ~ integers in [0, dim);  y = round(m x + c) in float32, kept where 0 < y < dim

    and again, from the same stream, until more than 2 pixels `(row dim - y, column x)` are lit.
    torch.manual_seed takes seeds in [-2^63, 2^64) and seeds the CPU generator with their low 32 bits.
    Raises ValueError for a negative size, a dim below 3 and seeds that torch does not take.
    """
    size, dim, offset = operator.index(size), operator.index(dim), operator.index(random_offset)
    if size < 0:
        raise ValueError(f"size {size} is negative")
    if not MIN_DIM <= dim < 2**16:
        raise ValueError(
            f"dim {dim} is not in [{MIN_DIM}, {2**16}): an image needs {MIN_LIT} lit columns and has to fit in memory"
        )
    if offset < -(2**63) or offset + size > 2**64:
        raise ValueError(
            f"random_offset {offset} with size {size}: seeds {offset} to {offset + size - 1} are not all in [-2^63, 2^64)"
        )
    pixels = np.zeros((size, dim, dim), dtype=bool)
    params = np.empty((size, 2), dtype=np.float32)
    for start in range(0, size, CHUNK):
        count = min(CHUNK, size - start)
        seeds = np.arange(count, dtype=np.uint32) + np.uint32((offset + start) % 2**32)
        _draw(seeds, pixels[start : start + count], params[start : start + count])
    return LineImages(pixels, params)


def _draw(seeds: Words, pixels: npt.NDArray[np.bool_], params: npt.NDArray[np.float32]) -> None:
    """Draw an image for each of the seeds `(n,)` into zeroed `pixels` and `params`."""
    dim = pixels.shape[1]
    flat = pixels.reshape(-1)
    images = np.arange(len(seeds))  # the images that are not drawn yet
    states = np.empty((STATE_WORDS, len(seeds)), dtype=np.uint32)
    states[0] = seeds
    seeded = 1
    attempt = 0
    while len(images):
        if attempt == ATTEMPTS_PER_STATE:
            seeded = _seed(states, seeded, STATE_WORDS)
            states = _advance(states, ATTEMPTS_PER_STATE * ATTEMPT_WORDS)
            attempt = 0
        first = attempt * ATTEMPT_WORDS
        # Most images are done after an attempt or two: only the others need more of their states.
        seeded = _seed(states, seeded, first + ATTEMPT_WORDS + MIDDLE_WORD)
        line, x, y, visible = _attempt(_temper(_twist(states, first + USED_WORDS)), dim)
        lit_columns = np.zeros((len(images), dim), dtype=bool)
        lit_columns[np.nonzero(visible)[1], x[visible]] = True
        rejected = np.count_nonzero(lit_columns, axis=1) < MIN_LIT

        params[images[~rejected]] = line[~rejected]
        visible &= ~rejected
        rows = dim - y[visible].astype(np.intp)
        flat[(images[np.nonzero(visible)[1]] * dim + rows) * dim + x[visible]] = True
        images, states = images[rejected], states.compress(rejected, axis=1)
        attempt += 1


def _attempt(
    words: Words, dim: int
) -> tuple[
    npt.NDArray[np.float32], npt.NDArray[np.intp], npt.NDArray[np.float32], npt.NDArray[np.bool_]
]:
    """From used words `(3 + POINTS, n)`: line `(n, 2)`, and x, y and whether visible, `(POINTS, n)` each."""
    # torch takes a word modulo the range, then adds the lower end.
    dx, dy = (words[:2] % np.uint32(2 * SLOPE_RANGE)).astype(np.float32) - np.float32(SLOPE_RANGE)
    c = (words[2] % np.uint32(2 * INTERCEPT_RANGE)).astype(np.float32) - np.float32(INTERCEPT_RANGE)
    x = words[3:] % np.uint32(dim)
    # dx = 0 makes every y infinite or NaN, which is never visible: such a draw is rejected like any other.
    with np.errstate(divide="ignore", invalid="ignore"):
        m = dy / dx
        y = np.rint(m * x.astype(np.float32) + c)
        visible = (y > 0) & (y < dim)
    return np.stack([m, c], axis=1), x.astype(np.intp), y, visible


def _seed(states: Words, seeded: int, stop: int) -> int:
    """Fill rows `seeded` to `stop` of `(624, n)` states from the rows before (init_genrand); return the new `seeded`."""
    mixed = np.empty(states.shape[1], dtype=np.uint32)
    for word in range(seeded, min(stop, STATE_WORDS)):
        np.right_shift(states[word - 1], 30, out=mixed)
        np.bitwise_xor(mixed, states[word - 1], out=mixed)
        np.multiply(mixed, np.uint32(1_812_433_253), out=mixed)
        np.add(mixed, np.uint32(word), out=states[word])
    return max(seeded, min(stop, STATE_WORDS))


def _twist(states: Words, words: npt.NDArray[np.intp]) -> Words:
    """The recurrence of MT19937: state words `words + 624` of every stream, for `words` below 227."""
    upper, lower = states[words] & np.uint32(0x80000000), states[words + 1] & np.uint32(0x7FFFFFFF)
    mixed = upper | lower
    return states[words + MIDDLE_WORD] ^ (mixed >> 1) ^ (lower & 1) * np.uint32(0x9908B0DF)


def _advance(states: Words, count: int) -> Words:
    """The states `count` words further on, for `count` below 228."""
    return np.concatenate([states[count:], _twist(states, np.arange(count))])


def _temper(words: Words) -> Words:
    """What MT19937 returns for state words."""
    words = words ^ (words >> 11)
    words ^= (words << 7) & np.uint32(0x9D2C5680)
    words ^= (words << 15) & np.uint32(0xEFC60000)
    words ^= words >> 18
    return words
