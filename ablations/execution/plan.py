"""Which cells a run has to train: the selection by the user's options, less what the database has already."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ablations.execution.cost import Estimate, cell_seconds, estimate
from ablations.records.store import Store
from ablations.study.factors import FACTORS
from ablations.study.problems import Problem, nearest
from ablations.study.study import (
    LEGAL_SEEDS,
    MOST_SEEDS,
    Cell,
    Study,
    StudyError,
    read_seeds,
)


@dataclass(frozen=True)
class Plan:
    """The cells of a run, sorted by what is to become of them."""

    study: Study
    selected: tuple[Cell, ...]  # what the options ask for
    done: tuple[Cell, ...]  # of these, ok in the database
    failed: tuple[Cell, ...]  # of these, failed in the database and not to be tried again
    todo: tuple[Cell, ...]  # of these, to be trained now
    timings: Mapping[
        str, Sequence[float]
    ]  # variant -> seconds of its finished cells on this kind of device

    def seconds(self) -> dict[str, float]:
        """Key -> expected training time of the cells to do."""
        return cell_seconds(self.todo, self.timings)

    def estimate(self, workers: int) -> Estimate:
        """Expected wall time with so many workers."""
        return estimate(self.todo, self.timings, workers)


def make_plan(
    study: Study,
    store: Store | None,
    *,
    device: str,
    seeds: int | Sequence[int] | None = None,
    where: str | Iterable[str] = (),
    limit: int | None = None,
    retry_failed: bool = False,
) -> Plan:
    """Plan a run. `store` is None where there is no database yet.

    Raises StudyError for seeds or a limit that are not legal, and for a condition of `where` that names no factor,
    or a level that no variant has.
    """
    problems = []
    chosen = study.seeds if seeds is None else read_seeds(seeds)
    if chosen is None:
        problems.append(Problem("seeds", seeds, LEGAL_SEEDS))
    if limit is not None and limit < 1:
        problems.append(Problem("limit", limit, "a number of cells from 1"))
    if problems:
        raise StudyError("options", problems)
    selected = select(study.cells(chosen), [where] if isinstance(where, str) else list(where))
    statuses = {} if store is None else store.statuses()
    done = tuple(cell for cell in selected if statuses.get(cell.key) == "ok")
    failed = tuple(
        cell for cell in selected if statuses.get(cell.key, "ok") != "ok" and not retry_failed
    )
    settled = {cell.key for cell in done + failed}
    todo = tuple(cell for cell in selected if cell.key not in settled)
    measured = {} if store is None else store.timings()
    timings: dict[str, list[float]] = {}
    for cell in done:
        seconds, trained_on = measured[cell.key]
        if trained_on.partition(":")[0] == device.partition(":")[0]:
            timings.setdefault(cell.variant.name, []).append(seconds)
    return Plan(study, tuple(selected), done, failed, todo[:limit], timings)


def select(cells: Sequence[Cell], where: Sequence[str]) -> list[Cell]:
    """Cells that meet every condition `factor=level` or `factor=level,level`; `variant` and `seed` are factors too."""
    problems: list[Problem] = []
    chosen = list(cells)
    legal = ("variant", "seed", *FACTORS)
    for condition in where:
        factor, equals, text = condition.partition("=")
        if not equals or factor not in legal:
            problems.append(
                Problem(
                    "--where",
                    condition,
                    f"FACTOR=LEVEL with one of {', '.join(legal)}",
                    nearest(factor, legal),
                )
            )
            continue
        known = list(dict.fromkeys(_level(cell, factor) for cell in cells))
        for level in text.split(","):
            if level not in known:
                problems.append(
                    Problem(
                        f"--where {factor}",
                        level,
                        f"one of {', '.join(known)}",
                        nearest(level, known),
                    )
                )
        chosen = [cell for cell in chosen if _level(cell, factor) in text.split(",")]
    if not problems and not chosen:
        problems.append(
            Problem("--where", ", ".join(where), "conditions that some cell meets together")
        )
    if problems:
        raise StudyError("command line", problems)
    return chosen


def _level(cell: Cell, factor: str) -> str:
    if factor == "variant":
        return cell.variant.name
    return str(cell.seed if factor == "seed" else cell.variant.levels[factor])


def parse_seeds(text: str) -> tuple[int, ...]:
    """`10` is seeds 0 to 9; `3,5,8` and `0-9` are just these. Raises StudyError otherwise."""
    try:
        if text.isdecimal():
            seeds = read_seeds(int(text))
        else:
            parts = [part.partition("-") for part in text.split(",")]
            ranges = [range(int(a), int(b if dash else a) + 1) for a, dash, b in parts]
            few = sum(map(len, ranges)) <= MOST_SEEDS
            seeds = read_seeds(list(itertools.chain(*ranges))) if few else None
    except (ValueError, OverflowError):
        seeds = None
    if seeds is not None:
        return seeds
    legal = (
        "a number of seeds such as 10, or distinct seeds such as 0,3,7 or 0-9 (one seed alone: 7-7), "
        f"at most {MOST_SEEDS}"
    )
    raise StudyError("command line", [Problem("--seeds", text, legal)])
