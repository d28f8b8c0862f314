"""What a page says of one split: what it opens with, chart, table, factor importance, further figures, methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.comparison.study_comparison import StudyComparison
from ablations.comparison.wording import importance_display
from ablations.records.exports import read_table
from ablations.report.inline import InlineFigure, inline_figure
from ablations.report.opening import Opening, opening
from ablations.report.tables import Table, comparison_table, images, text_table


@dataclass(frozen=True)
class Section:
    """`first` are the figures that carry the opening, `figures` the further ones."""

    split: str
    images: str
    opening: Opening
    first: Sequence[InlineFigure]
    table: Table
    notes: Sequence[str]
    importance: Table | None
    importance_note: str
    methods: str
    figures: Sequence[InlineFigure]


def section(
    comparison: StudyComparison,
    levels: Mapping[str, Mapping[str, str]],
    factors: Sequence[str],
    figures: Path,
    kinds: Sequence[str],
    ending: str,
) -> Section:
    """`levels`: variant -> factor -> level. `figures` is the directory of `KIND` + `ending` as SVG and their numbers as
    CSV, of which the first kind and, where a sentence a variant is too much, `effects` go with the opening.
    """
    drawn = {
        kind: inline_figure(path)
        for kind in kinds
        if (path := figures / f"{kind}{ending}.svg").is_file()
    }
    numbers = figures / f"effects{ending}.csv"
    effects = read_table(numbers) if "effects" in drawn and numbers.is_file() else None
    opens = opening(comparison, effects)
    first = kinds[:1] if opens.effects is None else ("effects", *kinds[:1])
    importance = None
    if comparison.importance is not None:
        shown = importance_display(comparison.importance.table, comparison.log_of)
        importance = text_table(shown, f"Factor importance on {comparison.split}")
    return Section(
        split=comparison.split,
        images=images(comparison),
        opening=opens,
        first=[drawn[kind] for kind in first if kind in drawn],
        table=comparison_table(comparison, levels, factors),
        notes=[*([comparison.note] if comparison.note else []), *comparison.notes],
        importance=importance,
        importance_note=comparison.importance_note,
        methods=comparison.methods,
        figures=[figure for kind, figure in drawn.items() if kind not in first],
    )
