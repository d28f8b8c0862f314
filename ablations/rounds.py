"""The rounds of a run with `--until`: which cells each is to train, as what was seen before decides.

A run that was interrupted goes through the same rounds again: each look is at the seeds that it was at before, and
what has been trained is not again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ablations.records.store import Store
from ablations.study.selection import Selection
from ablations.study.study import Study
from ablations.study.until import Looks, Target, Until, seeds_in_order

if TYPE_CHECKING:
    from ablations.comparison.standing import Standing


@dataclass(frozen=True)
class Round:
    """Cells to be trained before the next look, and which look that is, in words."""

    selection: Selection
    title: str = ""


@dataclass(frozen=True)
class Sought:
    """What came of `--until`: where variants stood at the last look that each was in."""

    targets: tuple[Target, ...]
    looks: Looks
    made: int  # looks
    standings: tuple[Standing, ...]


class Rounds:
    """Rounds of a run, each to be trained before the next is asked for; a single one without `until`.

    At the first look every variant of the selection has as many seeds as the study says, at the next those that lack
    something of what they are to reach have more. Failed cells are seeds like any other. `sought` is what was reached,
    None as long as cells of a round are missing. Raises StudyError as `Until.looks` does.
    """

    def __init__(
        self, study: Study, selection: Selection, until: Until | None, store: Store | None
    ) -> None:
        self.study, self.selection, self.until, self.store = study, selection, until, store
        self.sought: Sought | None = None

    def __iter__(self) -> Iterator[Round]:
        if self.until is None:
            yield Round(self.selection)
            return
        from ablations.comparison.standing import standings
        from ablations.records.loading import results_from_store

        study, selection = self.study, self.selection
        looks = self.until.looks(study, None if self.store is None else self.store.looks())
        order = seeds_in_order(study, looks.seeds[-1])
        seeds: dict[str, tuple[int, ...]] = {}
        short = frozenset(cell.variant.name for cell in selection.cells(study))
        for number, size in enumerate(self.until.within_cap(looks), start=1):
            chosen = replace(selection, seeds=order[:size], among=short)
            yield Round(chosen, f"look {number} of {len(looks.seeds)}, at {size} seeds")
            statuses = self.store.statuses() if self.store is not None else {}
            if self.store is None or any(c.key not in statuses for c in chosen.cells(study)):
                self.sought = None
                return
            # what failed is tried again in the first round alone: it would be in each
            selection = replace(selection, retry_failed=False)
            seeds |= dict.fromkeys(short, order[:size])
            results = replace(results_from_store(study, self.store), looks=looks)
            found = standings(results, self.until.targets, seeds)
            self.sought = Sought(self.until.targets, looks, number, tuple(found))
            short = frozenset(standing.variant for standing in found if not standing.reached)
            if not short:
                return
