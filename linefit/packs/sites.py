"""Index tables of a pack's batches, in shapes that depend on no image: the host never has to be asked.

`PackImages` is the data set, resident on the device; `Batch` derives from it what the layers in `layers.py` read.
A feature map of depth `d` (after `d` convolutions) is a tensor `(P, A + R, C)` of `P` cells: the background's `A`
sites, then the `R` rows of active sites, image after image, then padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linefit.deltamap.sites import LIT, Footprint, Kernel, SiteTables
from linefit.packs.kernels.interface import Kernels


def footprints(convolutions: Sequence[Kernel]) -> tuple[Footprint, ...]:
    """What a lit pixel may change after 0, 1, ... of the convolutions."""
    chain: list[Footprint] = [LIT]
    for kernel in convolutions:
        chain.append(kernel.dilate(chain[-1]))
    return tuple(chain)


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


@dataclass(frozen=True)
class _Active:
    """The active sites of all images at one depth, on the device."""

    start: Tensor  # (N + 1,) int64: the entries of image i are start[i]:start[i + 1]
    site: Tensor  # (total + 1,) int64, the last one a dummy for padding
    position: Tensor  # (N + 1, A + 1): a site's place among its image's entries; -1: not active, no site, no image


class PackImages:
    """Binary images `(N, H, W)` and the active sites of each depth, resident on a device."""

    def __init__(
        self, pixels: NDArray[np.bool_], convolutions: Sequence[Kernel], device: torch.device
    ) -> None:
        self.convolutions = tuple(convolutions)
        self.footprints = footprints(convolutions)
        self.device = device
        self.tables = SiteTables(pixels, device, padded=True)
        self.area = self.tables.height * self.tables.width
        self._active: dict[int, _Active] = {}
        self._counts: dict[int, NDArray[np.int64]] = {}
        self._neighbours: dict[tuple[int, int], Tensor] = {}

    def __len__(self) -> int:
        return self.tables.images

    @property
    def depth(self) -> int:
        """Number of convolutions."""
        return len(self.convolutions)

    def active(self, depth: int) -> _Active:
        if depth not in self._active:
            entries = self.tables.active(self.footprints[depth])
            position = np.full(
                (len(self) + 1, self.area + 1), -1, dtype=np.min_scalar_type(-self.area)
            )
            mask = self.tables.mask(self.footprints[depth])
            image, site = np.nonzero(mask.reshape(len(self), self.area))
            first = np.cumsum(self.counts(depth)) - self.counts(depth)
            position[image, site] = np.arange(len(site)) - first[image]
            self._active[depth] = _Active(
                entries.start, entries.site, torch.from_numpy(position).to(self.device)
            )
        return self._active[depth]

    def most(self, depth: int) -> int:
        """Active sites of the image that has most."""
        return int(self.counts(depth).max())

    def neighbours(self, layer: int, sign: int) -> Tensor:
        """`(A + 1, taps)` int64: the sites at plus or minus a convolution's offsets, `A` for outside the map."""
        if (layer, sign) not in self._neighbours:
            height, width = self.tables.height, self.tables.width
            offsets = sign * np.array(self.convolutions[layer].offsets)
            y = np.arange(height)[:, None, None] + offsets[:, 0]
            x = np.arange(width)[None, :, None] + offsets[:, 1]
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            sites = np.where(inside, y * width + x, self.area).reshape(self.area, -1)
            sites = np.concatenate([sites, np.full((1, sites.shape[1]), self.area)])
            self._neighbours[layer, sign] = torch.from_numpy(sites).to(self.device)
        return self._neighbours[layer, sign]

    def capacity(self, orders: NDArray[np.int64], batch_size: int, *, per_site: bool) -> Capacity:
        """What an epoch needs whose batches are consecutive pieces of `orders` `(T, images)`, known beforehand."""
        pieces = [orders[:, i : i + batch_size] for i in range(0, orders.shape[1], batch_size)]
        # At least one: images without any pixel still have tables.
        rows = [
            max(1, *(int(self.counts(depth)[piece].sum(1).max()) for piece in pieces))
            for depth in range(self.depth + 1)
        ]
        most = 1
        if per_site:
            mask = self._last_mask
            sums = [mask[order].sum(0, dtype=np.int32) for piece in pieces for order in piece]
            most = max(1, int(np.max(sums)))
        return Capacity(tuple(rows), most)

    def room_for_one(self, needs: Capacity, batch_size: int) -> Capacity:
        """With room for any batch of that size, which needs so much: a lone batch differs much from epoch to epoch."""
        rows = [
            int(np.sort(self.counts(depth))[-batch_size:].sum()) for depth in range(self.depth + 1)
        ]
        largest = tuple(map(max, rows, needs.rows))
        return Capacity(largest, min(batch_size, 2 * needs.per_site))

    def counts(self, depth: int) -> NDArray[np.int64]:
        """`(N,)`: active sites of each image, on the host."""
        if depth not in self._counts:
            mask = self.tables.mask(self.footprints[depth])
            self._counts[depth] = mask.reshape(len(self), -1).sum(1)
        return self._counts[depth]

    @cached_property
    def _last_mask(self) -> NDArray[np.uint8]:
        return self.tables.mask(self.footprints[-1]).reshape(len(self), -1).view(np.uint8)


@dataclass(frozen=True)
class Rows:
    """Which site of which image each row of a depth is."""

    start: Tensor  # (T, B + 1): rows of image b are start[b]:start[b + 1]
    image: Tensor  # (T, R): 0 to B - 1, B for padding
    site: Tensor  # (T, R): 0 for padding


class Batch:
    """The tables of one step: `T` orders of `B` images each, for `cells` cells; `T` is 1 (shared) or `cells`.

    Tables with an axis `T` hold indices within one cell, -1 for nothing; `flat` turns them into indices of a tensor
    that has the values of all cells behind each other and a last row of zeros.
    """

    def __init__(
        self, images: PackImages, indices: Tensor, cells: int, capacity: Capacity, kernels: Kernels
    ) -> None:
        self.images, self.indices, self.cells, self.capacity = images, indices, cells, capacity
        self.kernels = kernels
        self.area, self.size = images.area, indices.shape[1]
        nobody = torch.full_like(indices[:, :1], len(images))
        self._image_of_slot = torch.cat([indices, nobody], 1)  # (T, B + 1)
        self._rows: dict[int, Rows] = {}
        self._sorted_by_site: dict[int, tuple[Tensor, Tensor]] = {}
        self._cell = torch.arange(cells, device=indices.device)

    def length(self, depth: int) -> int:
        """`A + R`."""
        return self.area + self.capacity.rows[depth]

    def rows(self, depth: int) -> Rows:
        if depth not in self._rows:
            active = self.images.active(depth)
            begin = active.start[self.indices]
            start = torch.nn.functional.pad(
                (active.start[self.indices + 1] - begin).cumsum(1), (1, 0)
            )
            row = torch.arange(self.capacity.rows[depth], device=start.device)
            row = row.expand(len(start), -1)
            image = torch.searchsorted(start[:, 1:].contiguous(), row.contiguous(), right=True)
            shift = torch.nn.functional.pad(begin - start[:, :-1], (0, 1))
            dummy = len(active.site) - 1
            entry = torch.where(image < self.size, row + shift.gather(1, image), dummy)
            self._rows[depth] = Rows(start, image, active.site[entry])
        return self._rows[depth]

    def find(self, depth: int, image: Tensor, site: Tensor) -> Tensor:
        """The rows that hold sites `(T, ...)` of images `(T, ...)` at a depth, -1 where none does."""
        active, rows = self.images.active(depth), self.rows(depth)
        shape = torch.Size(np.broadcast_shapes(image.shape, site.shape))
        image, site = image.expand(shape), site.expand(shape)
        slot = image.reshape(len(image), -1)
        table = active.position.view(-1)
        at = self._slots(slot).gather(1, slot) * (self.area + 1) + site.reshape(slot.shape)
        position = table[at].long()
        row = self._lift(rows.start, slot).gather(1, slot) + position
        return torch.where(position >= 0, row, -1).view(image.shape)

    def _slots(self, like: Tensor) -> Tensor:
        return self._lift(self._image_of_slot, like)

    @staticmethod
    def _lift(table: Tensor, like: Tensor) -> Tensor:
        """A table of shared orders for indices that are every cell's own."""
        return table.expand(len(like), -1)

    def sources(self, layer: int) -> Tensor:
        """`(T, A + R', taps)`: what each output of a convolution sums up, as `value * taps + tap` of its input."""
        to = self.rows(layer + 1)
        around = self.images.neighbours(layer, 1)
        taps = around.shape[1]
        background = around[:-1].where(around[:-1] < self.area, -1)
        found = self.find(layer, to.image[..., None], around[to.site])
        row = torch.where(found >= 0, found + self.area, -1)
        value = torch.cat([background.expand(len(row), -1, -1), row], 1)
        return torch.where(value >= 0, value * taps + torch.arange(taps, device=row.device), -1)

    def targets(self, layer: int) -> Tensor:
        """`(T, A + R, taps)`: which output each value of a convolution's input reaches by each tap."""
        source = self.rows(layer)
        around = self.images.neighbours(layer, -1)
        background = around[:-1].where(around[:-1] < self.area, -1)
        found = self.find(layer + 1, source.image[..., None], around[source.site])
        row = torch.where(found >= 0, found + self.area, -1)
        return torch.cat([background.expand(len(row), -1, -1), row], 1)

    def patches(self, layer: int, site: Tensor) -> Tensor:
        """`(T, B, ..., taps)`: the values of a convolution's input under its output at `site` `(T, B, ...)`."""
        around = self.images.neighbours(layer, 1)[site]
        image = torch.arange(self.size, device=site.device)
        image = image.view(1, -1, *[1] * (around.ndim - 2)).expand(len(site), *around.shape[1:])
        row = self.find(layer, image, around)
        value = torch.where(row >= 0, row + self.area, around)
        return torch.where(around < self.area, value, -1)

    def inactive(self, depth: int, dtype: torch.dtype) -> Tensor:
        """`(T, B, A)`: 1 where an image shows the background, else 0."""
        return (self.images.active(depth).position[self.indices][..., :-1] < 0).to(dtype)

    def by_site(self, depth: int) -> tuple[Tensor, Tensor]:
        """Rows `(T, R)` in the order of their sites, padding last, and `(T, A + 1)` where each site begins."""
        if depth not in self._sorted_by_site:
            rows = self.rows(depth)
            orders, width = rows.site.shape
            site = torch.where(rows.image < self.size, rows.site, self.area)
            shift = torch.arange(orders, device=site.device)[:, None]
            key, order = (site + shift * (self.area + 1)).view(-1).sort(stable=True)
            edges = torch.arange(orders * (self.area + 1), device=site.device)
            first = torch.searchsorted(key, edges).view(orders, -1)
            self._sorted_by_site[depth] = (
                order.view(orders, width) - shift * width,
                first - shift * width,
            )
        return self._sorted_by_site[depth]

    def flat(self, index: Tensor, length: int) -> Tensor:
        """Indices `(T, ...)` within cells of `length` values as `(P, ...)` into all cells' values and a last one."""
        cell = self._cell.view(-1, *[1] * (index.ndim - 1))
        return torch.where(index >= 0, index + cell * length, self.cells * length)

    def bounds(self, first: Tensor, length: int) -> Tensor:
        """Where bags begin `(T, bags)` within cells of `length` entries, as `(P * bags + 1,)` over all cells."""
        flat = (first + self._cell[:, None] * length).view(-1)
        return torch.nn.functional.pad(flat, (0, 1), value=self.cells * length)
