"""Everything that is written at the end of a run: exports, comparison tables, figures, summary and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ablations.comparison.errors import error_table
from ablations.comparison.last_epochs import WORDS, last_epochs, last_epochs_display
from ablations.comparison.layout import markdown_table
from ablations.comparison.lean import lean
from ablations.comparison.reproducibility import reproducibility
from ablations.comparison.study_comparison import StudyComparison, compare_study
from ablations.records import MAX_PREDICTIONS, exports
from ablations.records.files import write_text
from ablations.records.results import StudyResults
from ablations.report.index import write_index
from ablations.report.page import write_report
from ablations.report.plots import write_figures
from linefit.splits import evaluation_images


@dataclass(frozen=True)
class Outputs:
    """What was written, and the comparisons that the run prints."""

    comparisons: dict[str, StudyComparison]  # evaluation split -> comparison
    paths: list[Path]


def compare_all(results: StudyResults) -> dict[str, StudyComparison]:
    """The study's own comparison on every evaluation split."""
    return {split: compare_study(results, split=split) for split in results.sizes}


def write_exports(
    results: StudyResults,
    directory: Path,
    max_predictions: float = MAX_PREDICTIONS,
    comparisons: Mapping[str, StudyComparison] | None = None,
) -> list[Path]:
    """Write the tidy files, without the largest splits where the nets' predictions would take more than so many MB."""
    kept = lean(results, max_predictions, comparisons)
    return exports.write(kept, directory, error_table(kept))


def summary_markdown(
    results: StudyResults, comparisons: dict[str, StudyComparison], command: str
) -> str:
    """The summary as a page: the command that made it, and a table, sentences, methods and all figures a split."""
    parts = [f"# {results.study.name}: {results.study.title}", f"Made by `{command}`."]
    for split, comparison in comparisons.items():
        compared = set(comparison.table["variant"])
        shown = [v.name for v in results.study.variants if v.name in compared]
        parts += [
            f"## {split} ({comparison.n_images:,} images)",
            comparison.to_text("markdown"),
            "\n".join(f"- {comparison.sentence(variant)}" for variant in shown),
            comparison.methods,
            "All figures:",
            markdown_table(*_cells(comparison.display(wide=True))),
        ]
    ends = last_epochs(results.curves)
    if len(ends):
        parts += ["## The last epochs", WORDS, markdown_table(*_cells(last_epochs_display(ends)))]
    parts += ["## Reproducibility", reproducibility(results)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _cells(display: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    return list(display.columns), display.to_numpy().tolist()


def write_outputs(
    results: StudyResults,
    directory: Path,
    command: str,
    max_predictions: float = MAX_PREDICTIONS,
) -> Outputs:
    """Write all outputs of a study; those of an earlier run are replaced. `max_predictions`: see `write_exports`.

    Of a split whose predictions were left out already, the figures stay as they are.
    """
    comparisons = compare_all(results)
    kept = lean(results, max_predictions, comparisons)
    paths = exports.write(kept, directory, error_table(kept))
    comparisons |= {
        name: replace(comparisons[name], note=split.note) for name, split in kept.left_out.items()
    }
    for split, comparison in comparisons.items():
        paths.append(directory / exports.COMPARISON_FILE.format(split=split))
        write_text(paths[-1], comparison.to_text("csv"))
    paths.append(directory / "summary.md")
    write_text(paths[-1], summary_markdown(results, comparisons, command))
    figures = directory / "figures"
    first = list(results.splits)[:1]
    pixels = {split: evaluation_images(split).pixels for split in first}
    paths += write_figures(results, figures, pixels, comparisons)
    paths.append(directory / "report.html")
    write_report(results, comparisons, figures, paths[-1], command=command)
    paths.append(write_index(directory.parent))
    return Outputs(comparisons, paths)
