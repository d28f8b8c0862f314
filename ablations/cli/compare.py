"""`python -m ablations compare STUDY`: the verb that prints a comparison and checks claims about it."""

from __future__ import annotations

from typing import Annotated

import typer

from ablations.cli.common import (
    EXIT_FAILED,
    FormatOption,
    ResultsDir,
    StudyArgument,
    require_study,
    tell,
    usage_errors,
)
from ablations.comparison.metrics import METRICS
from ablations.records import RESULTS_DIR


def compare(
    study: StudyArgument,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="ESTIMATOR",
            help="A yardstick, floor (the posterior mean) or a variant; by default what the study declares.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Evaluation split; by default the one with most images.")
    ] = None,
    metric: Annotated[str, typer.Option(help=f"What is compared: {', '.join(METRICS)}.")] = "mse",
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
    output: FormatOption = "table",
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """Compare a study's variants with least squares, the floor or one of them.

    Exit codes: 0 ok, 1 a claim of --fail-unless does not hold, 2 usage error.
    """
    with usage_errors():
        require_study(study, results_dir)
        from ablations.comparison.study_comparison import compare_study
        from ablations.records.loading import load_results

        results = load_results(study, results_dir)
        comparison = compare_study(
            results,
            split=split,
            against=against,
            metric=metric,
            margin=margin,
            confidence=confidence,
        )
        checks = comparison.fail_unless(*(fail_unless or []))
        if pairs:
            printed = comparison.pairs_text(output)
        else:
            printed = comparison.to_text(output)
            if output in ("table", "markdown"):
                printed += f"\n\n{comparison.methods}"
    print(printed)
    for check in checks:
        tell(str(check))
    if not all(check.holds for check in checks):
        raise typer.Exit(EXIT_FAILED)
