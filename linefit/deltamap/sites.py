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

from linefit.deltamap import footprints
from linefit.deltamap.footprints import LIT, Convolved, Footprint, Kernel, Padded, Size, United
from linefit.deltamap.kernels import Kernels
from linefit.deltamap.kernels.links import Links
from linefit.deltamap.kernels.sites import link_sites, spread_sites

__all__ = ["LIT", "ActiveSites", "Batch", "Footprint", "Kernel", "SiteTables", "Sites"]

HostSites = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Where each image's sites start `(N + 1,)`, and the sites."""


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
        self._sites: dict[Footprint, HostSites] = {}
        self._active: dict[Footprint, ActiveSites] = {}
        self._links: dict[tuple[Footprint, Kernel], Tensor] = {}
        self._offsets: dict[Kernel, Tensor] = {}
        self._resident: dict[int, tuple[NDArray[np.generic], Tensor]] = {}

    def size(self, footprint: Footprint) -> Size:
        """Height and width of the maps that have a footprint."""
        return footprints.size_of(footprint, (self.height, self.width))

    def mask(self, footprint: Footprint) -> NDArray[np.bool_]:
        """`(N, H, W)`: which sites are active."""
        start, site = self._host(footprint)
        height, width = self.size(footprint)
        mask = np.zeros((self.images, height * width), bool)
        mask[np.repeat(np.arange(self.images), np.diff(start)), site] = True
        return mask.reshape(-1, height, width)

    def active(self, footprint: Footprint) -> ActiveSites:
        if footprint not in self._active:
            start, site = self._host(footprint)
            largest = np.concatenate([[0], np.cumsum(np.sort(np.diff(start))[::-1])])
            self._active[footprint] = ActiveSites(
                start=self._tensor(start),
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
            taps = footprints.taps(kernel, self.size(footprint))
            target = self._host(kernel.dilate(footprint))
            self._links[key] = self._tensor(link_sites(*self._host(footprint), *target, taps))
        return self._links[key]

    def _host(self, footprint: Footprint) -> HostSites:
        if footprint not in self._sites:
            self._sites[footprint] = self._tabulate(footprint)
        return self._sites[footprint]

    def _tabulate(self, footprint: Footprint) -> HostSites:
        match footprint:
            case Convolved(source, kernel):
                return self._spread(source, footprints.taps(kernel, self.size(source)))
            case Padded(source, amounts, mode):
                return self._spread(source, footprints.copies(self.size(source), amounts, mode))
            case United(members):
                area = np.prod(self.size(footprint))
                keys = [
                    np.repeat(np.arange(self.images), np.diff(start)) * area + site
                    for start, site in map(self._host, members)
                ]
                image, site = np.divmod(np.unique(np.concatenate(keys)), area)
                return np.searchsorted(image, np.arange(self.images + 1)), site
            case _ if footprint == LIT:
                image, site = np.divmod(np.flatnonzero(self._pixels), self.height * self.width)
                return np.searchsorted(image, np.arange(self.images + 1)), site
            case offsets:
                size = (self.height, self.width)
                return self._spread(LIT, footprints.reach(offsets, size, size))

    def _spread(self, source: Footprint, reach: NDArray[np.int32]) -> HostSites:
        start, site = spread_sites(*self._host(source), reach)
        return start, site

    def offsets(self, kernel: Kernel) -> Tensor:
        """`(taps, 2)` int64: `kernel.offsets` on the device."""
        if kernel not in self._offsets:
            self._offsets[kernel] = torch.tensor(kernel.offsets, device=self.device)
        return self._offsets[kernel]

    def resident(self, table: NDArray[np.generic]) -> Tensor:
        """A table of geometry on the device: copied once, so that no step waits for the host."""
        # The array is kept beside its copy: as long as it lives, no other array has its id.
        if id(table) not in self._resident:
            self._resident[id(table)] = table, self._tensor(table)
        return self._resident[id(table)][1]

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
        self.size = batch.tables.size(footprint)
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
        offsets = tables.offsets(kernel)
        targets = self.batch.kernels.gather_targets(
            tables.links(self.footprint, kernel),
            self._entry,
            self.image,
            target.start,
            target.rows,
        )
        return Links(self, target, targets, offsets, self.size, target.size)

    def dilated(self, kernel: Kernel) -> Sites:
        return self.batch.sites(kernel.dilate(self.footprint))

    @cached_property
    def row_of_site(self) -> Tensor:
        """`(N, H * W)` int64: the row that holds a site, `R` where the site is not active."""
        area = self.size[0] * self.size[1]
        return self.batch.kernels.place_rows(self.image, self.site, len(self.batch), area)

    @cached_property
    def inactive(self) -> Tensor:
        """`(N, H * W)` bool: the sites that show the background."""
        return self.row_of_site == self.rows
