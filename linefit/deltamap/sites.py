"""Index tables of active sites: which sites of an image can differ from the background, and how layers link them.

`SiteTables` belongs to a data set and depends on its lit pixels alone; `Batch` gathers the tables of some
images. No feature value lives here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linefit.deltamap.kernels import Kernels
from linefit.deltamap.kernels.links import Links

Footprint = tuple[tuple[int, int], ...]
"""Sorted offsets (rows, columns) from a lit pixel to the sites that it may change."""

LIT: Footprint = ((0, 0),)


@dataclass(frozen=True)
class Kernel:
    """Geometry of a stride-1 convolution of odd size whose zero padding keeps the map's size."""

    size: tuple[int, int]
    dilation: tuple[int, int]

    @cached_property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """Where each tap reads, relative to the output site, in the order of the weight's last two axes."""
        (height, width), (down, right) = self.size, self.dilation
        return tuple(
            ((i - height // 2) * down, (j - width // 2) * right)
            for i in range(height)
            for j in range(width)
        )

    def dilate(self, footprint: Footprint) -> Footprint:
        """The sites that this convolution can change when `footprint` is what changes its input."""
        return tuple(sorted({(y - i, x - j) for y, x in footprint for i, j in self.offsets}))


@dataclass(frozen=True)
class ActiveSites:
    """The active sites of all images of a data set for one footprint, image after image."""

    start: Tensor  # (N + 1,) int64: the entries of image i are start[i]:start[i + 1]
    site: Tensor  # (total + 1,) int64: row * width + column; the last entry is a dummy for padding
    largest: tuple[int, ...]  # capacity of a batch of b distinct images is largest[b]

    @property
    def most(self) -> int:
        """The number of active sites of the image that has most."""
        return self.largest[1]


class SiteTables:
    """Index tables of a data set, built when a net first asks for them and kept.

    `padded` tables give every batch of `b` distinct images the same number of rows, the most that any such batch
    can have, so that no shape depends on the data: what CUDA graphs need. It is the default off the CPU.
    """

    def __init__(self, pixels: NDArray[np.bool_], device: torch.device, padded: bool) -> None:
        self.images: int = pixels.shape[0]
        self.height: int = pixels.shape[1]
        self.width: int = pixels.shape[2]
        self.device = device
        self.padded = padded
        self._pixels = pixels
        self._active: dict[Footprint, ActiveSites] = {}
        self._links: dict[tuple[Footprint, Kernel], Tensor] = {}
        self._offsets: dict[Kernel, Tensor] = {}

    def mask(self, footprint: Footprint) -> NDArray[np.bool_]:
        """`(N, H, W)`: which sites are active."""
        reach_y = max(abs(y) for y, _ in footprint)
        reach_x = max(abs(x) for _, x in footprint)
        margin = ((0, 0), (reach_y, reach_y), (reach_x, reach_x))
        bordered = np.pad(self._pixels, margin)
        mask = np.zeros_like(self._pixels)
        for y, x in footprint:
            top, left = reach_y - y, reach_x - x
            mask |= bordered[:, top : top + self.height, left : left + self.width]
        return mask

    def active(self, footprint: Footprint) -> ActiveSites:
        if footprint not in self._active:
            image, site = np.nonzero(self.mask(footprint).reshape(self.images, -1))
            counts = np.bincount(image, minlength=self.images)
            largest = np.concatenate([[0], np.cumsum(np.sort(counts)[::-1])])
            self._active[footprint] = ActiveSites(
                start=self._tensor(np.concatenate([[0], np.cumsum(counts)])),
                site=self._tensor(np.append(site, 0)),
                largest=tuple(largest.tolist()),
            )
        return self._active[footprint]

    def links(self, footprint: Footprint, kernel: Kernel) -> Tensor:
        """`(total + 1, taps)` int32: for an entry of `footprint`, the entries of the dilated one that its taps reach.

        They count from the image's first entry; -1 where a tap reaches outside the map, and for the dummy entry.
        """
        key = (footprint, kernel)
        if key not in self._links:
            mask = self.mask(kernel.dilate(footprint)).reshape(self.images, -1)
            position = (np.cumsum(mask, axis=1, dtype=np.int32) - 1).astype(np.int32)
            image, y, x = np.nonzero(self.mask(footprint))
            links = np.full((len(image) + 1, len(kernel.offsets)), -1, dtype=np.int32)
            for tap, (down, right) in enumerate(kernel.offsets):
                to_y, to_x = y - down, x - right
                inside = (to_y >= 0) & (to_y < self.height) & (to_x >= 0) & (to_x < self.width)
                to_site = (to_y * self.width + to_x)[inside]
                links[:-1][inside, tap] = position[image[inside], to_site]
            self._links[key] = self._tensor(links)
        return self._links[key]

    def offsets(self, kernel: Kernel) -> Tensor:
        """`(taps, 2)` int64: `kernel.offsets` on the device."""
        if kernel not in self._offsets:
            self._offsets[kernel] = torch.tensor(kernel.offsets, device=self.device)
        return self._offsets[kernel]

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self.device)


class Batch:
    """Some images of a data set, their active sites per footprint, and the kernels that compute on them."""

    def __init__(self, tables: SiteTables, indices: Tensor, kernels: Kernels) -> None:
        self.tables = tables
        self.indices = indices
        self.kernels = kernels
        # Weak, as sites refer back to their batch: the maps on them keep them, and all of it goes with the last map.
        self._sites: WeakValueDictionary[Footprint, Sites] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self.indices)

    def sites(self, footprint: Footprint) -> Sites:
        sites = self._sites.get(footprint)
        if sites is None:
            sites = self._sites[footprint] = Sites(self, footprint)
        return sites


class Sites:
    """The `R` active sites of a batch for one footprint: row `r` of a delta map is site `site[r]` of image `image[r]`.

    Rows stand image after image. Rows of padding, if any, come last and belong to image `N`, which is nobody's.
    """

    def __init__(self, batch: Batch, footprint: Footprint) -> None:
        self.batch = batch
        self.footprint = footprint
        tables, indices = batch.tables, batch.indices
        active = tables.active(footprint)
        self.most = active.most
        capacity = None
        if tables.padded:
            if len(indices) > tables.images:
                raise ValueError(f"a padded batch takes distinct images, at most {tables.images}")
            capacity = active.largest[len(indices)]
        self.start, self.image, self.site, self._entry = batch.kernels.gather_sites(
            active.start, active.site, indices, capacity
        )
        self.rows = len(self.site)

    def links(self, kernel: Kernel) -> Links:
        """From here to the dilated sites."""
        tables, target = self.batch.tables, self.dilated(kernel)
        targets = self.batch.kernels.gather_targets(
            tables.links(self.footprint, kernel),
            self._entry,
            self.image,
            target.start,
            target.rows,
        )
        return Links(self, target, targets, tables.offsets(kernel), (tables.height, tables.width))

    def dilated(self, kernel: Kernel) -> Sites:
        return self.batch.sites(kernel.dilate(self.footprint))

    @cached_property
    def row_of_site(self) -> Tensor:
        """`(N, H * W)` int64: the row that holds a site, `R` where the site is not active."""
        area = self.batch.tables.height * self.batch.tables.width
        return self.batch.kernels.place_rows(self.image, self.site, len(self.batch), area)

    @cached_property
    def inactive(self) -> Tensor:
        """`(N, H * W)` bool: the sites that show the background."""
        return self.row_of_site == self.rows
