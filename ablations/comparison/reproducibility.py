"""The paragraph that a checklist asks for: what error bars are, of what and by which assumptions, and what it took.

It answers item 7 of the NeurIPS checklist (what varies, how bars are computed, what is assumed, what they are) and what
REFORMS asks of populations, sizes and compute. How the comparison itself was made is in `methods`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ablations.comparison.methods import commit, population
from ablations.comparison.spelling import listed, number
from ablations.comparison.stopping import stopping
from ablations.records.results import StudyResults

SECONDS_PER_HOUR = 3600
DRAWN_BY_SEED = {
    "fixed": "the initial weights and the order of the training images",
    "per_seed": "the initial weights, the training images and their order",
    "fresh": "the initial weights and the stream of training images",
}


def reproducibility(results: StudyResults, confidence: float = 0.95) -> str:
    """The paragraph, of a study as far as it has been run."""
    cells = results.cells
    seeds = sorted(set(cells.groupby("variant").size()))
    failed = int((cells["status"] != "ok").sum())
    kinds = dict.fromkeys(v.protocol.training_set for v in results.study.variants)
    images = listed(f"{size:,} of split `{name}`" for name, size in results.sizes.items())
    parts = [
        f"Error bars are {confidence:.0%} confidence intervals, neither standard deviations nor standard errors; they "
        "are formed on the log scale and so are asymmetric.",
        f"Population: {population(results)}.",
        f"Factors of variability: the seed, which draws {' or '.join(DRAWN_BY_SEED[kind] for kind in kinds)}, and the "
        "images of evaluation, crossed with it. Hyper-parameters, code and hardware were not varied but where the "
        "study says so.",
        f"n: {listed(seeds)} seeds of each of {cells['variant'].nunique():,} variants, {len(cells):,} trained networks "
        + (
            f"({failed:,} failed and count as the constant predictor)"
            if failed
            else "(none failed)"
        )
        + f", each evaluated on {images}; nothing was left out"
        + (
            ", but for splits that a network cannot be evaluated on, as the tables say."
            if any(results.not_applicable(split) for split in results.sizes)
            else "."
        ),
        "Method: closed form, the variance components of seeds crossed with images, t quantiles with Satterthwaite's "
        "degrees of freedom, the delta method for logarithms and ratios."
        + stopping(results.looks, seeds).methods(confidence, seeds),
        "Assumptions: seeds are independent draws, images are independent draws of one distribution, and the logarithm "
        "of a mean over seeds is near normal; tests also allow for log-normal seeds, and outlying seeds are marked. "
        "How often such intervals cover was simulated (results/statistics/).",
        _compute(cells, results.provenance),
        f"Code: {commit(results.provenance)}; `python -m ablations check {results.study.name} --retrain KEY` trains a "
        "cell again and compares it bit for bit.",
    ]
    return " ".join(parts)


def _compute(cells: pd.DataFrame, provenance: Mapping[str, Any]) -> str:
    """Hardware, hours, memory and software."""
    hours = number(float(cells["seconds"].sum()) / SECONDS_PER_HOUR)
    gpu = _words(provenance.get("gpu"))
    hardware = [
        _words(provenance.get("cpu")) or "an unknown processor",
        *([gpu] if gpu else []),
    ]
    threads = listed(sorted(set(cells["threads"])))
    memory = cells["peak_memory_mib"].max()
    peak = "" if pd.isna(memory) else f", at most {memory:,.0f} MiB a worker"
    versions = provenance.get("versions")
    software = [f"Python {_words(provenance.get('python'))}"] if provenance.get("python") else []
    if isinstance(versions, Mapping):
        software += [f"{name} {_words(version)}" for name, version in versions.items()]
    return (
        f"Compute: {hours} hours of training in all, summed over networks, on {listed(hardware)}, device "
        f"{listed(dict.fromkeys(cells['device']))}, {threads} thread{'' if threads == '1' else 's'} a network{peak}. "
        f"Software: {', '.join(software) or 'not recorded'}."
    )


def _words(value: Any) -> str:
    """A fact, or all that were recorded of it."""
    values = value if isinstance(value, list) else [value]
    return " or ".join(str(one) for one in values if one is not None)
