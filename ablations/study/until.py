"""`--until`: what a user wants to be clear before no more seeds are added, and when a run looks whether it is.

Looks are at fixed numbers of seeds, known before the first: intervals can then share the error out among them (see
`ablations.statistics.looks`) and hold whatever is asked for, also where that changes from one run to the next.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ablations.study.problems import Problem, nearest
from ablations.study.selection import Selection
from ablations.study.study import MOST_SEEDS, Study, StudyError

FEWEST = 5  # seeds at the first look: a verdict needs as many
MOST = 40  # at the last, where a user does not say
GROWTH = 1.5  # of the number of seeds from look to look, about
WIDEST = 1000  # percent
FORM = re.compile(r"(?:(?P<variant>\S+) +)?(?:ratio +within +(?P<percent>\S+) *%|verdict)")
LEGAL = (
    "'[VARIANT] ratio within N%' or '[VARIANT] verdict', such as 'ratio within 25%', 'verdict' (both of every "
    f"variant) or 'coordconv ratio within 10%', with N above 0 and at most {WIDEST}"
)


@dataclass(frozen=True)
class Target:
    """What is to be reached: an interval of the ratio to the reference that narrow, or else a verdict."""

    variant: str | None  # None: every variant
    percent: float | None  # the ratio's limits are at most so far from it; None: a verdict

    def __str__(self) -> str:
        what = "verdict"
        if self.percent is not None:
            what = f"ratio within {repr(self.percent).removesuffix('.0')}%"
        return what if self.variant is None else f"{self.variant} {what}"

    def concerns(self, variant: str) -> bool:
        return self.variant in (None, variant)


@dataclass(frozen=True)
class Looks:
    """The looks of a study whose seeds are, or were, added by what they showed."""

    seeds: tuple[int, ...]  # of each variant at each look, ascending
    rules: tuple[str, ...]  # what was to be reached, as far as anybody has said


@dataclass(frozen=True)
class Until:
    """What a user asks for: targets, all of which are to be reached, with at most so many seeds."""

    targets: tuple[Target, ...]
    most: int | None = None

    def looks(self, study: Study, earlier: Looks | None) -> Looks:
        """The looks of a study, which are those of an `earlier` run if there was one: their error has been spent.

        Raises StudyError, with all problems, for a variant that the study has not and for a number of seeds at which
        no look can be.
        """
        names = [variant.name for variant in study.variants]
        problems = [
            Problem("--until", t.variant, f"one of {', '.join(names)}", nearest(t.variant, names))
            for t in self.targets
            if t.variant is not None and t.variant not in names
        ]
        first = max(FEWEST, len(study.seeds))
        if earlier is not None:
            seeds = earlier.seeds
            if self.most not in (None, *seeds):
                legal = f"one of {', '.join(map(str, seeds))}, where an earlier run decided to look"
                problems.append(Problem("--max-seeds", self.most, legal))
        else:
            most = self.most if self.most is not None else max(MOST, first)
            seeds = look_seeds(first, max(most, first))
            if not first <= most <= MOST_SEEDS:
                legal = f"from {first}, the first look's, to {MOST_SEEDS}"
                problems.append(Problem("--max-seeds", most, legal))
        if problems:
            raise StudyError("command line", problems)
        rules = (*(earlier.rules if earlier else ()), *map(str, self.targets))
        return Looks(seeds, tuple(dict.fromkeys(rules)))

    def within_cap(self, looks: Looks) -> tuple[int, ...]:
        """The looks up to the most seeds that this run may train."""
        return tuple(n for n in looks.seeds if self.most is None or n <= self.most)

    def require_alone(self, selection: Selection) -> None:
        """Raise StudyError for a selection that decides on seeds itself, or that leaves cells of a look out."""
        given = {
            "--seeds": selection.seeds,
            "--shard": selection.shard,
            "--limit": selection.limit,
            "--where seed": next((c for c in selection.where if c.startswith("seed=")), None),
        }
        problems = [
            Problem(option, None, "none beside --until, which decides on the seeds")
            for option, value in given.items()
            if value is not None
        ]
        if problems:
            raise StudyError("command line", problems)


def look_seeds(first: int, most: int) -> tuple[int, ...]:
    """Numbers of seeds from `first` to `most`, each about half as many again: 5, 8, 11, 17, 26, 40."""
    if first == most:
        return (first,)
    steps = max(round(math.log(most / first) / math.log(GROWTH)), 1)
    return tuple(round(first * (most / first) ** (i / steps)) for i in range(steps + 1))


def seeds_in_order(study: Study, number: int) -> tuple[int, ...]:
    """The study's own seeds, then the smallest others, as many as are wanted."""
    others = (seed for seed in itertools.count() if seed not in study.seeds)
    return tuple(itertools.islice(itertools.chain(study.seeds, others), number))


def parse_until(texts: Iterable[str], most: int | None = None) -> Until | None:
    """What `--until` and `--max-seeds` say, None where they say nothing. Raises StudyError with all mistakes."""
    targets, problems = [], []
    for text in texts:
        target = _target(text)
        if target is None:
            problems.append(Problem("--until", text, LEGAL))
        else:
            targets.append(target)
    if most is not None and not targets and not problems:
        problems.append(Problem("--max-seeds", most, "--until beside it"))
    if problems:
        raise StudyError("command line", problems)
    return Until(tuple(dict.fromkeys(targets)), most) if targets else None


def _target(text: str) -> Target | None:
    match = FORM.fullmatch(text.strip())
    if match is None:
        return None
    if match["percent"] is None:
        return Target(match["variant"], None)
    try:
        percent = float(match["percent"])
    except ValueError:
        return None
    return Target(match["variant"], percent) if 0 < percent <= WIDEST else None
