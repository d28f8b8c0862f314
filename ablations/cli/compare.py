"""`python -m ablations compare STUDY` or `compare RUNS.csv`: print a comparison and check claims about it."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.cli.common import (
    EXIT_FAILED,
    FormatOption,
    OtherResults,
    ResultsDir,
    command_line,
    require_study,
    results_option,
    tell,
    usage_errors,
)
from ablations.comparison.layout import PARAGRAPHS
from ablations.comparison.metrics import METRICS
from ablations.records import RESULTS_DIR

if TYPE_CHECKING:
    from ablations.comparison.layout import Format
    from ablations.comparison.study_comparison import StudyComparison

TABLES = (".csv", ".parquet")  # suffixes of files that hold errors from anywhere


def compare(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY|FILE.toml|RUNS.csv|RUNS.parquet",
            help="A study that has been run, or a table with a row a variant, seed and item.",
        ),
    ],
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="[OTHER]",
            help="A second study: the first against it, variant by variant on the same images. STUDY:VARIANT and "
            "OTHER:VARIANT hold one variant of each against the other.",
        ),
    ] = None,
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
    metric: Annotated[
        str | None, typer.Option(help=f"What is compared: {', '.join(METRICS)}; by default mse.")
    ] = None,
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
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=COLUMN,...",
            help="Of a table: what its columns variant, seed, item and error are called, as in variant=model.",
        ),
    ] = None,
    factors: Annotated[
        str | None,
        typer.Option(metavar="COLUMN,...", help="Of a table: columns that hold factors' levels."),
    ] = None,
    common_items: Annotated[
        bool, typer.Option("--common-items", help="Of a table: leave out items that a run lacks.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="DIR",
            help="Of a table: also write a page with figures, the comparison as CSV and a summary there.",
        ),
    ] = None,
    output: FormatOption = "table",
    other_results: OtherResults = None,
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """Compare a study's variants, or runs from anywhere, with least squares, the floor or one of them; or two studies.

    Exit codes: 0 ok, 1 a claim of --fail-unless does not hold, 2 usage error.
    """
    with usage_errors():
        if other is not None or other_results is not None:
            _refuse(
                "two studies",
                against=against,
                columns=columns,
                factors=factors,
                common_items=common_items or None,
                pairs=pairs or None,
                fail_unless=fail_unless or None,
                to=to,
            )
            _print_two_runs(
                study,
                other or study,
                results_dir,
                other_results,
                split,
                metric,
                margin,
                confidence,
                output,
            )
            return
        paragraph = pointer = ""
        if Path(study).suffix in TABLES:
            _refuse("a table of errors", split=split, metric=metric)
            comparison = _of_table(
                Path(study), columns, factors, common_items, against, margin, confidence, to
            )
        else:
            _refuse(
                "a study",
                columns=columns,
                factors=factors,
                common_items=common_items or None,
                to=to,
            )
            require_study(study, results_dir)
            comparison, paragraph = _of_study(
                study, results_dir, split, against, metric or "mse", margin, confidence
            )
            pointer = _history(study, results_dir)
        checks = comparison.fail_unless(*(fail_unless or []))
        if pairs:
            printed = comparison.pairs_text(output)
        else:
            printed = comparison.to_text(output, width=_terminal_width())
            if output in ("table", "markdown"):
                printed += f"\n\n{comparison.methods}"
            if paragraph and output in PARAGRAPHS:
                printed += f"\n\n{PARAGRAPHS[output](paragraph)}"
    print(printed)
    if pointer:
        tell(pointer)
    for check in checks:
        tell(str(check))
    if not all(check.holds for check in checks):
        raise typer.Exit(EXIT_FAILED)


def _print_two_runs(
    study: str,
    other: str,
    results_dir: Path,
    other_results: Path | None,
    split: str | None,
    metric: str | None,
    margin: float | None,
    confidence: float,
    output: Format,
) -> None:
    from ablations.cli.common import two_sides
    from ablations.comparison.two_runs import compare_runs

    sides = two_sides(study, other, results_dir, other_results)
    found = compare_runs(
        *sides, split=split, metric=metric or "mse", margin=margin, confidence=confidence
    )
    print(found.to_text(output, width=_terminal_width()))
    if output in ("table", "markdown"):
        print(f"\n{found.methods}")


def _of_study(
    study: str,
    results_dir: Path,
    split: str | None,
    against: str | None,
    metric: str,
    margin: float | None,
    confidence: float,
) -> tuple[StudyComparison, str]:
    """The comparison, and the paragraph that a checklist asks for."""
    from ablations.comparison.reproducibility import reproducibility
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
    return comparison, reproducibility(results, confidence)


def _history(study: str, results_dir: Path) -> str:
    """Where to see what the last run moved; nothing where there was one run alone."""
    from ablations.records.archive import located
    from ablations.records.folder import find_study
    from ablations.records.history import runs_of

    with located(study, results_dir) as (name, folder):
        runs = len(runs_of(find_study(name, folder), folder))
    if runs < 2:
        return ""
    where = results_option(results_dir)
    return f"What the last of {runs} runs moved: python -m ablations history {study}{where}"


def _of_table(
    path: Path,
    columns: str | None,
    factors: str | None,
    common_items: bool,
    against: str | None,
    margin: float | None,
    confidence: float,
    to: Path | None,
) -> StudyComparison:
    """The comparison, whose page and figures are written into the folder `to`."""
    from ablations.comparison.runs import MARGIN, compare_table
    from ablations.records.tidy import Columns, error_table, parse_columns, read_table

    frame = read_table(path)
    data = error_table(
        frame,
        Columns() if columns is None else parse_columns(columns),
        factors=[factor.strip() for factor in (factors or "").split(",") if factor.strip()],
        common_items=common_items,
        source=path.name,
    )
    comparison = compare_table(
        data, against=against, margin=margin or MARGIN, confidence=confidence, name=path.name
    )
    if to is not None:
        from ablations.report.runs_page import write_runs

        facts = {
            "file": path.name,
            "SHA-256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "rows": f"{len(frame):,}",
        }
        for written in write_runs(data, comparison, to, command=command_line(), facts=facts):
            tell(str(written))
    return comparison


def _refuse(what: str, **options: object) -> None:
    """Raise ValueError for options that were given and mean nothing here."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given:
        raise ValueError(f"{', '.join(given)} cannot be used with {what}")


def _terminal_width() -> int | None:
    """Columns of the terminal that the table has to fit; None where there is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
