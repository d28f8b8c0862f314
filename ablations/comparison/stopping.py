"""How the number of seeds came about, and what intervals, p-values and words make of it.

Where seeds were added by looking at results (`--until`), every interval and p-value of the study, old and new, is that
of one of several looks: see `ablations.statistics.looks`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy.typing as npt

from ablations.comparison.spelling import interval_words, listed
from ablations.statistics import spent_confidence, spent_p
from ablations.statistics.crossed import FloatArray
from ablations.study.until import Looks


@dataclass(frozen=True)
class Stopping:
    """Looks `at` growing numbers of seeds, what was to be reached, and whether there may have been a look besides.

    Without looks the number of seeds was decided before the first result.
    """

    at: tuple[int, ...] = ()
    rules: tuple[str, ...] = ()
    unplanned: bool = False

    @property
    def looks(self) -> int:
        """Among how many the error is shared out."""
        return max(len(self.at), 1) + self.unplanned

    def each(self, confidence: float) -> float:
        """The confidence of the interval of each look, for `confidence` over all."""
        return spent_confidence(confidence, self.looks)

    def p(self, p_values: npt.ArrayLike) -> FloatArray:
        """p-values that hold at whichever look the seeds ended."""
        return spent_p(p_values, self.looks)

    def interval(self, confidence: float) -> str:
        """What an interval is called."""
        return interval_words(confidence, self.looks)

    def methods(self, confidence: float, n_seeds: Iterable[int]) -> str:
        """Sentences for the paragraph on methods; nothing where the number of seeds was decided before."""
        if not self.at:
            return ""
        made = sum(look <= max(n_seeds) for look in self.at)
        words = (
            f" Seeds were added until {listed(f'`{rule}`' for rule in self.rules)}, by looks at {listed(self.at)} "
            f"seeds a variant, fixed before the first; {made} of the {len(self.at)} were made."
        )
        if self.unplanned:
            words += " The seeds that there are now are none of these numbers, which counts as a look more."
        if self.looks > 1:
            words += (
                f" The error is shared equally among {self.looks} looks (Bonferroni): each interval has a confidence "
                f"of {self.each(confidence):.1%} by itself, and p-values are multiplied by {self.looks}, so that "
                "they hold whatever ended the run (repeated confidence intervals, Jennison and Turnbull 1989; "
                "results/statistics/until.md)."
            )
        return words

    def notes(self, confidence: float) -> list[str]:
        """What stands below a table."""
        if self.looks == 1:
            return []
        return [
            f"Seeds were added until {listed(self.rules)}. Intervals, P(beats) and adjusted p hold over all "
            f"{self.looks} looks, whichever was the last: each is one of {self.each(confidence):.1%} by itself."
        ]

    def fact(self, confidence: float) -> list[str]:
        """What a sentence says of it."""
        if self.looks == 1:
            return []
        return [f"seeds added until {listed(self.rules)}, {self.each(confidence):.1%} a look"]


FIXED = Stopping()


def stopping(looks: Looks | None, n_seeds: Iterable[int]) -> Stopping:
    """How the seeds of variants came about, of which there are so many of each."""
    if looks is None:
        return FIXED
    at = looks.seeds
    unplanned = any(n not in at for n in n_seeds)
    return Stopping(at, looks.rules, unplanned)
