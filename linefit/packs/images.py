"""Images of a pack and the sites that are active in them at each depth: found on the host, tabulated on the device.

Depth `d` is what `d` convolutions make of an image. The host needs the counts, by which batches are padded; the device
makes its tables by itself, so that the images of an epoch can give way to others where they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linefit.deltamap.sites import Kernel

WIDEST = 63  # columns: a row of an image is one signed word of 64 bits
PIECE = 1000  # images that are tabulated at a time
TABLE_ROOM = 17 / 16  # of tables over what images need, for others in their place
Words = NDArray[np.int64]  # (N, H): the row of an image, bit x for column x


@dataclass(frozen=True)
class Capacity:
    """Rows that batches are padded to: of each depth, and at any one site of the last depth."""

    rows: tuple[int, ...]
    per_site: int

    def holds(self, other: Capacity) -> bool:
        return self.per_site >= other.per_site and all(
            ours >= theirs for ours, theirs in zip(self.rows, other.rows, strict=True)
        )

    def with_room(self) -> Capacity:
        """A little more, so that a later epoch's largest batch most likely fits too."""
        return Capacity(tuple(r + r // 32 for r in self.rows), self.per_site + self.per_site // 8)


class HostSites:
    """The active sites of binary images `(N, H, W)` on the host. Making it asks no device.

    Raises ValueError for images wider than 63 pixels.
    """

    def __init__(self, pixels: NDArray[np.bool_], convolutions: Sequence[Kernel]) -> None:
        self.size, self.width = len(pixels), pixels.shape[2]
        if self.width > WIDEST:
            raise ValueError(f"images {self.width} pixels wide: packs take at most {WIDEST}")
        self.words = [_packed(pixels)]
        for kernel in convolutions:
            self.words.append(_dilated(self.words[-1], kernel, self.width))
        # (N,) active sites of each image, by depth
        self.counts = [np.bitwise_count(words).sum(1, dtype=np.int64) for words in self.words]

    def __len__(self) -> int:
        return self.size

    def capacity(self, orders: NDArray[np.int64], batch_size: int, *, per_site: bool) -> Capacity:
        """What an epoch needs whose batches are consecutive pieces of `orders` `(T, images)`, known beforehand."""
        pieces = [orders[:, i : i + batch_size] for i in range(0, orders.shape[1], batch_size)]
        # At least one: images without any pixel still have tables.
        rows = [
            max(1, *(int(counts[piece].sum(1).max()) for piece in pieces)) for counts in self.counts
        ]
        most = 1
        if per_site:
            mask = self._last_mask
            sums = [mask[order].sum(0, dtype=np.int32) for piece in pieces for order in piece]
            most = max(1, int(np.max(sums)))
        return Capacity(tuple(rows), most)

    def room_for_one(self, needs: Capacity, batch_size: int) -> Capacity:
        """With room for any batch of that size, which needs so much: a lone batch differs much from epoch to epoch."""
        rows = [int(np.sort(counts)[-batch_size:].sum()) for counts in self.counts]
        largest = tuple(map(max, rows, needs.rows))
        return Capacity(largest, min(batch_size, 2 * needs.per_site))

    @cached_property
    def _last_mask(self) -> NDArray[np.uint8]:
        """`(N, H * W)`."""
        octets = self.words[-1][..., None].astype("<i8").view(np.uint8)
        bits = np.unpackbits(octets, axis=2, bitorder="little")[..., : self.width]
        return bits.reshape(self.size, -1)


def _packed(pixels: NDArray[np.bool_]) -> Words:
    octets = np.packbits(pixels, axis=2, bitorder="little")
    octets = np.pad(octets, ((0, 0), (0, 0), (0, 8 - octets.shape[2])))
    return octets.view("<i8")[..., 0].astype(np.int64)


def _dilated(words: Words, kernel: Kernel, width: int) -> Words:
    """The sites that a convolution can change when these are what changes its input."""
    height = words.shape[1]
    wide, tall = np.zeros_like(words), np.zeros_like(words)
    for right in {x for _, x in kernel.offsets if abs(x) < width}:
        wide |= words << right if right > 0 else words >> -right
    wide &= (1 << width) - 1
    for down in {y for y, _ in kernel.offsets if abs(y) < height}:
        tall[:, max(down, 0) : height + min(down, 0)] |= wide[
            :, max(-down, 0) : height - max(down, 0)
        ]
    return tall


@dataclass(frozen=True)
class Active:
    """The active sites of all images at one depth, on the device."""

    start: Tensor  # (N + 1,) int64: the entries of image i are start[i]:start[i + 1]
    site: Tensor  # (room,) int64, the last one a dummy for padding
    position: Tensor  # (N + 1, A + 1): a site's place among its image's entries; -1: not active, no site, no image


class PackImages:
    """Binary images `(N, H, W)` and the active sites of each depth, resident on a device."""

    def __init__(
        self, pixels: NDArray[np.bool_], convolutions: Sequence[Kernel], device: torch.device
    ) -> None:
        self.convolutions = tuple(convolutions)
        self.device = device
        self.host = HostSites(pixels, convolutions)
        self.height, self.width = pixels.shape[1:]
        self.area = self.height * self.width
        self._most = [int(counts.max()) for counts in self.host.counts]
        self._active = [self._empty(counts) for counts in self.host.counts]
        self._tabulate()
        self._neighbours: dict[tuple[int, int], Tensor] = {}

    def __len__(self) -> int:
        return len(self.host)

    @property
    def depth(self) -> int:
        """Number of convolutions."""
        return len(self.convolutions)

    def active(self, depth: int) -> Active:
        return self._active[depth]

    def most(self, depth: int) -> int:
        """No image has more active sites."""
        return self._most[depth]

    def load(self, host: HostSites) -> bool:
        """Other images, as many, in the place of these. Returns whether recorded steps may still read the tables.

        The host does not wait for the device; tables that are too small are made anew.
        """
        # Recorded steps count on the most: of images that change it is not known beforehand.
        anything = [self.area] * len(self._most)
        stay, self._most = self._most == anything, anything
        for depth, counts in enumerate(host.counts):
            if counts.sum() >= len(self._active[depth].site):
                self._active[depth], stay = self._empty(counts), False
        self.host = host
        self._tabulate()
        return stay

    def _empty(self, counts: NDArray[np.int64]) -> Active:
        """Tables with a little more room than images of so many active sites need."""
        images, total = len(self.host), int(counts.sum())
        room = int(TABLE_ROOM * total) + 1
        position_type = torch.int16 if self.area <= torch.iinfo(torch.int16).max else torch.int32
        return Active(
            torch.zeros(images + 1, dtype=torch.int64, device=self.device),
            torch.zeros(room, dtype=torch.int64, device=self.device),
            torch.full((images + 1, self.area + 1), -1, dtype=position_type, device=self.device),
        )

    def _tabulate(self) -> None:
        column = torch.arange(self.width, device=self.device)
        sites = torch.arange(self.area, device=self.device)
        for active, words, counts in zip(
            self._active, self.host.words, self.host.counts, strict=True
        ):
            copy_from_host(active.start[1:], torch.from_numpy(np.cumsum(counts)))
            rows = torch.empty(words.shape, dtype=torch.int64, device=self.device)
            copy_from_host(rows, torch.from_numpy(words))
            for first in range(0, len(words), PIECE):
                lit = (rows[first : first + PIECE, :, None] >> column & 1).flatten(1)
                place = torch.where(lit > 0, lit.cumsum(1) - 1, -1)  # (images, A)
                active.position[first : first + len(lit), :-1] = place
                entry = active.start[first : first + len(lit), None] + place
                entry = torch.where(place < 0, len(active.site) - 1, entry)
                active.site.scatter_(0, entry.view(-1), sites.repeat(len(lit)))
            active.site[-1:].zero_()

    def neighbours(self, layer: int, sign: int) -> Tensor:
        """`(A + 1, taps)` int64: the sites at plus or minus a convolution's offsets, `A` for outside the map."""
        if (layer, sign) not in self._neighbours:
            offsets = sign * np.array(self.convolutions[layer].offsets)
            y = np.arange(self.height)[:, None, None] + offsets[:, 0]
            x = np.arange(self.width)[None, :, None] + offsets[:, 1]
            inside = (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
            sites = np.where(inside, y * self.width + x, self.area).reshape(self.area, -1)
            sites = np.concatenate([sites, np.full((1, sites.shape[1]), self.area)])
            self._neighbours[layer, sign] = torch.from_numpy(sites).to(self.device)
        return self._neighbours[layer, sign]


def copy_from_host(target: Tensor, source: Tensor) -> None:
    """Copy without waiting for the device: what it reads is pinned, and lives as long as need be."""
    on_cuda = target.device.type == "cuda"
    target.copy_(source.pin_memory() if on_cuda else source, non_blocking=True)
