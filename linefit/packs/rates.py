"""Learning rates that steps read on the device: what a schedule changes from step to step, a recording cannot hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linefit.protocol import Protocol
from linefit.schedules import learning_rates

CONSTANT = np.ones(1)


def schedule_of(protocol: Protocol) -> NDArray[np.float64]:
    """The factor `(steps,)` of the learning rate in every step of a training; `(1,)` where it never changes."""
    factors = learning_rates(protocol) / protocol.learning_rate
    return CONSTANT if (factors == 1).all() else factors


class Rates:
    """The learning rates of an optimiser's groups, each a multiple of one schedule.

    Behind the last step of the schedule, its last factor holds.
    """

    def __init__(
        self, schedule: NDArray[np.float64], rates: Sequence[float], device: torch.device
    ) -> None:
        table = torch.from_numpy(np.multiply.outer(schedule, rates))  # (steps, groups)
        # Torch's fused Adam reads a rate that lies on CUDA as float32.
        self._table = table.to(device, torch.float32 if device.type == "cuda" else torch.float64)
        self._now = self._table[0].clone()
        self._taken = torch.zeros(1, dtype=torch.int64, device=device)  # steps

    def of_group(self, number: int) -> Tensor:
        """The rate of a group, a scalar that stays where it is."""
        return self._now[number]

    def advance(self) -> None:
        """Set the rates of the next step."""
        step = self._taken.clamp_max(len(self._table) - 1)
        self._now.copy_(self._table.index_select(0, step)[0])
        self._taken.add_(1)

    def state(self) -> list[Tensor]:
        """All tensors that a step changes."""
        return [self._now, self._taken]
