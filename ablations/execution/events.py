"""What passes between workers, the policy above them and the driver: jobs down, events up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablations.study.outcome import Outcome, Status
from ablations.study.study import Cell

# What a worker is given at a time: a cell, or a pack that it trains together.
Job = tuple[Cell, ...]
# Epochs done when a worker begins with a job: the time of its own start does not count.
STARTED = 0


@dataclass(frozen=True)
class Progress:
    """A cell has finished so many epochs."""

    cell: Cell
    epoch: int


@dataclass(frozen=True)
class Finished:
    """A cell has come to its end, good or bad."""

    cell: Cell
    outcome: Outcome
    provenance: Mapping[str, Any] | None = None  # of the machine that trained it; None: this one
    ended: str | None = None  # when, as UTC; None: now


@dataclass(frozen=True)
class Died:
    """A worker's process has ended in the middle of a job, which is the job's own doing as far as one can know."""

    status: Status
    note: str


@dataclass(frozen=True)
class DeviceLost:
    """A worker cannot use its device, and no other worker could."""

    reason: str


@dataclass(frozen=True)
class MachineLost:
    """A worker is gone with the machine that it was on, or out of reach, which is nothing that its job did."""

    reason: str


@dataclass(frozen=True)
class Apart:
    """The cells of a job cannot be trained together, only each by itself."""

    reason: str
    spoilt: bool  # whether finding that out has left the worker in doubt


# Epochs done, what became of each cell of the job, or why neither will ever come.
Message = int | list[Outcome] | Died | DeviceLost | MachineLost | Apart
