"""Results without the predictions that take most room: what a folder in a repository or a mail can hold.

A split goes as a whole: of its predictions the study's own comparison stays, with all that it says, and the error of
every cell (`ablations.comparison.errors`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ablations.comparison.errors import error_table
from ablations.comparison.study_comparison import StudyComparison, compare_study
from ablations.records.results import LeftOut, SplitResults, StudyResults, megabytes
from ablations.study.settings import run_command


def lean(
    results: StudyResults,
    max_predictions: float,
    comparisons: Mapping[str, StudyComparison] | None = None,
) -> StudyResults:
    """The results without the largest splits, so that the predictions of nets on the others take at most so many MB.

    `comparisons` are the study's own, as far as they have been made.
    """
    kept, left_out = dict(results.splits), dict(results.left_out)
    for split in sorted(results.splits.values(), key=lambda split: -len(split.params)):
        if sum(_megabytes(other) for other in kept.values()) <= max_predictions:
            break
        made = (comparisons or {}).get(split.name) or compare_study(results, split=split.name)
        left_out[split.name] = _left_out(results, split, made)
        del kept[split.name]
    return replace(results, splits=kept, left_out=left_out)


def _left_out(results: StudyResults, split: SplitResults, made: StudyComparison) -> LeftOut:
    return LeftOut(
        name=split.name,
        n_images=len(split.params),
        n_nets=_nets(split),
        command=run_command(results.study, results.cells["seed"]),
        table=made.with_settings(),
        analysis=made.analysis,
        errors=error_table(replace(results, splits={split.name: split}, left_out={})),
    )


def _megabytes(split: SplitResults) -> float:
    return megabytes(_nets(split), len(split.params))


def _nets(split: SplitResults) -> int:
    return sum(int(variant.ok.sum()) for variant in split.variants)
