"""The paragraph for a paper: what was compared with what, by which method, for which population, with every n."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ablations.comparison.metrics import Measure
from ablations.comparison.spelling import listed, share
from ablations.comparison.stopping import FIXED, Stopping
from ablations.comparison.wording import FEW_IMAGES_NOTE
from ablations.records.results import StudyResults
from ablations.statistics import SEEDS_FOR_VERDICT, rate_not_excluded
from linefit.images import REGION_WORDS, SPLITS

POPULATIONS = {
    "fixed": "given the one training set of {size} images that all networks share",
    "per_seed": "and new training sets of {size} images, of which every seed has its own",
    "fresh": "and new streams of training images, of which every seed has its own",
}


def population(results: StudyResults) -> str:
    """What intervals over seeds and images hold for, in words."""
    protocols = [variant.protocol for variant in results.study.variants]
    sizes = sorted({protocol.train_size for protocol in protocols})
    size = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    kinds = dict.fromkeys(protocol.training_set for protocol in protocols)
    words = [POPULATIONS[kind].format(size=size) for kind in kinds]
    regions = dict.fromkeys(protocol.training_region for protocol in protocols)
    found = f"new seeds and new images, {', or '.join(words)}"
    if list(regions) != ["all"]:
        where = "" if len(regions) == 1 else ", where the study says so,"
        found += f",{where} {REGION_WORDS['without_quadrant']}"
    return found


def _unlike_the_labs(split: str) -> str:
    """What a split's images are, and what the yardsticks that know the distribution of lines take it to be."""
    found = SPLITS.get(split)
    if found is None:  # results may have others
        return ""
    words = f", {found.words}" if found.words else ""
    if found.region != "all":
        words += " (the posterior's mean, the floor, and its mode are those of this region's lines)"
    return words


def methods(
    results: StudyResults,
    split: str,
    table: pd.DataFrame,
    reference: str,
    metric: Measure,
    margin: float,
    confidence: float,
    importance_note: str,
    stopping: Stopping = FIXED,
) -> str:
    """The paragraph, of the table of one split."""
    variants = table[table["kind"] == "variant"]
    yardsticks = table[table["kind"] == "yardstick"]["variant"]
    n_images = len(results.splits[split].params)
    n_ok, n_cells = int(variants["n_ok"].sum()), int(variants["n_seeds"].sum())
    seeds = sorted(set(variants["n_seeds"]))
    known = bool(table["regret"].notna().any())
    not_applicable = results.not_applicable(split)
    parts = [
        f"Study `{results.study.name}`: {len(variants)} variants with {listed(seeds or [0])} seeds each, {n_cells} "
        f"trained networks, of which {n_ok} converged, and {len(yardsticks)} estimators without training, all "
        f"evaluated on the same {n_images:,} images of split `{split}`{_unlike_the_labs(split)}."
        + (
            f" Another {len(not_applicable)} variants cannot be evaluated on such images."
            if not_applicable
            else ""
        )
        + stopping.methods(confidence, seeds),
        f"The measure is the {metric.words}"
        + (
            " (the mean of the squared errors of slope and intercept)."
            if metric.name == "mse"
            else "."
        ),
        "Networks that failed were kept and scored as the constant predictor."
        if n_ok < n_cells
        else "No network failed.",
    ]
    if known:
        parts.append(
            "The distribution of the images is known, so the MSE of the floor and of the estimators without training "
            "are known numbers (results/yardsticks/population.md). That of a network is the floor plus its regret, the "
            "mean squared distance from the posterior mean, with the regret of least squares as a cross-fitted control "
            "variate."
        )
    parts += [
        _variance("image"),
        f"Intervals are {confidence:.0%} t intervals on the log scale, one estimator at a time, for "
        + population(results)
        + (
            "; ratios to known numbers carry no noise of those."
            if known
            else "; those of estimators without training are over images alone."
        ),
        *([_excluded(max(seeds), stopping)] if seeds else []),
    ]
    family = int(table["p_holm"].notna().sum())
    if family:
        parts.append(_tests(reference, family, margin, confidence, known, stopping))
    if table["few_images"].any():
        parts.append(FEW_IMAGES_NOTE)
    parts.append(f"Factor importance: {importance_note}.")
    parts.append(f"Code: {commit(results.provenance)}.")
    return " ".join(parts)


def methods_of_errors(
    table: pd.DataFrame,
    name: str,
    n_items: int,
    reference: str,
    measure: Measure,
    margin: float,
    confidence: float,
    importance_note: str,
) -> str:
    """The paragraph, of a table of errors from anywhere."""
    variants = table[table["kind"] == "variant"]
    without = int((table["kind"] == "yardstick").sum())
    parts = [f"`{name}`: all are measured on the same {n_items:,} items by their {measure.words}."]
    family = int(table["p_holm"].notna().sum())
    if len(variants):
        n_ok, n_runs = int(variants["n_ok"].sum()), int(variants["n_seeds"].sum())
        seeds = sorted(set(variants["n_seeds"]))
        parts += [
            f"{len(variants)} variants with {listed(seeds)} seeds each, {n_runs} runs, of which {n_ok} gave errors, "
            f"and {without} without seeds.",
            "Runs that failed were kept and scored as `constant`."
            if n_ok < n_runs
            else "No run failed.",
            _variance("item"),
            _excluded(max(seeds)),
        ]
    parts.append(
        f"Intervals are {confidence:.0%} t intervals on the log scale, one variant at a time, for new seeds and new "
        "items; of what has no seeds, for new items alone. Should a few items in a thousand hold most of an error "
        "(see `worst_1_percent_share`), intervals are too short."
    )
    if family:
        parts.append(_tests(reference, family, margin, confidence, known=False))
    parts.append(f"Factor importance: {importance_note}.")
    return " ".join(parts)


def _variance(item: str) -> str:
    return (
        f"Seeds are nested in variants and crossed with {item}s; the variance of a mean is (MS_seed + MS_{item} - "
        "MS_cell)/(K M), never below either part, with Satterthwaite degrees of freedom, at most the weighted "
        f"harmonic mean of the parts' (Cochran 1964), those of the {item} variance by its kurtosis (O'Neill 2014)."
    )


def _excluded(n_seeds: int, stopping: Stopping = FIXED) -> str:
    rate = rate_not_excluded(int(n_seeds), confidence=stopping.each(0.95))
    over = f" over {stopping.looks} looks" if stopping.looks > 1 else ""
    return (
        f"{n_seeds} of {n_seeds} seeds without an event, such as a failure, do not exclude that it happens to "
        f"{share(rate)} of seeds (Clopper-Pearson, one-sided 95%{over})."
    )


def _tests(
    reference: str,
    family: int,
    margin: float,
    confidence: float,
    known: bool,
    stopping: Stopping = FIXED,
) -> str:
    """How verdicts were reached."""
    level = f"{1 - confidence:.2g}"
    return (
        f"A verdict needs {SEEDS_FOR_VERDICT} seeds. Ratios to {reference} were tested two-sidedly, by the larger of "
        "the p of the crossed t statistic and that of a generalized pivot for log-normal seeds (Krishnamoorthy and "
        f"Mathew 2003), and for being outside 1/{margin:g} to {margin:g} by two one-sided tests (Schuirmann 1987); "
        f"both p are adjusted by Holm's method for the family of {family}"
        + (" variants" if known else "")
        + (f" and for the {stopping.looks} looks" if stopping.looks > 1 else "")
        + f". `Equivalent` is an adjusted p below {level} of the second kind, else `better` and `worse` of the first; "
        f"`inconclusive` is neither. The margin of {margin:g} is the study's own; 1.25, the default, is the convention "
        "of bioequivalence (FDA 2001)."
    )


def commit(provenance: Mapping[str, Any]) -> str:
    """The commit of the code that made the results, in words."""
    found = provenance.get("git_commit")
    commits: Sequence[Any] = found if isinstance(found, list) else [found]
    dirty = provenance.get("git_dirty")
    changed = bool(np.any(dirty))
    names = [str(name)[:12] for name in commits if name]
    if not names:
        return "commit unknown"
    return f"commit {listed(names)}" + (" with local changes" if changed else "")
