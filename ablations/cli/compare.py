"""`python -m ablations compare STUDY`: the verb that prints a comparison and checks claims about it.

`compare_study` is the same from Python.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from ablations.comparison import wording as text
from ablations.comparison.scored import ALIASES
from ablations.comparison.study_comparison import Format, StudyComparison, compare_study
from ablations.records.results import Metric
from ablations.records.store import StoreError

__all__ = ["StudyComparison", "app", "compare", "compare_study"]

EXIT_FAILED, EXIT_USAGE = 1, 2


def compare(
    study: Annotated[
        str, typer.Argument(metavar="STUDY|FILE.toml", help="A study that has been run.")
    ],
    against: Annotated[
        str | None,
        typer.Option(
            metavar="ESTIMATOR",
            help=f"A yardstick, {', '.join(ALIASES)} or a variant; by default what the study declares.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Evaluation split; by default the one with most images.")
    ] = None,
    metric: Annotated[Metric, typer.Option(help="What is averaged.")] = "mse",
    margin: Annotated[
        float | None,
        typer.Option(min=1, help="Ratio up to which a variant is as good; by default the study's."),
    ] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999, help="Of intervals.")] = 0.95,
    fail_unless: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLAIM",
            help='Exit with 1 unless the claim holds, e.g. "variant<=1.25*least_squares"; `variant` means '
            "every variant, and it holds when the upper limit of the ratio's interval is below the factor. "
            "May be given several times.",
        ),
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Show all pairs of variants instead (exploratory).")
    ] = False,
    format: Annotated[Format, typer.Option(help="How the table is printed.")] = "table",
    results_dir: Annotated[
        Path, typer.Option("--results", metavar="DIR", help="Where results are kept.")
    ] = Path("results"),
) -> None:
    """Compare a study's variants with least squares, the floor or one of them.

    Exit codes: 0 ok, 1 a claim of --fail-unless does not hold, 2 usage error.
    """
    # reads the store and the splits, which Python users of `compare_study` need not
    from ablations.records.loading import load_results

    try:
        results = load_results(study, results_dir)
        largest = max(results.splits.values(), key=lambda s: len(s.params)).name
        comparison = compare_study(
            results,
            split=split or largest,
            against=against or results.against,
            metric=metric,
            margin=margin or results.margin,
            confidence=confidence,
        )
        checks = comparison.fail_unless(*(fail_unless or []))
    except (ValueError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_USAGE) from error
    print(_printed(comparison, pairs, format))
    for check in checks:
        print(check, file=sys.stderr)
    if not all(check.holds for check in checks):
        raise typer.Exit(EXIT_FAILED)


def _printed(comparison: StudyComparison, pairs: bool, format: Format) -> str:
    if pairs:
        return _pairs_text(comparison.pairs(), format)
    printed = comparison.to_text(format)
    if format in ("table", "markdown"):
        printed += f"\n\n{comparison.methods}"
    return printed


def _pairs_text(table: pd.DataFrame, format: Format) -> str:
    if format == "csv":
        return table.to_csv(index=False, lineterminator="\n").rstrip("\n")
    if format == "json":
        return str(table.to_json(orient="records", indent=2, double_precision=15))
    draw = text.markdown_table if format == "markdown" else text.plain_table
    return draw(text.pairs_display(table))


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(compare)

if __name__ == "__main__":
    app(prog_name="python -m ablations compare")
