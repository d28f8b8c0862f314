"""Whether data bear a claim out: the upper limit of the ratio's interval, and what makes it too little to go by."""

from __future__ import annotations

from ablations.comparison.aggregates import AGGREGATES
from ablations.comparison.claims import Check, Claim
from ablations.comparison.metrics import Measure
from ablations.comparison.scored import Estimator
from ablations.comparison.spelling import with_interval
from ablations.comparison.stopping import Stopping
from ablations.comparison.table import ENOUGH_IMAGES, few_images
from ablations.statistics import SEEDS_FOR_VERDICT, enough_seeds


def check(
    metric: Measure,
    split: str,
    confidence: float,
    stopping: Stopping,
    claim: Claim,
    left: Estimator,
    right: Estimator,
) -> Check:
    """Check a claim, of which `left` and `right` are meant, on a split."""
    claim = Claim(left.name, claim.factor, right.name)
    if left is right:
        return Check(claim, claim.factor > 1, "the ratio of an estimator to itself is 1")
    each = stopping.each(confidence)
    comparison = AGGREGATES[metric.aggregate].compare(left.scores, right.scores, each)
    if comparison is None:
        return Check(claim, False, "too few seeds for an interval")
    ratio = comparison.ratio
    spelled = with_interval(ratio.value, ratio.low, ratio.high)
    reason = f"ratio {spelled}, {stopping.interval(confidence)} on {split}"
    doubts = []
    if not enough_seeds(comparison):
        doubts.append(f"a claim needs {SEEDS_FOR_VERDICT} seeds")
    if few_images(metric, left, right):
        doubts.append(f"a claim on a mean that is not known needs {ENOUGH_IMAGES:,} {metric.items}")
    if ratio.high < claim.factor and comparison.p_at_least(claim.factor) >= (1 - each) / 2:
        doubts.append("a large seed that these few lack could exceed the factor")
    holds = ratio.high < claim.factor and not doubts
    return Check(claim, holds, "; ".join([reason, *doubts]))
