"""Inference on arrays of squared errors over seeds x images: pure functions on NumPy arrays, no I/O.

No library does crossed seeds x images inference; all else comes from scipy and statsmodels.
"""

from ablations.statistics.bootstrap import (
    crossed_bootstrap,
    interquartile_mean,
    mean,
    median,
)
from ablations.statistics.comparison import (
    Comparison,
    Estimate,
    Known,
    Side,
    compare_estimators,
    probability_nearer,
    share_nearer,
)
from ablations.statistics.crossed import (
    Components,
    Interval,
    TooFewSeedsError,
    crossed_mean,
    image_mean,
)
from ablations.statistics.factors import Importance, factor_importance
from ablations.statistics.failures import Convergence, convergence, score_failures
from ablations.statistics.looks import spent_confidence, spent_p
from ablations.statistics.medians import Median, compare_medians, crossed_median, median_interval
from ablations.statistics.multiplicity import adjust
from ablations.statistics.risk import KnownMeans, Scores, controlled, risk_interval
from ablations.statistics.seeds import (
    SeedGroups,
    SeedMedian,
    median_over_seeds,
    rate_not_excluded,
    seed_groups,
)
from ablations.statistics.verdict import SEEDS_FOR_VERDICT, Verdict, enough_seeds, verdict

__all__ = [
    "SEEDS_FOR_VERDICT",
    "Comparison",
    "Components",
    "Convergence",
    "Estimate",
    "Importance",
    "Interval",
    "Known",
    "KnownMeans",
    "Median",
    "Scores",
    "SeedGroups",
    "SeedMedian",
    "Side",
    "TooFewSeedsError",
    "Verdict",
    "adjust",
    "compare_estimators",
    "compare_medians",
    "controlled",
    "convergence",
    "crossed_bootstrap",
    "crossed_mean",
    "crossed_median",
    "enough_seeds",
    "factor_importance",
    "image_mean",
    "interquartile_mean",
    "mean",
    "median",
    "median_interval",
    "median_over_seeds",
    "probability_nearer",
    "rate_not_excluded",
    "risk_interval",
    "score_failures",
    "seed_groups",
    "share_nearer",
    "spent_confidence",
    "spent_p",
    "verdict",
]
