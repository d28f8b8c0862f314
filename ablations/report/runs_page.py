"""Everything that is written of runs from anywhere: a page with figures, the comparison as CSV, a summary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ablations.comparison.layout import markdown_table
from ablations.comparison.study_comparison import StudyComparison
from ablations.records.files import write_text
from ablations.records.tidy import ErrorTable
from ablations.report.environment import template
from ablations.report.runs_figures import KINDS, write_figures
from ablations.report.section import section

OF_A_STUDY = ("study.toml", "results.sqlite", "cells.csv")


def write_runs(
    data: ErrorTable,
    comparison: StudyComparison,
    directory: Path,
    *,
    command: str,
    facts: Mapping[str, str],
) -> list[Path]:
    """Write `report.html`, `compare.csv`, `summary.md` and `figures/` into a directory and say which files they are.

    `facts`: what is known of where the runs come from. Raises ValueError for the folder of a study.
    """
    held = [name for name in OF_A_STUDY if (directory / name).exists()]
    if held:
        raise ValueError(
            f"{directory}: holds the results of a study ({held[0]}); name another folder"
        )
    paths = write_figures(comparison, data.levels, directory / "figures")
    texts = {
        "compare.csv": comparison.to_text("csv") + "\n",
        "summary.md": summary(comparison, command),
        "report.html": page(data, comparison, directory / "figures", command, facts),
    }
    for name, text in texts.items():
        write_text(directory / name, text)
    return [*paths, *(directory / name for name in texts)]


def page(
    data: ErrorTable,
    comparison: StudyComparison,
    figures: Path,
    command: str,
    facts: Mapping[str, str],
) -> str:
    """The page as HTML; `figures` is the directory that `write_figures` wrote."""
    factors = [str(factor) for factor in data.levels]
    levels = {
        str(name): {factor: str(row[factor]) for factor in factors}
        for name, row in data.levels.iterrows()
    }
    seeds = sorted({len(errors) for errors in data.variants.values()})
    return template("runs.html.j2").render(
        comparison=comparison,
        section=section(comparison, levels, factors, figures, KINDS, ""),
        n_variants=len(data.variants),
        n_baselines=len(data.baselines),
        seeds=f"{seeds[0]}" if seeds[0] == seeds[-1] else f"{seeds[0]} to {seeds[-1]}",
        failed=sum(int((~e.ok).sum()) for e in comparison.estimators.values()),
        command=command,
        facts=facts,
    )


def summary(comparison: StudyComparison, command: str) -> str:
    """The comparison as Markdown: table, sentences, methods, all figures."""
    variants = comparison.table.loc[comparison.table["kind"] == "variant", "variant"]
    display = comparison.display(wide=True)
    parts = [
        f"# {comparison.study}",
        f"Made by `{command}`.",
        comparison.to_text("markdown"),
        "\n".join(f"- {comparison.sentence(name)}" for name in variants),
        comparison.methods,
        "All figures:",
        markdown_table(list(display.columns), display.to_numpy().tolist()),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"
