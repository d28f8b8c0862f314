"""Which cells a run has to train: those that are selected, less what has been trained already."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ablations.execution.cost import Estimate, Timings, cell_seconds, estimate
from ablations.study.factors import NET_FACTORS
from ablations.study.outcome import Status
from ablations.study.selection import Selection
from ablations.study.study import Cell, Study

ANY_TABLES = ("pooling", "width", "head")  # of a net, do not matter for its index tables


@dataclass(frozen=True)
class Plan:
    """The cells of a run, sorted by what is to become of them."""

    study: Study
    selected: tuple[Cell, ...]  # what the options ask for
    done: tuple[Cell, ...]  # of these, trained before and ok
    failed: tuple[Cell, ...]  # of these, failed before and not to be tried again
    stale: tuple[
        Cell, ...
    ]  # of these, trained by an earlier version of the engine, not to be again
    todo: tuple[Cell, ...]  # of these, to be trained now
    timings: Timings
    round: str = ""  # of a run that adds seeds in rounds: which this is

    def seconds(self) -> dict[str, float]:
        """Key -> expected training time of the cells to do."""
        return cell_seconds(self.todo, self.timings)

    def queue(self, seconds: Mapping[str, float]) -> list[Cell]:
        """The cells to do in the order in which they are begun, given `seconds()`: seed by seed, so that an interrupted
        run has compared every variant; of a seed those together that share index tables, which a worker does not keep
        for ever; and the longest first, so that no worker waits for the last.
        """
        rounds = {seed: i for i, seed in enumerate(dict.fromkeys(c.seed for c in self.todo))}
        longest: dict[tuple[object, ...], float] = {}
        for cell in self.todo:
            group = cell.seed, *_tables_of(cell)
            longest[group] = max(longest.get(group, 0.0), seconds[cell.key])

        def place(cell: Cell) -> tuple[object, ...]:
            group = _tables_of(cell)
            return rounds[cell.seed], -longest[cell.seed, *group], *group, -seconds[cell.key]

        return sorted(self.todo, key=place)

    def estimate(self, workers: int) -> Estimate:
        """Expected wall time with so many workers."""
        return estimate(self.todo, self.timings, workers)


def _tables_of(cell: Cell) -> tuple[object, ...]:
    """What the index tables of a cell's evaluation may depend on, as far as it can be told without its net."""
    levels = cell.variant.levels
    return tuple(str(levels[factor]) for factor in NET_FACTORS if factor not in ANY_TABLES)


def make_plan(
    study: Study,
    selection: Selection,
    *,
    statuses: Mapping[str, Status],
    timings: Mapping[str, tuple[float, str]],
    device: str,
    stale: Collection[str] = (),
    elsewhere: Iterable[tuple[str, float, str]] = (),
) -> Plan:
    """Plan a run from what is known of finished cells: key -> status, and key -> seconds and the device.

    `elsewhere` are cells of other studies: `cost.step_key`, seconds a step and the device.
    `stale` are the keys of cells that an earlier version of the engine has trained. Raises StudyError for a selection
    that the study does not have.
    """
    selected = selection.cells(study)
    done, failed, old, todo = [], [], [], []
    for cell in selected:
        status = statuses.get(cell.key)
        if status == "ok":
            done.append(cell)
        elif status is not None and not selection.retry_failed:
            failed.append(cell)
        elif status is None and cell.key in stale and not selection.rerun_stale:
            old.append(cell)
        else:
            todo.append(cell)
    kind = device.partition(":")[0]
    measured: dict[str, list[float]] = {}
    for cell in done:
        seconds, trained_on = timings.get(cell.key, (0.0, ""))
        if trained_on.partition(":")[0] == kind:
            measured.setdefault(cell.variant.name, []).append(seconds)
    limited = tuple(todo[: selection.limit])
    steps: dict[str, list[float]] = {}
    for key, seconds, trained_on in elsewhere if limited else ():  # they are read from databases
        if trained_on.partition(":")[0] == kind:
            steps.setdefault(key, []).append(seconds)
    known = Timings(measured, steps)
    return Plan(study, tuple(selected), tuple(done), tuple(failed), tuple(old), limited, known)
