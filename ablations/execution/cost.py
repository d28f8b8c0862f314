"""What a cell will cost, before it is trained: for time ranges and a fair progress bar.

An estimate rests on what was timed where it can: finished cells of the same variant, then cells of the same net in
other studies of the results folder, step for step. The rest is modelled (`model`), to the scale of what was timed.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ablations.execution.model import Size, evaluated_images, sizes
from ablations.study.study import Cell

START_SECONDS = 5.0  # of workers, and of what is drawn at the end
# Of a configuration, what does not matter for the time of a step.
NOT_OF_A_STEP = (
    "seed",
    "epochs",
    "train_size",
    "learning_rate",
    "evaluation",
    "engine_version",
    "schedule",
    "warmup",
)


@dataclass(frozen=True)
class Timings:
    """What finished cells took on this kind of device."""

    variants: Mapping[str, Sequence[float]] = field(default_factory=dict)  # name -> seconds of each
    # `step_key` -> seconds of a training step in each cell of other studies
    steps: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimate:
    """A range of wall time in seconds for all cells together, and how many of them it knows by what was timed."""

    low: float
    high: float
    cells: int
    finished: int  # by finished cells of the same variant
    elsewhere: int  # by cells of the same net in other studies

    def __str__(self) -> str:
        modelled = self.cells - self.finished - self.elsewhere
        known = [
            f"{count} by {what}"
            for count, what in (
                (self.finished, "finished cells of the variant"),
                (self.elsewhere, "the same net in other studies"),
                (modelled, "a count of the arithmetic"),
            )
            if count
        ]
        basis = ", ".join(known)
        if modelled == self.cells:
            basis = "no such cell has been timed yet: a rough guess"
        return f"{duration(self.low)} to {duration(self.high)} ({basis})"


def step_key(configuration: Mapping[str, Any]) -> str:
    """What cells have in common whose training steps take equally long."""
    rest = {name: x for name, x in configuration.items() if name not in NOT_OF_A_STEP}
    return json.dumps(rest, sort_keys=True)


def cell_seconds(cells: Iterable[Cell], timings: Timings) -> dict[str, float]:
    """Key -> expected seconds of training."""
    return {key: seconds for key, (seconds, _) in _expected(list(cells), timings).items()}


def _expected(
    cells: Sequence[Cell], timings: Timings, known: Mapping[str, Size] | None = None
) -> dict[str, tuple[float, str]]:
    """Key -> seconds of training, and what they rest on: a field of `Estimate`, or nothing. `known`: see `sizes`."""
    firsts = {cell.variant.name: cell for cell in cells}
    timed: dict[str, tuple[float, str]] = {}
    for name, cell in firsts.items():
        protocol = cell.protocol
        if times := timings.variants.get(name):
            timed[name] = statistics.median(times), "finished"
        elif steps := timings.steps.get(step_key(cell.configuration)):
            count = protocol.epochs * protocol.steps_per_epoch
            timed[name] = statistics.median(steps) * count, "elsewhere"
    if len(timed) < len(firsts):
        known = known or sizes(cell.variant for cell in firsts.values())
        models = {name: known[name].training(cell.protocol) for name, cell in firsts.items()}
        scale = statistics.median([timed[name][0] / models[name] for name in timed] or [1.0])
        timed = {name: (scale * model, "") for name, model in models.items()} | timed
    return {cell.key: timed[cell.variant.name] for cell in cells}


def estimate(todo: Sequence[Cell], timings: Timings, workers: int) -> Estimate:
    """Wall time of the cells still to do: within a third where all were timed, a factor of three where none was."""
    known = sizes({cell.variant.name: cell.variant for cell in todo}.values())
    expected = _expected(todo, timings, known)
    seconds = []
    for cell in todo:
        # What the machine makes of training, it makes of predictions.
        size, training = known[cell.variant.name], expected[cell.key][0]
        modelled = size.training(cell.protocol)
        predicted = size.evaluation(cell.protocol, evaluated_images(cell))
        seconds.append(training * (1 + predicted / modelled))
    # No schedule ends before its longest cell.
    wall = max(sum(seconds) / max(workers, 1), max(seconds, default=0.0))
    wall += START_SECONDS if todo else 0.0
    bases = [basis for _, basis in expected.values()]
    timed = sum(map(bool, bases))
    low, high = (0.75, 1.33) if timed == len(bases) else (0.5, 2) if timed else (1 / 3, 3)
    return Estimate(
        low * wall, high * wall, len(bases), bases.count("finished"), bases.count("elsewhere")
    )


def duration(seconds: float) -> str:
    """`45 s`, `3.2 min`, `1.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
