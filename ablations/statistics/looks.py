"""Looking at results more than once: what of the error is left for each look where looks decide on the seeds.

Seeds that are added until an interval is narrow, or a verdict clear, stop where chance has made it so: intervals at the
plain level then cover too seldom. Here the error is shared out equally among a fixed number of looks (Bonferroni's
inequality), so that the intervals of all looks cover together, whatever ends the run, whoever decides and why: repeated
confidence intervals (Jennison and Turnbull 1989, "Interim analyses: the repeated confidence interval approach", Journal
of the Royal Statistical Society B 51). Boundaries that use the correlation of looks (Pocock 1977; Lan and DeMets 1983)
are up to a tenth shorter and rest on normal means, which five seeds do not have.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ablations.statistics.crossed import FloatArray


def spent_confidence(confidence: float, looks: int) -> float:
    """The confidence of each of `looks` intervals that have `confidence` together; one look keeps all of it."""
    return 1 - (1 - confidence) / looks


def spent_p(p: npt.ArrayLike, looks: int) -> FloatArray:
    """p-values that hold at whichever of `looks` a run ends, at most 1; NaN stays NaN."""
    return np.minimum(np.asarray(p, dtype=np.float64) * looks, 1.0)
