"""A pack of any modules: each cell takes its own step by autograd, and the steps of all are recorded as one.

For nets that `recognition.py` does not know. Products are not batched over cells (dense convolutions, stacked, become
slow grouped ones); what a pack saves is the host's part in every step, and small nets run side by side.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linefit.engines import Batches
from linefit.losses import LOSSES
from linefit.packs.feeds import (
    NO_ROWS,
    EpochPlan,
    Feed,
    HostExamples,
    Part,
    Recordings,
    by_steps,
    pieces,
)
from linefit.packs.graphs import Branches, Capture, capture_for, put_back, take_first_step
from linefit.packs.images import copy_from_host
from linefit.packs.rates import Rates, schedule_of
from linefit.packs.recordable import assure_recordable
from linefit.protocol import Protocol
from linefit.training import PREDICTION_BATCH, evaluating

TRIAL_STEPS = 3


@dataclass(frozen=True)
class BatchExamples:
    """Images that give batches, and what a net is to say of each, resident on the pack's device."""

    images: Batches
    targets: Tensor  # (N, outputs)

    def __len__(self) -> int:
        return len(self.targets)


class ResidentImages:
    """Dense images on a device, a byte a pixel, that may be overwritten by others."""

    def __init__(self, pixels: NDArray[np.bool_], dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self.pixels = torch.empty(
            (len(pixels), 1, *pixels.shape[1:]), dtype=torch.bool, device=device
        )
        self.load(pixels)

    def load(self, pixels: NDArray[np.bool_]) -> None:
        """As many others. The host does not wait."""
        copy_from_host(self.pixels, torch.from_numpy(pixels)[:, None])

    def batch(self, indices: Tensor) -> Tensor:
        chosen = self.pixels.index_select(0, indices).to(self.dtype)
        return chosen.contiguous(memory_format=torch.channels_last)


class ModulePack:
    """`P` cells in training. A step reads and writes tensors that stay where they are, and asks the host nothing.

    Args:
        nets: the cells' nets, on the device of the examples; they are trained in place.
        protocol: of all cells, but for the learning rate.
        learning_rates: one a cell.
        training: the examples of every epoch; fresh ones need `ResidentImages`.
        capture: how a step is recorded; default: a CUDA graph on CUDA, else not at all.
        order_of: which of an epoch's orders each cell follows; default: there is one for each.

    Raises UnpackableError for a net whose steps cannot be recorded.
    """

    def __init__(
        self,
        nets: Sequence[nn.Module],
        protocol: Protocol,
        learning_rates: Sequence[float],
        training: BatchExamples,
        capture: Capture | None = None,
        order_of: Sequence[int] | None = None,
    ) -> None:
        device = training.targets.device
        self.nets, self.training, self.batch_size = list(nets), training, protocol.batch_size
        self.order_of = list(range(len(nets)) if order_of is None else order_of)
        self.loss = torch.zeros(len(nets), dtype=torch.float64, device=device)  # sum over images
        self._loss_of = LOSSES[protocol.loss]
        count = len(training)
        first = torch.arange(min(self.batch_size, count), device=device)
        batches = [(first + step * len(first)) % count for step in range(TRIAL_STEPS)]
        for net in {repr(net): net for net in nets}.values():
            assure_recordable(net, self._gradients, batches)
        self.optimiser, self._rates = _optimiser(nets, protocol, learning_rates)
        self._branches = Branches(device, len(nets))
        self._recordings = Recordings(capture or capture_for(device), device)

    def __len__(self) -> int:
        return len(self.nets)

    def state(self) -> list[Tensor]:
        """All tensors that a step changes, but for the place in the order."""
        of_nets = [t for net in self.nets for t in (*net.parameters(), *net.buffers())]
        moments = [t for s in self.optimiser.state.values() for t in s.values()]
        return [*(t.detach() for t in of_nets), *moments, *self._rates.state(), self.loss]

    def plan(self, orders: NDArray[np.int64], fresh: HostExamples | None = None) -> EpochPlan:
        """An epoch in the orders `(T, N)` of images, perhaps of others than before. It asks the device nothing."""
        parts = [
            Part(by_steps(order, size), NO_ROWS, NO_ROWS)
            for order, size in pieces(orders, self.batch_size)
        ]
        return EpochPlan(tuple(parts), fresh)

    def epoch(self, plan: EpochPlan) -> None:
        """Take an epoch's steps; `loss` says on the device what came of them."""
        if plan.fresh is not None:
            images = self.training.images
            assert isinstance(images, ResidentImages)
            images.load(plan.fresh.pixels)
            targets = torch.from_numpy(plan.fresh.targets).to(self.training.targets.dtype)
            copy_from_host(self.training.targets, targets)
        self.loss.zero_()
        self._recordings.run(plan.parts, self._step, self.state())

    def train_epoch(self, plan: EpochPlan, validation: BatchExamples) -> Tensor:
        """Take an epoch's steps; each cell's train loss and val MSE `(2, P)`, on the device."""
        self.epoch(plan)
        predictions = self.predict(validation.images, len(validation))
        error = predictions.double() - validation.targets.double()
        return torch.stack([self.loss / plan.images, error.square().mean((1, 2))])

    @torch.no_grad()
    def predict(self, images: Batches, size: int) -> Tensor:
        """Predictions `(P, size, 2)` of all cells for the first `size` images, in evaluation mode."""
        found: list[list[Tensor]] = [[] for _ in self.nets]
        for indices in torch.arange(size, device=self.loss.device).split(PREDICTION_BATCH):  # type: ignore[no-untyped-call]
            batch = images.batch(indices)
            for net, own in zip(self.nets, found, strict=True):
                with evaluating(net):
                    own.append(net(batch))
        return torch.stack([torch.cat(own) for own in found])

    def _step(self, feed: Feed) -> None:
        """One step on the feed's next batch."""
        indices = feed.next()
        self.optimiser.zero_grad()
        with self._branches.fork() as branch:
            for cell, net in enumerate(self.nets):
                with branch(cell):
                    loss = self._gradients(net, indices[self.order_of[cell]])
                    self.loss[cell] += loss * feed.size
        self._rates.advance()
        self.optimiser.step()

    def _gradients(self, net: nn.Module, indices: Tensor) -> Tensor:
        images, targets = self.training.images, self.training.targets
        loss = self._loss_of(net, images.batch(indices), targets.index_select(0, indices))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()


def _optimiser(
    nets: Sequence[nn.Module], protocol: Protocol, learning_rates: Sequence[float]
) -> tuple[torch.optim.Optimizer, Rates]:
    """Torch's fused optimiser of all cells together, one group for each learning rate, with its state.

    A step with zero gradients makes the state, which a recording has to find; what it changes is put back.
    """
    of_rates: dict[float, list[nn.Parameter]] = {}
    for rate, net in zip(learning_rates, nets, strict=True):
        of_rates.setdefault(rate, []).extend(p for p in net.parameters() if p.requires_grad)
    parameters = list(itertools.chain(*of_rates.values()))
    rates = Rates(schedule_of(protocol), list(of_rates), parameters[0].device)
    groups = [
        {"params": group, "lr": rates.of_group(number)}
        for number, group in enumerate(of_rates.values())
    ]
    capturable = parameters[0].device.type == "cuda"
    make: Callable[..., torch.optim.Optimizer] = torch.optim.Adam
    decay = {}
    if protocol.optimiser == "adamw":
        make, decay = torch.optim.AdamW, {"weight_decay": protocol.weight_decay}
    optimiser = make(groups, fused=True, capturable=capturable, **decay)
    before = [parameter.detach().clone() for parameter in parameters]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    take_first_step(optimiser)
    put_back([parameter.detach() for parameter in parameters], before)
    optimiser.zero_grad()
    return optimiser, rates
