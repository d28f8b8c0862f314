"""Which sites can differ from the background: a footprint says how they follow from an image's lit pixels.

It is a key: equal footprints have equal sites. The sites themselves are tabulated in `sites.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

Size = tuple[int, int]
"""Height and width."""

Offsets = tuple[tuple[int, int], ...]
"""Sorted offsets (rows, columns) from a lit pixel to the sites that it may change, on a map of the image's size."""


@dataclass(frozen=True)
class Kernel:
    """Geometry of a convolution with stride 1."""

    size: Size
    dilation: Size
    padding: Size | None = (
        None  # zeros on both sides; None for an odd size and a map that keeps its size
    )

    @cached_property
    def zeros(self) -> Size:
        """Padding on both sides."""
        (height, width), (down, right) = self.size, self.dilation
        return self.padding or (height // 2 * down, width // 2 * right)

    @cached_property
    def offsets(self) -> Offsets:
        """Where each tap reads, relative to the output site, in the order of the weight's last two axes."""
        (height, width), (down, right), (above, before) = self.size, self.dilation, self.zeros
        return tuple(
            (i * down - above, j * right - before) for i in range(height) for j in range(width)
        )

    def output(self, size: Size) -> Size:
        """The size of the result on a map of some size."""
        if self.padding is None:
            return size
        (height, width), (down, right), (above, before) = self.size, self.dilation, self.padding
        return (
            size[0] + 2 * above - (height - 1) * down,
            size[1] + 2 * before - (width - 1) * right,
        )

    def dilate(self, footprint: Footprint) -> Footprint:
        """The sites that this convolution can change when `footprint` is what changes its input."""
        if self.padding is not None or not isinstance(footprint, tuple):
            return Convolved(footprint, self)
        return tuple(sorted({(y - i, x - j) for y, x in footprint for i, j in self.offsets}))


@dataclass(frozen=True)
class Convolved:
    """What a convolution can change, where offsets from lit pixels do not tell."""

    source: Footprint
    kernel: Kernel


@dataclass(frozen=True)
class Padded:
    """Active sites and their copies on a map padded by `F.pad`."""

    source: Footprint
    amounts: tuple[int, int, int, int]  # left, right, top, bottom
    mode: str


@dataclass(frozen=True)
class United:
    """Sites that are active in any of several maps of one size."""

    members: frozenset[Footprint]


Footprint = Offsets | Convolved | Padded | United

LIT: Offsets = ((0, 0),)


def united(footprints: Iterable[Footprint]) -> Footprint:
    members = set(footprints)
    offsets = [member for member in members if isinstance(member, tuple)]
    members -= set(offsets)
    if offsets:
        members.add(tuple(sorted({offset for member in offsets for offset in member})))
    return members.pop() if len(members) == 1 else United(frozenset(members))


def size_of(footprint: Footprint, image: Size) -> Size:
    """The size of the map whose sites a footprint means, for images of a size."""
    match footprint:
        case Convolved(source, kernel):
            return kernel.output(size_of(source, image))
        case Padded(source, (left, right, top, bottom)):
            height, width = size_of(source, image)
            return (height + top + bottom, width + left + right)
        case United(members):
            return size_of(next(iter(members)), image)
        case _:
            return image


@lru_cache
def reach(offsets: Offsets, source: Size, target: Size) -> NDArray[np.int32]:
    """`(H * W, offsets)`: the site of the target that lies at each offset from a site of the source, -1 where none."""
    y, x = np.divmod(np.arange(source[0] * source[1], dtype=np.int32), np.int32(source[1]))
    down, right = np.array(offsets, np.int32).T
    to_y, to_x = y[:, None] + down, x[:, None] + right
    inside = (to_y >= 0) & (to_y < target[0]) & (to_x >= 0) & (to_x < target[1])
    return np.where(inside, to_y * np.int32(target[1]) + to_x, np.int32(-1))


def taps(kernel: Kernel, source: Size) -> NDArray[np.int32]:
    """`(H * W, taps)`: the output sites that read a site of the source, -1 where a tap reaches outside."""
    return reach(tuple((-y, -x) for y, x in kernel.offsets), source, kernel.output(source))


@lru_cache
def origins(source: Size, amounts: tuple[int, int, int, int], mode: str) -> NDArray[np.int64]:
    """The site of the source that each site of a padded map is a copy of, -1 for a constant."""
    sites = torch.arange(1.0, source[0] * source[1] + 1, dtype=torch.float64).view(1, 1, *source)
    origin: NDArray[np.int64] = F.pad(sites, amounts, mode).long().view(-1).numpy() - 1
    return origin


@lru_cache
def copies(source: Size, amounts: tuple[int, int, int, int], mode: str) -> NDArray[np.int32]:
    """`(H * W, most copies)`: where each site of the source is in a padded map, filled up with -1."""
    origin = origins(source, amounts, mode)
    padded = np.flatnonzero(origin >= 0)
    padded = padded[np.argsort(origin[padded], kind="stable")]
    of = origin[padded]
    rank = np.arange(len(of)) - np.searchsorted(of, of)
    table = np.full((source[0] * source[1], rank.max(initial=-1) + 1), -1, np.int32)
    table[of, rank] = padded
    return table
