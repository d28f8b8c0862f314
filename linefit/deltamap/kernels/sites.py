"""Index tables on the CPU, compiled: a data set's are built, a batch's are gathered from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

IntArray = NDArray[np.signedinteger[Any]]


def gather_sites(
    first: Tensor,
    table: Tensor,
    indices: Tensor,
    capacity: int | None,  # noqa: ARG001  (compiled tables are exact)
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    start, image, site, entry = _gather_sites(first.numpy(), table.numpy(), indices.numpy())
    return (
        torch.from_numpy(start),
        torch.from_numpy(image),
        torch.from_numpy(site),
        torch.from_numpy(entry),
    )


def gather_targets(
    links: Tensor, entries: Tensor, image: Tensor, start: Tensor, absent: int
) -> Tensor:
    arrays = (links.numpy(), entries.numpy(), image.numpy(), start.numpy())
    return torch.from_numpy(_gather_targets(*arrays, absent))


def place_rows(image: Tensor, site: Tensor, images: int, area: int) -> Tensor:
    return torch.from_numpy(_place_rows(image.numpy(), site.numpy(), images, area))


@njit(cache=True, nogil=True)
def _gather_sites(
    first: IntArray, table: IntArray, indices: IntArray
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """`start` `(B + 1,)` of the batch's images, then image, site and table entry of each of its `R` rows."""
    start = np.zeros(len(indices) + 1, np.int64)
    for image in range(len(indices)):
        index = indices[image]
        start[image + 1] = start[image] + first[index + 1] - first[index]
    rows = start[-1]
    images = np.empty(rows, np.int64)
    sites = np.empty(rows, np.int64)
    entries = np.empty(rows, np.int64)
    for image in range(len(indices)):
        shift = first[indices[image]] - start[image]
        for row in range(start[image], start[image + 1]):
            images[row] = image
            entries[row] = row + shift
            sites[row] = table[row + shift]
    return start, images, sites, entries


@njit(cache=True, nogil=True)
def _gather_targets(
    links: IntArray, entries: IntArray, image: IntArray, start: IntArray, absent: int
) -> IntArray:
    """`(R, taps)`: absolute rows of what each row's taps reach, `absent` where that is outside."""
    taps = links.shape[1]
    targets = np.empty((len(entries), taps), np.int64)
    for row in range(len(entries)):
        entry, begin = entries[row], start[image[row]]
        for tap in range(taps):
            link = links[entry, tap]
            targets[row, tap] = link + begin if link >= 0 else absent
    return targets


@njit(cache=True, nogil=True)
def _place_rows(image: IntArray, site: IntArray, images: int, area: int) -> IntArray:
    """`(images, area)`: the row that holds a site, the number of rows where none does."""
    table = np.full((images, area), len(site), np.int64)
    for row in range(len(site)):
        table[image[row], site[row]] = row
    return table


@njit(cache=True, nogil=True)
def spread_sites(start: IntArray, site: IntArray, reach: IntArray) -> tuple[IntArray, IntArray]:
    """The sites that some sites reach, without repetition and in order: where each image's start, and the sites.

    Args: the images' sites start at `start` `(N + 1,)` in `site`; `reach` `(sites, most)` says what each reaches,
    -1 for nothing.
    """
    images, most = len(start) - 1, reach.shape[1]
    area = reach.max() + 1 if reach.size else 0
    seen = np.zeros(area, np.uint8)
    to_start = np.zeros(images + 1, np.int64)
    to_site = np.empty(area * min(images, 16), np.int64)
    count = 0
    for image in range(images):
        for entry in range(start[image], start[image + 1]):
            for k in range(most):
                to = reach[site[entry], k]
                if to >= 0:
                    seen[to] = 1
        if count + area > len(to_site):
            to_site = np.concatenate((to_site, np.empty(len(to_site), np.int64)))
        for to in range(area):
            to_site[count] = to
            count += seen[to]
            seen[to] = 0
        to_start[image + 1] = count
    return to_start, to_site[:count].copy()


@njit(cache=True, nogil=True)
def link_sites(
    start: IntArray, site: IntArray, to_start: IntArray, to_site: IntArray, reach: IntArray
) -> IntArray:
    """`(len(site) + 1, most)` int32: for each site the entries, counted from the image's first, of what it reaches.

    -1 for nothing, and in the last row, which is for padding. Every site that is reached must be among `to_site`.
    """
    links = np.full((len(site) + 1, reach.shape[1]), -1, np.int32)
    place = np.empty(reach.max() + 1 if reach.size else 0, np.int32)
    for image in range(len(start) - 1):
        for entry in range(to_start[image], to_start[image + 1]):
            place[to_site[entry]] = entry - to_start[image]
        for entry in range(start[image], start[image + 1]):
            for k in range(reach.shape[1]):
                to = reach[site[entry], k]
                if to >= 0:
                    links[entry, k] = place[to]
    return links
