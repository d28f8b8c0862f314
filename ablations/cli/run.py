"""`python -m ablations.run [STUDY|FILE.toml]`, also `python -m ablations run`: train, compare, draw, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ablations.cli.common import (
    EXIT_FAILED,
    MaxPredictions,
    ResultsDir,
    StudyArgument,
    command_line,
    interruptible,
    results_option,
    tell,
    usage_errors,
)
from ablations.records import MAX_PREDICTIONS, RESULTS_DIR

if TYPE_CHECKING:
    from ablations.driver import Options, Run
    from ablations.execution.plan import Plan
    from ablations.rounds import Sought


def run(
    study: StudyArgument = "quick",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained; write nothing.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:N; several GPUs as cuda:0,cuda:1.")
    ] = "auto",
    seeds: Annotated[
        str | None, typer.Option(help="Seeds instead of the study's: 10, or 0,3,7, or 0-9.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FACTOR=LEVEL[,LEVEL]", help="Only such cells; `variant` and `seed` work too."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SETTING=VALUE",
            help="Another setting of the protocol, such as epochs=3: a study of its own, with results of its own.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Train at most so many cells now.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed/--skip-failed", help="Train failed cells again.")
    ] = False,
    rerun_stale: Annotated[
        bool,
        typer.Option(
            "--rerun-stale", help="Train again what an earlier version of the engine has."
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Only the I-th of N equal parts, each with a --results of its own."
        ),
    ] = None,
    until: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TARGET",
            help='Add seeds in rounds until "ratio within 25%" or "verdict" holds for every variant, or "VARIANT '
            'ratio within 25%" for one. May be given several times.',
        ),
    ] = None,
    max_seeds: Annotated[
        int | None, typer.Option(help="With --until: most seeds of a variant; by default 40.")
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first cell that fails.")
    ] = False,
    timeout: Annotated[float | None, typer.Option(min=1, help="Seconds a cell may take.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; by default one a core.")
    ] = None,
    pack: Annotated[
        str,
        typer.Option(
            metavar="auto|N", help="Cells trained together; auto: packs on a GPU, one on a CPU."
        ),
    ] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads of each worker.")] = 1,
    backend: Annotated[
        str,
        typer.Option(
            metavar="local|ray|slurm",
            help="Who trains: this machine, a Ray cluster or jobs of Slurm.",
        ),
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Of a Ray cluster; by default one that Ray finds."),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="What a job of Slurm asks for, such as partition=short or time=60. May be given several times.",
        ),
    ] = None,
    max_predictions: MaxPredictions = MAX_PREDICTIONS,
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """Train what is missing of a study, compare its variants with least squares, draw and report.

    Finished cells are kept: the same command again goes on where it was interrupted.
    """
    with interruptible(), usage_errors():
        from ablations.study.reader import load_study
        from ablations.study.selection import parse_seeds, parse_shard, selection
        from ablations.study.settings import parse_settings, with_settings
        from ablations.study.until import parse_until

        sought = parse_until(until or (), max_seeds)
        chosen = selection(
            seeds=None if seeds is None else parse_seeds(seeds),
            where=where or (),
            limit=limit,
            retry_failed=retry_failed,
            rerun_stale=rerun_stale,
            shard=None if shard is None else parse_shard(shard),
        )
        found = with_settings(load_study(study), parse_settings(settings or ()))
        # so that mistakes are told before anything heavy is imported
        chosen.cells(found)
        if sought is not None:
            sought.require_alone(chosen)
            sought.looks(found, None)

        from ablations.driver import Options, plan_run, run_study

        options = Options(
            device,
            workers,
            threads,
            timeout,
            fail_fast,
            pack=parse_pack(pack),
            backend=backend,
            ray_address=ray_address,
            slurm=tuple(slurm or ()),
        )
        resolved = options.resolved_device()
        if dry_run:
            plan = plan_run(found, chosen, results_dir, resolved, sought)
            tell(describe(plan, options))
            raise typer.Exit(EXIT_FAILED if plan.failed else 0)
    with usage_errors(values=False), interruptible():
        finished = run_study(
            found,
            chosen,
            results_dir=results_dir,
            options=options,
            command=command_line(),
            until=sought,
            on_plan=lambda plan: tell(describe(plan, options)),
            max_predictions=max_predictions,
        )
    conclude(finished, study, results_dir)


def parse_pack(text: str) -> int | None:
    """`auto` is None. Raises ValueError for what is neither that nor a number of cells."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"--pack {text!r} is not auto or a number of cells from 1")
    return int(text)


def conclude(finished: Run, study: str, results_dir: Path) -> NoReturn:
    """Print what a run found, what it wrote and what to do next; exit with its code."""
    results, comparisons = finished.results, finished.outputs.comparisons
    name, largest = results.study.name, results.largest_split
    for split, comparison in comparisons.items():
        size = comparison.n_images
        print(f"\n{name} on {split} ({size:,} images)\n\n{comparison.to_text('table')}")
    print()
    for variant in results.split(largest).variants:
        print(comparisons[largest].sentence(variant.name))
    print(
        f"\nWritten to {results_dir / name}/: report.html, summary.md, figures/, tables (CSV) and predictions (Parquet)"
    )
    if finished.sought is not None:
        print(sought_text(finished.sought))
    total = len(finished.plan.selected)
    if finished.missing:
        print(f"Not trained yet: {finished.missing} of {total} cells; go on with: {command_line()}")
    if finished.plan.stale:
        stale = f"{len(finished.plan.stale)} of {total} cells were trained by an earlier engine"
        print(f"Stale: {stale} and are left out; train them again with: --rerun-stale")
    if finished.failed:
        again = command_line()
        again += "" if "--retry-failed" in again else " --retry-failed"
        print(f"Failed: {finished.failed} of {total} cells; try them again with: {again}")
    extra = results_option(results_dir)
    print(f"Next: python -m ablations compare {name} --split {largest}{extra}")
    if study == "quick":
        print("      python -m ablations.run lab5   # the lab's full protocol")
    raise typer.Exit(EXIT_FAILED if finished.failed else 0)


def sought_text(sought: Sought) -> str:
    """What came of --until: a line a variant."""
    looks = sought.looks
    targets, at = " and ".join(map(str, sought.targets)), ", ".join(map(str, looks.seeds))
    head = f"\nUntil {targets}: {sought.made} of {len(looks.seeds)} looks made (at {at} seeds)"
    reached = [standing for standing in sought.standings if standing.reached]
    short = [standing for standing in sought.standings if not standing.reached]
    return "\n".join([head, *(f"  {standing}" for standing in [*reached, *short])])


def describe(plan: Plan, options: Options) -> str:
    """One line on what a run would do."""
    workers = min(options.resolved_workers(), max(len(plan.todo), 1))
    name = f"{plan.study.name}, {plan.round}" if plan.round else plan.study.name
    counts = (
        f"{name}: {len(plan.selected)} cells, {len(plan.done)} done, {len(plan.failed)} failed, "
        f"{len(plan.todo)} to do"
    )
    if plan.stale:
        counts += (
            f", {len(plan.stale)} stale (of an earlier engine; train them again with --rerun-stale)"
        )
    if not plan.todo:
        return counts
    place = f"on {options.resolved_device()}, {workers} worker{'s' if workers > 1 else ''}"
    return f"{counts} {place}, {plan.estimate(workers)}{_without_compiled_step(options)}"


def _without_compiled_step(options: Options) -> str:
    """A line for whoever trains on a CPU without it."""
    from linefit.fused import instruction_set

    if options.resolved_device() != "cpu" or instruction_set() is not None:
        return ""
    return (
        "\nThe compiled training step was not built when this package was installed (it takes a C++ compiler): "
        "nets train by numba kernels, several times slower."
    )
