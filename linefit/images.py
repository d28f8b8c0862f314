"""The lab's images of a line's points, bit for bit as its generator draws them, and its splits.

Image `i` comes from a torch CPU generator of its own, an MT19937 seeded with `i + random_offset`
(`linefit.streams`). No global random state is read or changed. Estimators live elsewhere.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from linefit.prior import MIN_LIT, Region

LAB_DIM = 40  # side length of the lab's images, in pixels
MIN_DIM = MIN_LIT  # a smaller image has no room for that many columns

Indices = npt.NDArray[np.intp]
Pixels = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LineImages:
    """Images and their lines `y = slope * x + intercept`: x = column, y = dim - row, in pixels."""

    pixels: npt.NDArray[np.bool_]  # (N, dim, dim), True where lit
    params: npt.NDArray[np.float32]  # (N, 2) slope, intercept
    region: Region = "all"  # that lines were drawn from

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class Split:
    """Images `0 .. size - 1` at `random_offset`, of `dim` x `dim` pixels, of lines of a region."""

    size: int
    random_offset: int
    dim: int = LAB_DIM
    region: Region = "all"

    @property
    def words(self) -> str:
        """In what its images are not the lab's; empty for those that are."""
        found = [f"of {self.dim} x {self.dim} pixels"] if self.dim != LAB_DIM else []
        return " ".join(found + ([REGION_WORDS[self.region]] if self.region != "all" else []))


REGION_WORDS: dict[Region, str] = {
    "quadrant": "of lines with positive slope and positive intercept",
    "without_quadrant": "of lines without positive slope and positive intercept together",
}


SPLITS: dict[str, Split] = {
    "train": Split(5000, 0),
    "val": Split(500, 33_333),
    "test": Split(500, 99_999),
    # For statistics, far from the lab's seeds.
    "test_large": Split(50_000, 10_000_000),
    # The first images of that, for grids so wide that to evaluate them would take longer than to train them.
    "test_large_20000": Split(20_000, 10_000_000),
    # What nets may never have seen: lines of the quadrant that training can leave out, and images of other sizes.
    "held_out_region": Split(10_000, 20_000_000, region="quadrant"),
    "image_size_32": Split(10_000, 21_000_000, dim=32),
    "image_size_56": Split(10_000, 22_000_000, dim=56),
    "image_size_80": Split(10_000, 23_000_000, dim=80),
}


# Seeds of training images that no split has, and no one's evaluation may: half of what the generator tells apart.
FRESH_SEEDS = range(2**31, 2**32)
MOST_FRESH = 2**27  # images of one stream
STREAMS = len(FRESH_SEEDS) - MOST_FRESH  # places where a stream may start
STREAM_STRIDE = 1_244_266_769  # nearest to STREAMS over the golden ratio without a common divisor


def of_lab_prior(split: str) -> bool:
    """Whether a split's images are draws of the lab's generator as it is, whose population is known."""
    found = SPLITS.get(split)
    return found is not None and found == Split(found.size, found.random_offset)


def lab_split(name: str) -> LineImages:
    """The images of a split in `SPLITS`. Raises ValueError for another name."""
    if name not in SPLITS:
        raise ValueError(f"split {name!r} is not one of {', '.join(SPLITS)}")
    split = SPLITS[name]
    return lab_images(split.size, split.dim, split.random_offset, split.region)


def lab_images(
    size: SupportsIndex,
    dim: SupportsIndex = LAB_DIM,
    random_offset: SupportsIndex = 0,
    region: Region = "all",
) -> LineImages:
    """Draw images `(size, dim, dim)` and their lines, image `i` from seed `i + random_offset`.

    An image is drawn by

        dx, dy ~ integers in [-10, 10);  c ~ integers in [-20, 20);  m = dy / dx
        20 columns x ~ integers in [0, dim);  y = round(m x + c) in float32, kept where 0 < y < dim

    and again, from the same stream, until more than 2 pixels `(row dim - y, column x)` are lit and the line is of the
    region. So an image of which the lab's line is of the region is the lab's.
    torch takes seeds in [-2^63, 2^64), of which the CPU generator sees the low 32 bits.
    Raises ValueError for a negative size, a dim below 3 and seeds that torch does not take.
    """
    size, dim, offset = operator.index(size), operator.index(dim), operator.index(random_offset)
    if size < 0:
        raise ValueError(f"size {size} is negative")
    if dim < MIN_DIM:
        raise ValueError(f"dim {dim} is below {MIN_DIM}: an image needs {MIN_LIT} lit columns")
    if offset < -(2**63) or offset + size > 2**64:
        raise ValueError(
            f"random_offset {offset} with size {size}: image seeds reach from {offset} to "
            f"{offset + size - 1}, legal are -2^63 to 2^64 - 1"
        )
    pixels = np.zeros((size, dim, dim), dtype=bool)
    params = np.empty((size, 2), dtype=np.float32)
    # Who asks for no images, only for what is known of splits, does not wait for a compiler.
    from linefit.streams import draw

    first = np.uint32(offset % 2**32)
    seeds = first + np.arange(size, dtype=np.uint32)
    draw(seeds, pixels, params, region != "without_quadrant", region != "quadrant")
    return LineImages(pixels, params, region)


def fresh_images(size: int, stream: int, *, first: int = 0, region: Region = "all") -> LineImages:
    """40x40 training images `first .. first + size - 1` of a stream: drawn as the lab draws, from seeds of their own.

    Image `i` has the seed 2^31 + (stream x 1,244,266,769 mod 2,013,265,920) + i, of which there are 2^27. No split
    reaches into them. A stream never repeats a seed; streams 0 to 9 start at least 1.1e8 images apart, 0 to 99 at least
    1.0e7, 0 to 999 at least 9.1e5 (multiples of the golden ratio are spread evenly). Two seeds may still draw the same
    picture: steep lines have few. To drop those would change what images are like.

    Raises ValueError for images beyond the end of the stream.
    """
    if not 0 <= first <= first + size <= MOST_FRESH:
        raise ValueError(
            f"images {first} to {first + size - 1} of a stream: it has 0 to {MOST_FRESH - 1}"
        )
    start = FRESH_SEEDS.start + stream * STREAM_STRIDE % STREAMS
    return lab_images(size, random_offset=start + first, region=region)


def rounded_line(
    slope: npt.NDArray[np.float32], intercept: npt.NDArray[np.float32], x: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """`round(slope * x + intercept)`, halves to even, with the float32 rounding of the lab's images."""
    y: npt.NDArray[np.float32] = np.rint(slope * x + intercept)
    return y
