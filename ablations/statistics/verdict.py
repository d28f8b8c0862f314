"""What may be said of an estimator against a reference: one rule, the same from both sides."""

from __future__ import annotations

from typing import Literal, get_args

from ablations.statistics.comparison import Comparison

Verdict = Literal["better", "worse", "equivalent", "inconclusive", "too few seeds"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
SEEDS_FOR_VERDICT = (
    5  # with 3 or 4 no method held the family-wise error at 5% (results/statistics/risk.md)
)
MIRRORED: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}


def enough_seeds(comparison: Comparison | None) -> bool:
    """Whether every side that has seeds has enough of them for a verdict."""
    return comparison is not None and min(comparison.n_seeds, default=SEEDS_FOR_VERDICT) >= (
        SEEDS_FOR_VERDICT
    )


def verdict(
    comparison: Comparison | None, p: float, p_different: float, *, level: float = 0.05
) -> Verdict:
    """The verdict from p-values that are adjusted for the family: `p` of no difference, `p_different` of no
    equivalence.

    `equivalent` goes before the others: where the margin is what matters, a difference within it does not, however
    surely there is one. Swapping the sides swaps better and worse and nothing else.
    """
    if comparison is None or not enough_seeds(comparison):
        return "too few seeds"
    if p_different < level:
        return "equivalent"
    if p < level:
        return "better" if comparison.ratio.value < 1 else "worse"
    return "inconclusive"
