"""Which cells a run has to train: the selection by the user's options, less what the database has already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ablations.cost import Estimate, cell_seconds, estimate
from ablations.problems import Problem, nearest
from ablations.store import Store
from ablations.study import FACTORS, Cell, Study, StudyError


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
    seeds: Sequence[int] | None = None,
    where: Iterable[str] = (),
    limit: int | None = None,
    retry_failed: bool = False,
) -> Plan:
    """Plan a run. `store` is None where there is no database yet.

    Raises StudyError for a condition of `where` that names no factor, or a level that no variant has.
    """
    selected = select(study.cells(seeds), where)
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


def select(cells: Sequence[Cell], where: Iterable[str]) -> list[Cell]:
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
        if text.isdecimal() and int(text) > 0:
            return tuple(range(int(text)))
        seeds: list[int] = []
        for part in text.split(","):
            first, dash, last = part.partition("-")
            seeds += range(int(first), int(last) + 1) if dash else [int(first)]
        if seeds and len(set(seeds)) == len(seeds):
            return tuple(seeds)
    except ValueError:
        pass
    legal = (
        "a number of seeds such as 10, or distinct seeds such as 0,3,7 or 0-9 (one seed alone: 7-7)"
    )
    raise StudyError("command line", [Problem("--seeds", text, legal)])
