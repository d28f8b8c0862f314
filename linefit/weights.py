"""Which weights of a training the net is evaluated with: the last ones, the best ones on val, or an average."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol as Interface

import torch
from torch import Tensor, nn

from linefit.protocol import Weights

AVERAGED = 0.1  # share of the steps whose weights are averaged, the last ones


class KeptWeights(Interface):
    """What is remembered of a net while it trains."""

    def pieces(self, batches: Sequence[Tensor]) -> Sequence[Sequence[Tensor]]:
        """The next epoch's batches in the pieces after which `after_steps` wants to be called."""
        ...

    def after_steps(self, net: nn.Module, steps: int) -> None:
        """`steps` more steps have been taken."""
        ...

    def after_epoch(self, net: nn.Module, val_mse: float) -> None:
        """An epoch is over, with such an error on val."""
        ...

    def restore(self, net: nn.Module) -> None:
        """Give the net the weights that it is to be evaluated with."""
        ...


class LastWeights:
    """The last step's: what the lab evaluates."""

    def pieces(self, batches: Sequence[Tensor]) -> Sequence[Sequence[Tensor]]:
        return [batches]

    def after_steps(self, net: nn.Module, steps: int) -> None: ...

    def after_epoch(self, net: nn.Module, val_mse: float) -> None: ...

    def restore(self, net: nn.Module) -> None: ...


class BestWeights(LastWeights):
    """Those at the end of the epoch with the least error on val, the first of several."""

    def __init__(self) -> None:
        self.least = math.inf
        self.kept: list[Tensor] = []

    def after_epoch(self, net: nn.Module, val_mse: float) -> None:
        if val_mse < self.least:
            self.least, self.kept = val_mse, _copies(net)

    def restore(self, net: nn.Module) -> None:
        _put_back(net, self.kept)


class AverageWeights(LastWeights):
    """The mean over the last tenth of the steps, each step's weights counting the same (Izmailov et al., 2018).

    Buffers, such as running statistics, are the last step's.
    """

    def __init__(self, steps: int) -> None:
        self.waiting = steps - max(1, round(AVERAGED * steps))  # steps that do not count
        self.taken = 0  # into the mean
        self.mean: list[Tensor] = []

    def pieces(self, batches: Sequence[Tensor]) -> Sequence[Sequence[Tensor]]:
        before, counted = batches[: self.waiting], batches[self.waiting :]
        return [piece for piece in (before, *([batch] for batch in counted)) if len(piece)]

    @torch.no_grad()
    def after_steps(self, net: nn.Module, steps: int) -> None:
        if self.waiting > 0:
            self.waiting -= steps
            return
        self.taken += 1
        if not self.mean:
            self.mean = _copies(net)
        torch._foreach_lerp_(self.mean, list(net.parameters()), 1 / self.taken)

    def restore(self, net: nn.Module) -> None:
        _put_back(net, self.mean)


# All steps of the training -> what is remembered of it.
WEIGHTS: dict[Weights, Callable[[int], KeptWeights]] = {
    "last": lambda _: LastWeights(),
    "best": lambda _: BestWeights(),
    "average": AverageWeights,
}


def _copies(net: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


@torch.no_grad()
def _put_back(net: nn.Module, kept: Sequence[Tensor]) -> None:
    # In place: an optimiser may have chosen how a parameter lies in memory.
    for parameter, value in zip(net.parameters(), kept, strict=True):
        parameter.copy_(value)
