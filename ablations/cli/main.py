"""The command line: options in, exit codes out. Every verb is a thin cover of a function that Python calls too.

Exit codes: 0 all cells ok, 1 finished with failed cells or a failed check, 2 usage or study error, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import pandas as pd
import typer

from ablations.cli.compare import compare
from ablations.driver import RESULTS_DIR, Options, Run, run_study
from ablations.execution.plan import Plan, make_plan, parse_seeds
from ablations.execution.provenance import provenance
from ablations.records import exports
from ablations.records.loading import find_study, load_results
from ablations.records.store import Store, StoreError, database_path
from ablations.study.reader import load_study, shipped_studies
from ablations.study.study import StudyError
from linefit.engines import resolve_device

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class Format(StrEnum):
    """How a verb prints its data."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    MARKDOWN = "markdown"


ResultsDir = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="Where results are kept.")
]
StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY|FILE.toml", help="A study's name or file; see `list`.")
]


def run(
    study: StudyArgument = "quick",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained; write nothing.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    seeds: Annotated[
        str | None, typer.Option(help="Seeds instead of the study's: 10, or 0,3,7, or 0-9.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FACTOR=LEVEL[,LEVEL]", help="Only such cells; `variant` and `seed` work too."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Train at most so many cells now.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed/--skip-failed", help="Train failed cells again.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first cell that fails.")
    ] = False,
    timeout: Annotated[float | None, typer.Option(min=1, help="Seconds a cell may take.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; by default one a core.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each worker.")] = 1,
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """Train what is missing of a study, compare its variants with least squares, draw and report.

    Finished cells are kept: the same command again goes on where it was interrupted.
    """
    with usage_errors():
        options = Options(device, workers, threads, timeout, fail_fast)
        chosen = None if seeds is None else parse_seeds(seeds)
        found = load_study(study)
        selection: dict[str, Any] = {
            "seeds": chosen,
            "where": where or (),
            "limit": limit,
            "retry_failed": retry_failed,
        }
        with Store.read(database_path(results_dir, found.name)) as store:
            plan = make_plan(found, store, device=options.resolved_device(), **selection)
        tell(describe(plan, options))
    if dry_run:
        raise typer.Exit(EXIT_FAILED if plan.failed else 0)
    # A ValueError from here on is no mistake of the user's and keeps its traceback.
    with usage_errors((StudyError, StoreError, OSError)), interruptible():
        finished = run_study(
            found, **selection, results_dir=results_dir, options=options, command=command_line()
        )
    conclude(finished, study, results_dir)


def conclude(finished: Run, study: str, results_dir: Path) -> NoReturn:
    """Print what a run found, what it wrote and what to do next; exit with its code."""
    for split, comparison in finished.outputs.comparisons.items():
        size = len(finished.results.splits[split].params)
        print(
            f"\n{finished.results.study} on {split} ({size:,} images)\n\n{comparison.to_text('table')}"
        )
    print()
    largest = max(finished.results.splits.values(), key=lambda split: len(split.params)).name
    for variant in finished.results.splits[largest].variants:
        print(finished.outputs.comparisons[largest].sentence(variant.name))
    directory = results_dir / finished.results.study
    print(
        f"\nWritten to {directory}/: report.html, summary.md, figures/, tables (CSV) and predictions (Parquet)"
    )
    total = len(finished.plan.selected)
    if finished.missing:
        print(f"Not trained yet: {finished.missing} of {total} cells; go on with: {command_line()}")
    if finished.failed:
        again = command_line()
        again += "" if "--retry-failed" in again else " --retry-failed"
        print(f"Failed: {finished.failed} of {total} cells; try them again with: {again}")
    extra = "" if results_dir == RESULTS_DIR else f" --results {shlex.quote(str(results_dir))}"
    print(f"Next: python -m ablations compare {finished.results.study} --split {largest}{extra}")
    if study == "quick":
        print("      python -m ablations.run lab5   # the lab's full protocol")
    raise typer.Exit(EXIT_FAILED if finished.failed else 0)


def describe(plan: Plan, options: Options) -> str:
    """One line on what a run would do."""
    workers = min(options.resolved_workers(), max(len(plan.todo), 1))
    counts = (
        f"{plan.study.name}: {len(plan.selected)} cells, {len(plan.done)} done, {len(plan.failed)} failed, "
        f"{len(plan.todo)} to do"
    )
    if not plan.todo:
        return counts
    place = f"on {options.resolved_device()}, {workers} worker{'s' if workers > 1 else ''}"
    return f"{counts} {place}, {plan.estimate(workers)}"


def list_studies(
    output: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """List the shipped studies and those that have results, with their state."""
    names = [path.stem for path in shipped_studies()]
    names += sorted(
        path.parent.name
        for path in results_dir.glob(f"*/{exports.STUDY_FILE}")
        if path.parent.name not in names
    )
    rows, unusable = [], False
    for name in names:
        try:
            rows.append(_state(name, results_dir))
        except (StudyError, StoreError) as error:  # one study that is broken hides no other
            tell(str(error))
            unusable = True
    print(render(pd.DataFrame(rows), output))
    if unusable:
        raise typer.Exit(EXIT_USAGE)


def _state(name: str, results_dir: Path) -> dict[str, str | int]:
    """A study's row of `list`."""
    study = find_study(name, results_dir)
    with Store.read(database_path(results_dir, name)) as store:
        plan = make_plan(study, store, device="cpu")
    exported = (results_dir / name / exports.PREDICTIONS_FILE).is_file()
    return {
        "study": name,
        "title": study.title,
        "variants": len(study.variants),
        "cells": len(plan.selected),
        "done": len(plan.done),
        "failed": len(plan.failed),
        "to do": len(plan.todo),
        "exports": "yes" if exported else "no",
    }


def export(
    study: StudyArgument,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Default: beside the database.")
    ] = None,
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """Write a study's results as tidy Parquet and CSV files."""
    with usage_errors():
        results = load_results(study, results_dir)
        found = find_study(study, results_dir)
        paths = exports.write(results, found, to or results_dir / found.name)
    for path in paths:
        print(path)


def report(study: StudyArgument, results_dir: ResultsDir = RESULTS_DIR) -> None:
    """Write tables, figures and the HTML report of a study anew, without training anything."""
    from ablations.report.outputs import write_outputs

    with usage_errors():
        results = load_results(study, results_dir)
        found = find_study(study, results_dir)
    for path in write_outputs(results, found, results_dir / found.name, command_line()).paths:
        print(path)


def env() -> None:
    """Print versions, hardware and the commit as JSON: what is recorded beside every cell."""
    facts = provenance()
    print(json.dumps({**facts, "device": str(resolve_device("auto"))}, indent=2))


def render(frame: pd.DataFrame, output: Format) -> str:
    """A frame as text, without its index."""
    if output is Format.CSV:
        return frame.to_csv(index=False).rstrip("\n")
    if output is Format.JSON:
        return frame.to_json(orient="records", indent=2)
    if output is Format.MARKDOWN:
        lines = [list(frame.columns), ["---"] * len(frame.columns), *frame.to_numpy().tolist()]
        return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
    return frame.to_string(index=False)


def command_line() -> str:
    """The command as it was typed, to be typed again."""
    module = "ablations.run" if Path(sys.argv[0]).name == "run.py" else "ablations"
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def tell(text: str) -> None:
    """A message to the person, apart from the data on stdout."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def usage_errors(
    mendable: tuple[type[Exception], ...] = (ValueError, StoreError, OSError),
) -> Iterator[None]:
    """Turn errors that the user can mend into messages and exit code 2."""
    try:
        yield
    except mendable as error:
        tell(f"error: {error}" if not isinstance(error, StudyError) else str(error))
        raise typer.Exit(EXIT_USAGE) from error


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into a message on how to go on, and exit code 130."""

    def interrupt(number: int, frame: object) -> NoReturn:  # noqa: ARG001
        raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        tell(f"\nInterrupted. Finished cells are safe; go on with: {command_line()}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, earlier)


app = typer.Typer(
    help="Ablations of CNNs that fit a line, held against least squares and the best possible.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command(name="list")(list_studies)
app.command()(compare)
app.command()(report)
app.command()(export)
app.command()(env)


def main() -> None:
    """`python -m ablations VERB`."""
    app(prog_name="python -m ablations")


def run_main() -> None:
    """`python -m ablations.run`: the verb `run` alone."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command()(run)
    single(prog_name="python -m ablations.run")
