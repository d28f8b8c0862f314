"""How many cells a pack holds: as many as fit into a device's memory, up to a number from which more gain nothing."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from linefit.engines import random_state_kept
from linefit.packs.images import TABLE_ROOM, PackImages
from linefit.packs.shape import Shape

# No GPU has been measured yet: a guess at where one is busy, for `benchmarks.gpu` to put right.
MOST_CELLS = 64
SHARE_OF_MEMORY = 0.7  # the rest is for data sets, libraries and what an allocator cannot use
INDEX = torch.int64.itemsize


def cell_bytes(shape: Shape, images: PackImages, batch_size: int, dtype: torch.dtype) -> int:
    """Memory that one more cell of a pack takes, in bytes: an upper bound, within a factor of two."""
    area, size = images.area, dtype.itemsize
    lengths = [
        area + 1.2 * batch_size * images.host.counts[depth].mean()
        for depth in range(images.depth + 1)
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


def table_bytes(images: PackImages, size: int) -> int:
    """Memory of the tables of `size` such images: a cell has them for itself where its images are its own."""
    positions = (images.depth + 1) * torch.int16.itemsize * (images.area + 1)
    sites = sum(INDEX * TABLE_ROOM * counts.mean() for counts in images.host.counts)
    return int(size * (positions + sites))


def module_bytes(net: nn.Module, batch_size: int, dim: int) -> tuple[int, int]:
    """Memory that one more cell of a pack of modules takes, and that each of its streams takes, in bytes.

    Rough: what a step on two images keeps for its gradients, for as many as a batch has, and as much again.
    """
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    parameters = {parameter.data_ptr(): parameter.nbytes for parameter in net.parameters()}
    kept = saved_tensors_hooks(keep, lambda tensor: tensor)
    with random_state_kept(torch.device("cpu")), kept:
        output = net(torch.zeros(2, 1, dim, dim))
    passing = sum(size for place, size in saved.items() if place not in parameters)
    del output
    own = (4 + 3) * sum(parameters.values())  # as of a cell of delta maps
    return own, int(2 * passing * batch_size / 2)


def affordable_cells(bytes_of_cell: int, memory: float, shared: int = 0) -> int:
    """Cells of a pack on a device with so many bytes of memory, `shared` of them for all together; at least one."""
    fitting = (SHARE_OF_MEMORY * memory - shared) / max(bytes_of_cell, 1)
    return min(max(int(fitting), 1), MOST_CELLS)
