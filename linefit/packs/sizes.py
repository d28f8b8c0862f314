"""How many cells a pack holds: as many as fit into a device's memory, up to a number from which more gain nothing."""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from linefit.packs.shape import Shape
from linefit.packs.sites import PackImages

# No GPU has been measured yet: a guess at where one is busy, for `benchmarks.gpu` to put right.
MOST_CELLS = 64
SHARE_OF_MEMORY = 0.7  # the rest is for data sets, libraries and what an allocator cannot use
INDEX = torch.int64.itemsize


def cell_bytes(shape: Shape, images: PackImages, batch_size: int, dtype: torch.dtype) -> int:
    """Memory that one more cell of a pack takes, in bytes: an upper bound, within a factor of two."""
    area, size = images.area, dtype.itemsize
    lengths = [
        area + 1.2 * batch_size * images.counts(depth).mean() for depth in range(images.depth + 1)
    ]
    parameters = sum(math.prod(each) for each in shape.parameters)
    # Values, gradients and two moments; all but gradients once more to go back to.
    kept = (4 + 3) * parameters * size
    passing = [0.0]
    for layer, (inner, outer) in enumerate(pairwise(shape.channels)):
        taps = math.prod(shape.convolutions[layer].size)
        # Values of a depth, its deltas and the rectified ones stay until backward has passed.
        kept += size * (lengths[layer] * inner + 2 * lengths[layer + 1] * outer)
        indices = INDEX * 3 * taps * max(lengths[layer : layer + 2])
        passing.append(size * 2 * lengths[layer] * taps * outer + indices)
    if shape.pooling == "max":  # patches under the maxima, sorted by what they read
        patches = batch_size * shape.channels[-1] * math.prod(shape.convolutions[-1].size)
        passing.append(patches * (8 * INDEX + 3 * size))
    if (
        shape.pooling == "flatten"
    ):  # slots of all sites: what they hold, their products and gradients
        slots = area * (2.5 * (lengths[-1] - area) / area + 8)
        passing.append(slots * (size * (2 * shape.channels[-1] + 3 * shape.hidden) + 4 * INDEX))
    return int(kept + max(passing))


def affordable_cells(
    shape: Shape, images: PackImages, batch_size: int, dtype: torch.dtype, memory: int
) -> int:
    """Cells of a pack on a device with so many bytes of memory, at least one."""
    fitting = SHARE_OF_MEMORY * memory / cell_bytes(shape, images, batch_size, dtype)
    return min(max(int(fitting), 1), MOST_CELLS)
