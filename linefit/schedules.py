"""How the learning rate changes from step to step."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from linefit.protocol import Protocol, Schedule

# Share of the training that is done, from 0 to 1 -> factor of the protocol's learning rate.
SCHEDULES: dict[Schedule, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    # Half a period, down to 0 (Loshchilov & Hutter, 2017, without restarts).
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}


def learning_rates(protocol: Protocol) -> npt.NDArray[np.float64]:
    """The learning rate `(steps,)` of every step of a training.

    The first `warmup` of them rise in equal strides to the protocol's learning rate; the schedule has the others.
    """
    steps = protocol.epochs * protocol.steps_per_epoch
    rising = round(protocol.warmup * steps)
    schedule = SCHEDULES[protocol.schedule]
    factors = [(step + 1) / rising for step in range(rising)]
    factors += [schedule(step / (steps - rising)) for step in range(steps - rising)]
    return protocol.learning_rate * np.array(factors)
