"""Index tables of a pack's batches, in shapes that depend on no image: the host never has to be asked.

`Batch` derives from the images (`images.py`) what the layers in `layers.py` read. A feature map of depth `d` (after `d`
convolutions) is a tensor `(P, A + R, C)` of `P` cells: the background's `A` sites, then the `R` rows of active sites,
image after image, then padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from linefit.packs.images import Capacity, PackImages
from linefit.packs.kernels.interface import Kernels


@dataclass(frozen=True)
class Rows:
    """Which site of which image each row of a depth is."""

    start: Tensor  # (T, B + 1): rows of image b are start[b]:start[b + 1]
    image: Tensor  # (T, R): 0 to B - 1, B for padding
    site: Tensor  # (T, R): 0 for padding


class Batch:
    """The tables of one step: `T` orders of `B` images each, for `P` cells, of which `order_of` `(P,)` follow each.

    Without `order_of`, `T` is 1 or every cell has an order of its own. Cells of one order share its tables. Tables with
    an axis `T` hold indices within one cell, -1 for nothing; `flat` turns them into indices of a tensor that has the
    values of all cells behind each other and a last row of zeros.
    """

    def __init__(
        self,
        images: PackImages,
        indices: Tensor,
        cells: int,
        capacity: Capacity,
        kernels: Kernels,
        order_of: Tensor | None = None,
    ) -> None:
        self.images, self.indices, self.cells, self.capacity = images, indices, cells, capacity
        self.kernels, self._order_of = kernels, order_of
        self.area, self.size = images.area, indices.shape[1]
        nobody = torch.full_like(indices[:, :1], len(images))
        self._image_of_slot = torch.cat([indices, nobody], 1)  # (T, B + 1)
        self._rows: dict[int, Rows] = {}
        self._sorted_by_site: dict[int, tuple[Tensor, Tensor]] = {}
        self._cell = torch.arange(cells, device=indices.device)

    def length(self, depth: int) -> int:
        """`A + R`."""
        return int(self.area + self.capacity.rows[depth])

    def of_cells(self, table: Tensor) -> Tensor:
        """A table `(T, ...)` of orders as one that goes with cells: `(P, ...)`, or `(1, ...)` for all of them."""
        if len(table) in (1, self.cells):
            return table
        assert self._order_of is not None
        return table.index_select(0, self._order_of)

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

    def _lift(self, table: Tensor, like: Tensor) -> Tensor:
        """A table of orders for indices that are theirs, or every cell's own."""
        if len(table) != len(like):
            table = self.of_cells(table)
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
        """`(P, B, A)`, or `(1, B, A)` for all cells: 1 where an image shows the background, else 0."""
        shows = self.images.active(depth).position[self.indices][..., :-1] < 0
        return self.of_cells(shows.to(dtype))

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
        index, cell = self.of_cells(index), self._cell.view(-1, *[1] * (index.ndim - 1))
        return torch.where(index >= 0, index + cell * length, self.cells * length)

    def bounds(self, first: Tensor, length: int) -> Tensor:
        """Where bags begin `(T, bags)` within cells of `length` entries, as `(P * bags + 1,)` over all cells."""
        flat = (self.of_cells(first) + self._cell[:, None] * length).view(-1)
        return torch.nn.functional.pad(flat, (0, 1), value=self.cells * length)
