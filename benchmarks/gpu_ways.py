"""Ways of training the same net many times on one device, each as steps over orders of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.training_step import Case
from linefit.images import LineImages
from linefit.packs import (
    BatchExamples,
    ModulePack,
    Pack,
    PackExamples,
    PackImages,
    ResidentImages,
    recognise,
)
from linefit.packs.graphs import capture_for
from linefit.packs.kernels.choice import KernelSet
from linefit.packs.reference import stacked
from linefit.protocol import Protocol

Orders = NDArray[np.int64]  # (cells, images)
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Way:
    """Cells in training: `epoch` takes a step on each batch of an order of images, for every cell."""

    cells: int
    epoch: Callable[[Orders], object]
    losses: Callable[[], Tensor]  # (cells,) of the last step or epoch: a mean, or a sum over images


def _nets(case: Case, cells: int, device: torch.device) -> list[nn.Module]:
    return [case.net(seed).to(device) for seed in range(cells)]


def _dense(data: LineImages, device: torch.device) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(data.pixels)[:, None].to(device, torch.float32)
    return images, torch.from_numpy(data.params).to(device)


def plain(case: Case, data: LineImages, batch: int, device: torch.device) -> Way:
    """The lab's loop: one cell, eager, dense, Adam with its defaults."""
    (net,) = _nets(case, 1, device)
    images, targets = _dense(data, device)
    optimiser = torch.optim.Adam(net.parameters(), LEARNING_RATE)
    last = torch.zeros(1, device=device)

    def epoch(orders: Orders) -> None:
        for indices in torch.from_numpy(orders[0]).to(device).split(batch):  # type: ignore[no-untyped-call]
            optimiser.zero_grad()
            loss = F.mse_loss(net(images[indices]), targets[indices])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            last.copy_(loss.detach())

    return Way(1, epoch, lambda: last)


def dense_graph(case: Case, data: LineImages, batch: int, device: torch.device) -> Way:
    """The best dense form: one cell, channels last, fused Adam, on CUDA a step in one graph."""
    (net,) = _nets(case, 1, device)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, targets = _dense(data, device)
    images = images.contiguous(memory_format=torch.channels_last)
    on_cuda = device.type == "cuda"
    optimiser = torch.optim.Adam(net.parameters(), LEARNING_RATE, fused=True, capturable=on_cuda)
    indices = torch.zeros(batch, dtype=torch.int64, device=device)
    last = torch.zeros(1, device=device)

    def step() -> None:
        chosen = images[indices].contiguous(memory_format=torch.channels_last)
        # Gradients that `backward` makes lie in memory as their parameters do: CUDA's fused Adam refuses others.
        optimiser.zero_grad()
        loss = F.mse_loss(net(chosen), targets[indices])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        last.copy_(loss.detach())

    # Warming up before a capture takes steps, which a benchmark need not undo.
    replay = capture_for(device)(step, [])

    def epoch(orders: Orders) -> None:
        order = torch.from_numpy(orders[0]).to(device)
        for first in range(0, len(order) - batch + 1, batch):
            indices.copy_(order[first : first + batch])
            replay()

    return Way(1, epoch, lambda: last)


def vmapped(case: Case, data: LineImages, batch: int, device: torch.device, cells: int) -> Way:
    """Dense modules stacked by `torch.func`; all cells see the same images, which only helps them."""
    parameters, gradients = stacked(_nets(case, cells, device))
    images, targets = _dense(data, device)
    optimiser = torch.optim.Adam(list(parameters.values()), LEARNING_RATE, fused=True)
    last = torch.zeros(cells, device=device)

    def epoch(orders: Orders) -> None:
        for indices in torch.from_numpy(orders[0]).to(device).split(batch):  # type: ignore[no-untyped-call]
            found, losses = gradients(images[indices], targets[indices])
            for name, parameter in parameters.items():
                parameter.grad = found[name].contiguous()  # as the parameter: fused Adam demands it
            optimiser.step()
            last.copy_(losses)

    return Way(cells, epoch, lambda: last)


def modules(case: Case, data: LineImages, batch: int, device: torch.device, cells: int) -> Way:
    """A pack of dense modules: the step of each cell as above, all in one graph; each has an order of its own."""
    nets = [
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for net in _nets(case, cells, device)
    ]
    targets = torch.from_numpy(data.params).to(device)
    examples = BatchExamples(ResidentImages(data.pixels, torch.float32, device), targets)
    protocol = Protocol(train_size=len(data), batch_size=batch)
    pack = ModulePack(nets, protocol, [LEARNING_RATE] * cells, examples)
    return Way(cells, lambda orders: pack.epoch(pack.plan(orders)), lambda: pack.loss)


def packed(
    case: Case,
    data: LineImages,
    batch: int,
    device: torch.device,
    cells: int,
    kernel_set: KernelSet = "plain",
    tables: PackImages | None = None,
) -> Way:
    """A pack of delta maps, each cell with an order of its own; `tables` are those of `data`, made anew if None."""
    nets: Sequence[nn.Module] = _nets(case, cells, device)
    shape = recognise(nets[0], data.pixels.shape[1])
    targets = torch.from_numpy(data.params).to(device)
    examples = PackExamples(tables or PackImages(data.pixels, shape.convolutions, device), targets)
    pack = Pack(nets, shape, [LEARNING_RATE] * cells, examples, batch, kernel_set)
    return Way(cells, lambda orders: pack.epoch(pack.plan(orders)), lambda: pack.loss)
