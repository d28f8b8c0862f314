"""What became of a cell: the one thing that a worker hands to the driver. It needs no database and no tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Status = Literal["ok", "diverged", "oom", "error", "timeout"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class Outcome:
    """What became of one cell. A cell that failed is an outcome like any other and is stored as one."""

    status: Status
    message: str = ""
    parameters: int | None = None
    steps: int = 0
    seconds: float = 0.0
    peak_memory_mib: float | None = None
    engine: str | None = None
    device: str = "cpu"
    threads: int = 1
    train_loss: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    val_mse: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    predictions: Mapping[str, npt.NDArray[np.float32]] = field(
        default_factory=dict
    )  # split -> (M, 2)
