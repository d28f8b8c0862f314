"""Which cells of a study a run is about, as a user says it: seeds, conditions, a limit, what has failed before."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ablations.study.factors import FACTORS
from ablations.study.problems import Problem, nearest
from ablations.study.study import LEGAL_SEEDS, MOST_SEEDS, Cell, Study, StudyError, read_seeds
from linefit.legal import spelled

MOST_SHARDS = 10_000
LEGAL_SHARD = f"a part and the number of parts, such as 2/8, at most {MOST_SHARDS}"
# Between the levels of a condition, not between the parameters of a level.
COMMA = re.compile(r",(?![^(]*\))")


@dataclass(frozen=True)
class Selection:
    """The cells that a user asks for. By default all of a study that have not been tried yet."""

    seeds: tuple[int, ...] | None = None  # None: the study's
    where: tuple[
        str, ...
    ] = ()  # conditions `factor=level` or `factor=level,level`, all of which hold
    limit: int | None = None  # train at most so many cells
    retry_failed: bool = False
    rerun_stale: bool = False  # train again what an earlier version of the engine has trained
    shard: tuple[int, int] | None = None  # the first, second, ... of so many equal parts
    among: frozenset[str] | None = None  # variants that a round of `--until` is about; None: all

    def cells(self, study: Study) -> list[Cell]:
        """The selected cells, done or not. Raises StudyError, with all mistakes, where a condition names no factor or
        a level that no variant has.
        """
        chosen = select(study.cells(self.seeds), self.where)
        if self.among is not None:
            chosen = [cell for cell in chosen if cell.variant.name in self.among]
        if self.shard is None:
            return chosen
        # Part by part along each seed's round of variants, and on from there in the next round: a variant that takes
        # long is not always the same part's.
        part, parts = self.shard
        rounds = itertools.groupby(chosen, key=lambda cell: cell.seed)
        return [
            cell
            for turn, (_, cells) in enumerate(rounds)
            for position, cell in enumerate(cells, start=turn)
            if position % parts == part - 1
        ]


def selection(
    *,
    seeds: int | Sequence[int] | None = None,
    where: str | Iterable[str] = (),
    limit: int | None = None,
    retry_failed: bool = False,
    rerun_stale: bool = False,
    shard: tuple[int, int] | None = None,
) -> Selection:
    """A selection as Python code says it: `seeds` may be their number, `where` one condition.

    Raises StudyError for seeds, a limit and a shard that are not legal.
    """
    problems = []
    chosen = None if seeds is None else read_seeds(seeds)
    if seeds is not None and chosen is None:
        problems.append(Problem("seeds", seeds, LEGAL_SEEDS))
    if limit is not None and (type(limit) is not int or limit < 1):
        problems.append(Problem("limit", limit, "a number of cells from 1"))
    if shard is not None and not 1 <= shard[0] <= shard[1] <= MOST_SHARDS:
        problems.append(Problem("shard", "{}/{}".format(*shard), LEGAL_SHARD))
    if problems:
        raise StudyError("options", problems)
    conditions = (where,) if isinstance(where, str) else tuple(where)
    return Selection(chosen, conditions, limit, retry_failed, rerun_stale, shard)


def select(cells: Sequence[Cell], where: Sequence[str]) -> list[Cell]:
    """Cells that meet every condition; `variant` and `seed` are factors too."""
    problems: list[Problem] = []
    chosen = list(cells)
    legal = ("variant", "seed", *FACTORS)
    for condition in where:
        factor, equals, text = condition.partition("=")
        if not equals or factor not in legal:
            words = f"FACTOR=LEVEL with one of {', '.join(legal)}"
            problems.append(Problem("--where", condition, words, nearest(factor, legal)))
            continue
        known = list(dict.fromkeys(_level(cell, factor) for cell in cells))
        levels = COMMA.split(text)
        problems += [
            Problem(f"--where {factor}", level, f"one of {', '.join(known)}", nearest(level, known))
            for level in levels
            if level not in known
        ]
        chosen = [cell for cell in chosen if _level(cell, factor) in levels]
    if not problems and not chosen:
        words = "conditions that some cell meets together"
        problems.append(Problem("--where", ", ".join(where), words))
    if problems:
        raise StudyError("command line", problems)
    return chosen


def parse_shard(text: str) -> tuple[int, int]:
    """`2/8` is the second of eight parts. Raises StudyError otherwise."""
    match = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text)
    if match is None:
        raise StudyError("command line", [Problem("--shard", text, LEGAL_SHARD)])
    return int(match[1]), int(match[2])


def _level(cell: Cell, factor: str) -> str:
    if factor == "variant":
        return cell.variant.name
    return str(cell.seed) if factor == "seed" else spelled(cell.variant.levels[factor])


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
