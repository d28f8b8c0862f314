"""A pack: cells of one shape that take their steps together, each with its own order, weights and Adam state."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linefit.packs.feeds import EpochPlan, Feed, HostExamples, Part, Recordings, by_steps, pieces
from linefit.packs.graphs import Capture, capture_for, put_back, take_first_step
from linefit.packs.images import Capacity, HostSites, PackImages, copy_from_host
from linefit.packs.kernels.choice import KernelSet, kernels
from linefit.packs.network import forward
from linefit.packs.rates import CONSTANT, Rates
from linefit.packs.recognition import background_of
from linefit.packs.shape import Shape, stack, unstack
from linefit.packs.sites import Batch

FIRST_CANDIDATES = (
    16  # background sites a channel that a maximum tries; doubled where an epoch shows too few
)
PREDICTION_BATCH = 500  # images at most
PREDICTION_BYTES = 1 << 30  # of the largest table of a batch of predictions, all cells together


@dataclass(frozen=True)
class PackExamples:
    """Images and what a net is to say of each, resident on the pack's device."""

    images: PackImages
    targets: Tensor  # (N, 2) slope and intercept

    def __len__(self) -> int:
        return len(self.images)

    def load(self, fresh: HostExamples, sites: HostSites) -> bool:
        """Other examples in the place of these, see `PackImages.load`."""
        copy_from_host(self.targets, torch.from_numpy(fresh.targets).to(self.targets.dtype))
        return self.images.load(sites)


class Pack:
    """`P` cells in training. A step reads and writes tensors that stay where they are, and asks the host nothing.

    Args:
        nets: the cells' nets, all of `shape`; their parameters are copied.
        learning_rates: one a cell.
        training: the examples of every epoch, in the dtype and on the device of the pack.
        batch_size: the last batch of an epoch is the remainder.
        kernel_set: see `linefit.packs.kernels`.
        capture: how a step is recorded; default: a CUDA graph on CUDA, else not at all.
        order_of: which of an epoch's orders each cell follows, counted as they first occur; default: there is one
            for all cells, or one for each.
        schedule: factors `(steps,)` of the learning rates; default: they stay.
    """

    def __init__(
        self,
        nets: Sequence[nn.Module],
        shape: Shape,
        learning_rates: Sequence[float],
        training: PackExamples,
        batch_size: int,
        kernel_set: KernelSet = "plain",
        capture: Capture | None = None,
        order_of: Sequence[int] | None = None,
        schedule: NDArray[np.float64] = CONSTANT,
    ) -> None:
        targets = training.targets
        self.shape, self.training, self.batch_size = shape, training, batch_size
        self.parameters = stack(nets, shape, targets.device, targets.dtype)
        self.background = background_of(nets, shape, targets.dtype, targets.device)
        self.optimiser, self._rates = _adam(self.parameters, learning_rates, schedule)
        self.candidates = FIRST_CANDIDATES
        # Of the epoch so far: loss summed over images, and whether a maximum lacked candidates.
        self.loss = torch.zeros(len(nets), dtype=torch.float64, device=targets.device)
        self.exhausted = torch.zeros(len(nets), dtype=torch.bool, device=targets.device)
        self._kernels = kernels(kernel_set)
        self._order_of = None if order_of is None else torch.tensor(order_of, device=targets.device)
        self._recordings = Recordings(capture or capture_for(targets.device), targets.device)

    def __len__(self) -> int:
        return len(self.background)

    def state(self) -> list[Tensor]:
        """All tensors that a step changes, but for the place in the order."""
        moments = [t for s in self.optimiser.state.values() for t in s.values()]
        return [*self.parameters, *moments, *self._rates.state(), self.loss, self.exhausted]

    def plan(self, orders: NDArray[np.int64], fresh: HostExamples | None = None) -> EpochPlan:
        """An epoch in the orders `(T, N)` of images, perhaps of others than before.

        It asks the device nothing, and may be made in a thread of its own while an earlier epoch runs.
        """
        images, per_site = self.training.images, self.shape.pooling == "flatten"
        sites = HostSites(fresh.pixels, images.convolutions) if fresh else None
        host, parts = sites or images.host, []
        for order, size in pieces(orders, self.batch_size):
            needs = host.capacity(order, size, per_site=per_site)
            whole = size == self.batch_size
            room = needs if whole else host.room_for_one(needs, size)
            parts.append(Part(by_steps(order, size), needs, room.with_room()))
        return EpochPlan(tuple(parts), fresh, sites)

    def epoch(self, plan: EpochPlan) -> None:
        """Take an epoch's steps; `loss` and `exhausted` say on the device what came of them."""
        if plan.fresh is not None:
            assert plan.sites is not None
            if not self.training.load(plan.fresh, plan.sites):
                self._recordings.forget()
        self.loss.zero_()
        self.exhausted.zero_()
        self._recordings.run(plan.parts, self._step, self.state())

    def _step(self, feed: Feed) -> None:
        """One step on the feed's next batch."""
        indices = feed.next()
        batch = self._batch(self.training.images, indices, feed.capacity)
        found = forward(self.shape, self.parameters, self.background, batch, self.candidates)
        error = found.values - batch.of_cells(self.training.targets[indices])
        gradients = found.gradients(error * (2 / error[0].numel()))
        self.loss += error.square().mean((1, 2)).double() * feed.size
        self.exhausted |= found.exhausted
        _set_gradients(self.optimiser, self.parameters, gradients)
        self._rates.advance()
        self.optimiser.step()

    def _batch(self, images: PackImages, indices: Tensor, capacity: Capacity) -> Batch:
        return Batch(images, indices, len(self), capacity, self._kernels, self._order_of)

    def more_candidates(self) -> None:
        """From now on twice as many of them; recorded steps are recorded anew."""
        self.candidates *= 2
        self._recordings.forget()

    def predict(self, images: PackImages) -> tuple[Tensor, Tensor]:
        """Predictions `(P, N, 2)` for all images, and the cells whose maxima need more candidates `(P,)`."""
        bytes_of_image = (
            sum(
                images.most(layer) * kernel.size[0] * kernel.size[1] * out
                for layer, (kernel, out) in enumerate(
                    zip(self.shape.convolutions, self.shape.channels[1:], strict=True)
                )
            )
            * self.background.element_size()
        )
        affordable = int(PREDICTION_BYTES // (len(self) * bytes_of_image))
        size = min(max(affordable, 1), PREDICTION_BATCH, len(images))
        order = np.arange(len(images))[None]
        capacity = images.host.capacity(order, size, per_site=self.shape.pooling == "flatten")
        exhausted = torch.zeros_like(self.exhausted)
        values = []
        for indices in torch.split(torch.from_numpy(order).to(images.device), size, 1):
            batch = self._batch(images, indices, capacity)
            found = forward(self.shape, self.parameters, self.background, batch, self.candidates)
            values.append(found.values)
            exhausted |= found.exhausted
        return torch.cat(values, 1), exhausted

    def train_epoch(self, plan: EpochPlan, validation: PackExamples) -> Tensor:
        """Take an epoch, as often as maxima lack candidates; each cell's train loss and val MSE `(2, P)`."""
        before = self.snapshot() if self.shape.pooling == "max" else []
        self.epoch(plan)
        val_mse, unsure = self._mse(validation)
        while bool((self.exhausted | unsure).any()):  # here the host waits
            self.restore(before)
            self.more_candidates()
            self.epoch(replace(plan, fresh=None))
            val_mse, unsure = self._mse(validation)
        return torch.stack([self.loss / plan.images, val_mse])

    def _mse(self, examples: PackExamples) -> tuple[Tensor, Tensor]:
        """Each cell's mean squared error over images and outputs `(P,)`, and who needs more candidates."""
        predictions, exhausted = self.predict(examples.images)
        error = predictions.double() - examples.targets.double()
        return error.square().mean((1, 2)), exhausted

    def write_to(self, nets: Sequence[nn.Module]) -> None:
        """Copy the cells' parameters into nets of the same shape."""
        unstack(self.parameters, self.shape, nets)

    def snapshot(self) -> list[Tensor]:
        return [tensor.clone() for tensor in self.state()]

    def restore(self, snapshot: Sequence[Tensor]) -> None:
        put_back(self.state(), snapshot)


def _adam(
    parameters: Sequence[Tensor], learning_rates: Sequence[float], schedule: NDArray[np.float64]
) -> tuple[torch.optim.Adam, Rates]:
    """Torch's fused Adam on slices of the stacked parameters, one group for each run of equal learning rates.

    It reads and writes every number once, which no kernel of ours could undercut. Its state exists from now on: a step
    with zero gradients changes nothing else.
    """
    runs = [(rate, len(list(run))) for rate, run in itertools.groupby(learning_rates)]
    rates = Rates(schedule, [rate for rate, _ in runs], parameters[0].device)
    groups, first = [], 0
    for number, (_, cells) in enumerate(runs):
        of_cells = [p[first : first + cells] for p in parameters]
        groups.append({"params": of_cells, "lr": rates.of_group(number)})
        first += cells
    on_cuda = parameters[0].device.type == "cuda"
    optimiser = torch.optim.Adam(groups, fused=True, capturable=on_cuda)
    _set_gradients(optimiser, parameters, [torch.zeros_like(p) for p in parameters])
    take_first_step(optimiser)
    return optimiser, rates


def _set_gradients(
    optimiser: torch.optim.Adam, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
) -> None:
    first = 0
    for group in optimiser.param_groups:
        for parameter, gradient in zip(group["params"], gradients, strict=True):
            parameter.grad = gradient[first : first + len(parameter)]
        first += len(group["params"][0])
    assert first == len(parameters[0])
