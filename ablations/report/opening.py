"""What a report says first of a split: of few variants a sentence each; of many how their verdicts fall, the best, the
worst, and what each factor does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ablations.comparison.spelling import listed, with_interval
from ablations.comparison.study_comparison import StudyComparison
from ablations.report.tables import Table, text_table
from ablations.statistics.verdict import VERDICTS

FEW = 8  # variants, up to which each has its sentence at once
BEST = 3  # of more
SMALL = 4  # variants, up to which all pairs are shown at once
PAIRS = 12  # variants, up to which they are shown at all
WORDS = {
    "better": "{n:,} {be} better than {reference}",
    "equivalent": "{n:,} {be} equivalent to {reference} (within a factor of {margin:g})",
    "worse": "{n:,} {be} worse than {reference}",
    "inconclusive": "{n:,} {be} undecided",
    "too few seeds": "{n:,} {have} too few seeds for a verdict",
}


@dataclass(frozen=True)
class Opening:
    """Sentences without their full stops. Of few variants `sentences` alone."""

    sentences: Sequence[str]  # a variant each, by their error
    counts: str = ""
    best: Sequence[str] = ()
    worst: str = ""
    worst_rank: int = 0
    effects: Table | None = None  # of factors
    pairs: Table | None = None
    pairs_at_once: bool = False


def opening(comparison: StudyComparison, effects: pd.DataFrame | None) -> Opening:
    """`effects`: the numbers of the figure of that name (`ablations.statistics.effects`), where the grid has one."""
    table = comparison.table
    variants = table[table["kind"] == "variant"]
    sentences = [comparison.sentence(name) for name in variants["variant"]]
    pairs = None
    if comparison.estimators and 1 < len(variants) <= PAIRS:
        pairs = pairs_table(comparison)
    if len(variants) <= FEW:
        return Opening(sentences, pairs=pairs, pairs_at_once=len(variants) <= SMALL)
    sound = variants[~variants["flagged"].astype(bool)]
    return Opening(
        sentences,
        counts=counts(comparison, variants),
        best=[comparison.sentence(name) for name in sound["variant"].head(BEST)],
        worst=comparison.sentence(sound["variant"].iloc[-1]) if len(sound) > BEST else "",
        worst_rank=int(sound["rank"].iloc[-1]) if len(sound) else 0,
        effects=None if effects is None else effects_table(effects, comparison),
        pairs=pairs,
    )


def counts(comparison: StudyComparison, variants: pd.DataFrame) -> str:
    """How the verdicts fall: `Of 300 variants 12 are better than least squares and 288 are worse ...`."""
    found = variants["verdict"].value_counts()

    def said(n: int, words: str) -> str:
        one = {"be": "is", "have": "has"} if n == 1 else {"be": "are", "have": "have"}
        return words.format(n=n, reference=comparison.reference, margin=comparison.margin, **one)

    parts = [said(int(found[v]), WORDS[v]) for v in VERDICTS if v in found]
    tested = variants["p_holm"].notna().any()
    among = " (p adjusted by Holm's method for all of them)" if tested else ""
    failed = int(variants["flagged"].sum())
    ending = f"; {said(failed, '{n:,} {have} cells that failed')}" if failed else ""
    return f"Of {len(variants):,} variants {listed(parts)}{among}{ending}"


def effects_table(effects: pd.DataFrame, comparison: StudyComparison) -> Table:
    """A row a factor: its best and its worst level, as ratios to the whole grid, and its share of the variance."""
    shares = shapley_shares(comparison)
    rows = []
    for factor, levels in effects.groupby("factor", sort=False):
        ends = levels.sort_values("ratio", kind="stable").iloc[[0, -1]].to_dict("records")
        row = {"factor": str(factor), "levels": str(len(levels))}
        for words, end in zip(("least error with", "most error with"), ends, strict=True):
            row[words] = str(end["level"])
            row[f"ratio to the grid, {words.split()[0]} [95% CI]"] = with_interval(
                end["ratio"], end["low"], end["high"]
            )
        if str(factor) in shares:
            row["share of the variance [95% CI]"] = shares[str(factor)]
        rows.append(row)
    caption = (
        f"What each factor does to the {comparison.metric.words}: geometric means over all variants with a level, as "
        "ratios to that over the whole grid"
    )
    return text_table(pd.DataFrame(rows), caption)


def shapley_shares(comparison: StudyComparison) -> dict[str, str]:
    """Factor -> its share of the variance with interval, as text; none where there are no such shares."""
    if comparison.importance is None or "share" not in comparison.importance.table:
        return {}
    table = comparison.importance.table
    found = {}
    for row in table[table["kind"] == "shapley"].to_dict("records"):
        interval = "" if pd.isna(row["low"]) else f" [{row['low']:.0%}, {row['high']:.0%}]"
        found[str(row["term"])] = f"{row['share']:.0%}{interval}"
    return found


def pairs_table(comparison: StudyComparison) -> Table:
    """All pairs of variants."""
    shown = comparison.pairs_display()
    caption = (
        f"Variants against one another on {comparison.split}, the worse first: explored, not planned, p adjusted by "
        "Benjamini and Hochberg's method"
    )
    return text_table(shown, caption)
