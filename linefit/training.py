"""Train a net by a protocol and predict with it: one loop, whatever a batch is and whoever takes its steps.

`train` decides the order of images and keeps the curves; a `Steps` takes an epoch's optimisation steps; images and
targets come as `Examples`. Which cells are trained, and what becomes of the results, is the harness's business.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal
from typing import Protocol as Interface

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linefit.engines import ImageSource, ResolvedEngine, StreamedImages, random_state_kept
from linefit.examples import Examples
from linefit.fused import FusedImages, FusedPredictor, FusedTrainer, Program, recognise
from linefit.losses import LOSSES
from linefit.optimisers import OPTIMISERS, set_learning_rate
from linefit.protocol import Protocol
from linefit.schedules import learning_rates
from linefit.weights import WEIGHTS

PREDICTION_BATCH = 500  # images; predictions need no graph, so the batch is bounded by memory alone


class Steps(Interface):
    """Whoever takes optimisation steps on a net, one a batch, and remembers the optimiser's state between epochs."""

    def take(self, examples: Examples, batches: Iterable[Tensor]) -> Tensor:
        """Take a step for each of the batches (indices into `examples`), in order.

        Returns the sum over images of the loss as each batch saw it: a float64 scalar on the net's device, since to
        read it before the epoch ends would make every step wait.
        """
        ...


class EagerSteps:
    """Steps by autograd, for any net, loss and optimiser."""

    def __init__(self, net: nn.Module, protocol: Protocol, engine: ResolvedEngine) -> None:
        self.net, self.loss = net, LOSSES[protocol.loss]
        self.optimiser = OPTIMISERS[protocol.optimiser](net, protocol, engine)
        self.rates = iter(learning_rates(protocol))

    def take(self, examples: Examples, batches: Iterable[Tensor]) -> Tensor:
        images = examples.images
        if isinstance(images, FusedImages):
            raise TypeError(
                "images in the compiled step's form have no batches: FusedSteps takes them"
            )
        total = torch.zeros((), dtype=torch.float64, device=examples.targets.device)
        for indices in batches:
            set_learning_rate(self.optimiser, next(self.rates))
            self.optimiser.zero_grad()
            loss = self.loss(self.net, images.batch(indices), examples.targets[indices])
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            total += loss.detach() * len(indices)
        return total


class FusedSteps:
    """Steps by the compiled program of a net that `linefit.fused` recognises."""

    def __init__(self, net: nn.Module, protocol: Protocol) -> None:
        self.net, self.protocol = net, protocol
        self.rates = learning_rates(protocol)
        self.trainer: FusedTrainer | None = None  # the first images say how large they are

    def take(self, examples: Examples, batches: Iterable[Tensor]) -> Tensor:
        images, batches = examples.images, list(batches)
        if not isinstance(images, FusedImages):
            raise TypeError("FusedSteps takes images in the compiled step's form")
        if self.trainer is None:
            program, loss = _program(self.net, images.pixels), self.protocol.loss
            if loss == "cross_entropy":
                raise ValueError("the compiled step has no cross-entropy")
            self.trainer = FusedTrainer(program, loss, self.protocol.weight_decay)
        done = self.trainer.done
        rates = self.rates[done : done + len(batches)]
        total = self.trainer.take(images, examples.targets, batches, rates)
        return torch.tensor(total, dtype=torch.float64)


def steps_for(net: nn.Module, protocol: Protocol, engine: ResolvedEngine) -> Steps:
    """Whoever takes the steps of an engine."""
    return FusedSteps(net, protocol) if engine == "fused" else EagerSteps(net, protocol, engine)


def _program(net: nn.Module, pixels: npt.NDArray[np.bool_]) -> Program:
    program = recognise(net, *pixels.shape[1:])
    if program is None:
        raise ValueError("the compiled step does not know this net")
    return program


@dataclass(frozen=True)
class Training:
    """What one training run left behind. Losses are means over images, in the units of the protocol's loss."""

    status: Literal["ok", "diverged"]
    train_loss: npt.NDArray[
        np.float64
    ]  # (epochs done,) mean loss over the epoch's batches, as they were seen
    val_mse: npt.NDArray[np.float64]  # (epochs done,) with the weights at the end of each epoch
    steps: int
    seconds: float  # training and the evaluation on val; what `training` makes at each epoch counts


def cell_seeds(seed: int) -> tuple[int, int]:
    """Seeds of initialisation and of shuffling, independent of each other and of other cells' seeds."""
    initial, shuffle = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    return int(initial), int(shuffle)


@torch.no_grad()
def predict(net: nn.Module, images: ImageSource, size: int) -> Tensor:
    """Predictions `(size, 2)` of slope and intercept for the first `size` images, on the net's device.

    Made in evaluation mode, whatever the net's own is: dropout and batch statistics are for training.
    """
    if isinstance(images, FusedImages):
        return FusedPredictor(_program(net, images.pixels))(images, size)
    if isinstance(images, StreamedImages) and images.engine == "fused":
        predictor = FusedPredictor(_program(net, images.pixels))
        return torch.cat([predictor(piece, len(piece)) for piece in images.pieces(size)])
    device = next(net.parameters()).device
    batches = torch.split(torch.arange(size, device=device), PREDICTION_BATCH)
    with evaluating(net):
        return torch.cat([net(images.batch(indices)) for indices in batches])


@contextlib.contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode, and each module's own mode afterwards."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def mse(net: nn.Module, examples: Examples) -> float:
    """Mean squared error over images and both outputs, averaged in float64."""
    predictions = predict(net, examples.images, len(examples))
    return float(F.mse_loss(predictions.double(), examples.targets.double()))


def train(
    net: nn.Module,
    steps: Steps,
    training: Callable[[int], Examples],
    validation: Examples,
    protocol: Protocol,
    *,
    shuffle: torch.Generator,
    on_epoch: Callable[[int], object] | None = None,
) -> Training:
    """Train `net` in place, and leave it with the weights that the protocol has evaluated.

    The same arguments on the same machine and thread count give the same bits. `steps` works on `net`. `training`
    gives the examples of an epoch, counted from 1, each time `protocol.train_size` of them; `shuffle` is a CPU
    generator that alone decides their order, and dropout's seed is its initial one; `on_epoch` is called with the
    number of epochs done. A non-finite loss ends the training at the end of its epoch with the status `diverged`.
    """
    train_loss: list[float] = []
    val_mse: list[float] = []
    weights = WEIGHTS[protocol.weights](protocol.epochs * protocol.steps_per_epoch)
    finite = True
    start = time.perf_counter()
    # Dropout knows no generator but the global one, which is lent to this run and put back.
    with random_state_kept(validation.targets.device):
        torch.manual_seed(shuffle.initial_seed())
        for epoch in range(1, protocol.epochs + 1):
            examples = training(epoch)
            order = torch.randperm(len(examples), generator=shuffle).to(examples.targets.device)
            total = torch.zeros((), dtype=torch.float64, device=order.device)
            for piece in weights.pieces(torch.split(order, protocol.batch_size)):
                total += steps.take(examples, piece)
                weights.after_steps(net, len(piece))
            train_loss.append(float(total) / len(examples))
            val_mse.append(mse(net, validation))
            weights.after_epoch(net, val_mse[-1])
            if on_epoch is not None:
                on_epoch(epoch)
            finite = math.isfinite(train_loss[-1]) and math.isfinite(val_mse[-1])
            if not finite:
                break
    if finite:
        weights.restore(net)
    return Training(
        "ok" if finite else "diverged",
        np.array(train_loss),
        np.array(val_mse),
        len(train_loss) * protocol.steps_per_epoch,
        time.perf_counter() - start,
    )
