"""The estimate of a cell's memory is an upper bound, and not a loose one."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from linefit.architectures import build
from linefit.images import lab_images
from linefit.packs import Pack, PackExamples, PackImages, recognise
from linefit.packs.shape import Shape
from linefit.packs.sizes import (
    MOST_CELLS,
    affordable_cells,
    cell_bytes,
    module_bytes,
    table_bytes,
)
from tests.linefit.packs.cells import CPU, Levels

DATA = lab_images(200)


class PeakMemory(TorchDispatchMode):
    """Most bytes alive at a time of what operations have allocated."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self.storages: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for output in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(output, Tensor) and output.untyped_storage()._cdata not in self.storages:
                storage = output.untyped_storage()
                self.storages[storage._cdata] = storage.nbytes()
                self.alive += storage.nbytes()
                self.peak = max(self.peak, self.alive)
                weakref.finalize(storage, self.freed, storage._cdata)
        return result

    def freed(self, storage: int) -> None:
        self.alive -= self.storages.pop(storage)


def peak(levels: Levels, width: int, cells: int) -> tuple[int, Shape, PackImages]:
    nets = [build(*levels, width, seed=seed) for seed in range(cells)]
    shape = recognise(nets[0], 40)
    images = PackImages(DATA.pixels, shape.convolutions, CPU)
    examples = PackExamples(images, torch.from_numpy(DATA.params))
    orders = np.stack([np.random.default_rng(cell).permutation(200)[:128] for cell in range(cells)])
    with PeakMemory() as memory:
        pack = Pack(nets, shape, [1e-3] * cells, examples, 128)
        before = pack.snapshot()
        pack.epoch(pack.plan(orders))
    pack.restore(before)
    return memory.peak, shape, images


@pytest.mark.parametrize(
    ("levels", "width"),
    [
        (("conv1", "none", "flatten"), 4),
        (("conv2", "cartesian", "max"), 16),
        (("conv4", "cartesian", "max"), 8),
        (("conv3", "none", "average"), 8),
        (("conv2", "none", "flatten"), 4),
    ],
)
def test_a_cell_takes_at_most_the_estimate_and_at_least_half_of_it(
    levels: Levels, width: int
) -> None:
    (one, shape, images), (two, _, _) = (peak(levels, width, cells) for cells in (1, 2))
    estimate = cell_bytes(shape, images, 128, torch.float32)
    assert 0.5 * estimate <= two - one <= 1.05 * estimate


def test_pack_sizes_follow_memory() -> None:
    assert affordable_cells(1000, 10) == 1
    assert affordable_cells(1000, 15_000) == 10
    assert affordable_cells(1000, 15_000, shared=5000) == 5
    assert affordable_cells(1000, 10**9) == MOST_CELLS


@pytest.mark.parametrize("levels", [("conv2", "cartesian", "max"), ("conv1", "none", "flatten")])
def test_tables_of_images_take_the_estimate(levels: Levels) -> None:
    shape = recognise(build(*levels, 2, seed=0), 40)
    images = PackImages(DATA.pixels, shape.convolutions, CPU)
    held = sum(
        tensor.nbytes
        for depth in range(images.depth + 1)
        for tensor in (images.active(depth).site, images.active(depth).position)
    )
    assert table_bytes(images, len(DATA)) == pytest.approx(held, rel=0.01)


@pytest.mark.parametrize("architecture", ["strided", "residual"])
def test_a_module_takes_at_most_the_estimate_and_at_least_half_of_it(architecture: str) -> None:
    """What a step on a whole batch has in memory at most, beside the images."""
    net = build(architecture, "cartesian", "max", 8, seed=0)
    images = torch.from_numpy(DATA.pixels[:64])[:, None].float()
    of_cell, of_stream = module_bytes(net, 64, 40)
    assert of_cell == 7 * sum(parameter.nbytes for parameter in net.parameters())
    with PeakMemory() as memory:
        net(images).sum().backward()
    assert 0.5 * of_stream <= memory.peak <= 1.05 * of_stream
