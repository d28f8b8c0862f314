"""A study's report as one HTML file: sentences, tables, figures, failures, provenance and methods.

Everything in it was computed elsewhere (`ablations.comparison`, `ablations.report.plots`); here it is only laid out.
The file needs no other file and no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from ablations.comparison.last_epochs import WORDS, last_epochs, last_epochs_display
from ablations.comparison.reproducibility import reproducibility
from ablations.comparison.study_comparison import StudyComparison
from ablations.records.files import write_text
from ablations.records.results import StudyResults, by_weight
from ablations.report.environment import template
from ablations.report.inline import InlineFigure, inline_figure
from ablations.report.plots import OF_A_SPLIT, figure_names
from ablations.report.section import Section, section
from ablations.report.tables import cell_table, facts, text_table


def write_report(
    results: StudyResults,
    comparisons: Mapping[str, StudyComparison],
    figures: Path,
    path: Path,
    *,
    command: str,
) -> Path:
    """Write the report to `path` and return it.

    `comparisons` has one entry an evaluation split, `figures` is the directory that `plots.write_figures`
    wrote (figures missing from it are left out), `command` is the command line that made the results.
    """
    cells = results.cells
    failed = cells[cells["status"] != "ok"]
    ends = last_epochs(results.curves)
    levels = {
        variant.name: {factor: str(variant.levels[factor]) for factor in results.study.factors}
        for variant in results.study.variants
    }
    # The answer comes first: that of most images, whose intervals are the best.
    ordered = by_weight({name: comparison.n_images for name, comparison in comparisons.items()})
    sections = [
        section(comparisons[name], levels, results.study.factors, figures, OF_A_SPLIT, f"_{name}")
        for name in ordered
    ]
    of_splits = {f"{kind}_{split}" for kind in OF_A_SPLIT for split in comparisons}
    others = [
        inline_figure(figures / f"{name}.svg")
        for name in figure_names(results)
        if name not in of_splits and (figures / f"{name}.svg").is_file()
    ]
    shown, sections = at_once(sections)
    page = template("report.html.j2").render(
        results=results,
        command=command,
        reproducibility=reproducibility(results),
        n_ok=len(cells) - len(failed),
        n_variants=cells["variant"].nunique(),
        seeds=seed_counts(cells),
        sections=sections,
        figures=[*shown, *others],
        failures=cell_table(results, failed, "Cells that failed") if len(failed) else None,
        cells=cell_table(results, cells, "All cells"),
        last_epochs=text_table(last_epochs_display(ends), "The last epochs") if len(ends) else None,
        last_epochs_words=WORDS,
        facts={name: facts(value) for name, value in results.provenance.items()},
        protocol={name: facts(value) for name, value in asdict(results.study.protocol).items()},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page)
    return path


def at_once(sections: Sequence[Section]) -> tuple[list[InlineFigure], list[Section]]:
    """The further figures that are shown at once, each kind on the first split that has it, and the sections with the
    rest of them.
    """
    shown: dict[str, InlineFigure] = {}
    left = []
    for one in sections:
        kinds = {figure.name.removesuffix(f"_{one.split}"): figure for figure in one.figures}
        rest = [figure for kind, figure in kinds.items() if kind in shown]
        shown |= {kind: figure for kind, figure in kinds.items() if kind not in shown}
        left.append(replace(one, figures=rest))
    return list(shown.values()), left


def seed_counts(cells: pd.DataFrame) -> str:
    """Cells a variant: `5`, or `3 to 5` where variants differ."""
    counts = cells.groupby("variant").size()
    if counts.empty:
        return "0"
    low, high = counts.min(), counts.max()
    return f"{low}" if low == high else f"{low} to {high}"
