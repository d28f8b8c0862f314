"""Everything that is written at the end of a run: exports, comparison tables, figures, summary and report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ablations.comparison.layout import markdown_table
from ablations.comparison.study_comparison import StudyComparison, compare_study
from ablations.records import exports
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
    return {split: compare_study(results, split=split) for split in results.splits}


def summary_markdown(
    results: StudyResults, comparisons: dict[str, StudyComparison], command: str
) -> str:
    """The summary as a page: the command that made it, and a table, sentences, methods and all figures a split."""
    parts = [f"# {results.study.name}: {results.study.title}", f"Made by `{command}`."]
    for split, comparison in comparisons.items():
        shown = results.splits[split]
        parts += [
            f"## {split} ({len(shown.params):,} images)",
            comparison.to_text("markdown"),
            "\n".join(f"- {comparison.sentence(variant.name)}" for variant in shown.variants),
            comparison.methods,
            "All figures:",
            markdown_table(*_cells(comparison)),
        ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _cells(comparison: StudyComparison) -> tuple[list[str], list[list[str]]]:
    wide = comparison.display(wide=True)
    return list(wide.columns), wide.to_numpy().tolist()


def write_outputs(results: StudyResults, directory: Path, command: str) -> Outputs:
    """Write all outputs of a study; those of an earlier run are replaced."""
    comparisons = compare_all(results)
    paths = exports.write(results, directory)
    for split, comparison in comparisons.items():
        paths.append(directory / f"compare_{split}.csv")
        write_text(paths[-1], comparison.to_text("csv"))
    paths.append(directory / "summary.md")
    write_text(paths[-1], summary_markdown(results, comparisons, command))
    figures = directory / "figures"
    first = next(iter(results.splits))
    paths += write_figures(results, figures, {first: evaluation_images(first).pixels})
    paths.append(directory / "report.html")
    write_report(results, comparisons, figures, paths[-1], command=command)
    paths.append(write_index(directory.parent))
    return Outputs(comparisons, paths)
