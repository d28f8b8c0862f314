"""Inference on arrays of squared errors over seeds x images: pure functions on NumPy arrays, no I/O.

No library does crossed seeds x images inference; all else comes from scipy and statsmodels.
"""

from ablations.statistics.bootstrap import (
    crossed_bootstrap,
    interquartile_mean,
    mean,
    median,
    performance_profile,
    probability_of_improvement,
)
from ablations.statistics.comparison import (
    Comparison,
    Estimate,
    compare_estimators,
    compare_to_baseline,
    compare_variants,
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
from ablations.statistics.medians import Median, compare_medians, crossed_median, median_interval
from ablations.statistics.multiplicity import adjust
from ablations.statistics.power import SeedPlan, minimum_detectable_ratio, required_seeds

__all__ = [
    "Comparison",
    "Components",
    "Convergence",
    "Estimate",
    "Importance",
    "Interval",
    "Median",
    "SeedPlan",
    "TooFewSeedsError",
    "adjust",
    "compare_estimators",
    "compare_medians",
    "compare_to_baseline",
    "compare_variants",
    "convergence",
    "crossed_bootstrap",
    "crossed_mean",
    "crossed_median",
    "factor_importance",
    "image_mean",
    "interquartile_mean",
    "mean",
    "median",
    "median_interval",
    "minimum_detectable_ratio",
    "performance_profile",
    "probability_of_improvement",
    "required_seeds",
    "score_failures",
    "share_nearer",
]
