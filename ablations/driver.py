"""Run a study: plan, train what is missing, store it, compare, draw.

Behind both `ablations.run` and the command line; options and exit codes are the business of `ablations.cli`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ablations.execution.backends import BACKENDS, Backend
from ablations.execution.events import Finished, Progress
from ablations.execution.options import Options as Options
from ablations.execution.plan import Plan, make_plan
from ablations.execution.progress import ProgressReport
from ablations.execution.provenance import provenance
from ablations.execution.trial import try_levels
from ablations.execution.workers import run_cells
from ablations.records import MAX_PREDICTIONS
from ablations.records.database import StoreError, database_path
from ablations.records.files import write_text
from ablations.records.folder import STUDY_FILE, find_study, require_no_loss
from ablations.records.loading import results_from_store
from ablations.records.merging import same_results
from ablations.records.results import StudyResults
from ablations.records.running import Running
from ablations.records.store import Store
from ablations.records.yardsticks import store_yardsticks
from ablations.report.outputs import Outputs, write_outputs
from ablations.study.problems import Problem
from ablations.study.selection import Selection
from ablations.study.study import Study, StudyError
from ablations.study.users import keep_level_files


@dataclass(frozen=True)
class Run:
    """A run that has come to its end."""

    plan: Plan
    results: StudyResults
    outputs: Outputs
    failed: int  # cells of the selection that are not ok now
    missing: int  # cells of the selection that have not been trained (--limit, --fail-fast)


def plan_run(study: Study, selection: Selection, results_dir: Path, device: str) -> Plan:
    """What `run_study` would do. Writes nothing; raises as it does."""
    with Store.read(database_path(results_dir, study.name)) as store:
        return _plan(study, selection, store, device)


def run_study(
    study: Study,
    selection: Selection,
    *,
    results_dir: Path,
    options: Options,
    command: str,
    on_plan: Callable[[Plan], object] | None = None,
    max_predictions: float = MAX_PREDICTIONS,
) -> Run:
    """Train what is missing of a study, then write everything that is made from its results.

    `command` is what the outputs say that made them; `on_plan` is told what is to be done before it is;
    `max_predictions` MB are the most that predictions of nets take in the exports (`report.outputs`).

    Raises StudyError (all mistakes at once) and StoreError; a cell that fails raises nothing and is a row of results.
    """
    selection.cells(study)  # a mistake in it is to leave no folder behind
    device = options.resolved_device()
    directory = results_dir / study.name
    with Store.write(database_path(results_dir, study.name)) as store:
        plan = _plan(study, selection, store, device)
        if not plan.done + plan.failed + plan.todo:
            legal = "cells to train: there are none but those of an earlier engine (--rerun-stale)"
            raise StudyError(study.name, [Problem("", None, legal if plan.stale else "some cell")])
        require_no_loss(directory, {(c.variant.name, c.seed) for c in plan.done + plan.todo})
        _require_origin(study, store)
        if on_plan is not None:
            on_plan(plan)
        # From the first cell on, not from the last: an interrupted study can be listed and compared.
        write_text(directory / STUDY_FILE, study.text)
        keep_level_files(study, directory)
        store_yardsticks(study, store)
        train(plan, store, BACKENDS[options.backend], options)
        results = results_from_store(study, store)
        statuses = store.statuses()
    outputs = write_outputs(results, directory, command, max_predictions)
    stored = [statuses.get(cell.key) for cell in plan.selected]
    failed = sum(status not in (None, "ok") for status in stored)
    return Run(plan, results, outputs, failed, stored.count(None) - len(plan.stale))


def retrained_problems(name: str, results_dir: Path, key: str) -> list[str]:
    """Train a stored cell again, as it was trained, and say what differs. Raises StoreError where there is none."""
    study = find_study(name, results_dir)
    with Store.read(database_path(results_dir, study.name)) as store:
        cells = [] if store is None else study.cells(store.seeds())
        chosen = [cell for cell in cells if cell.key.startswith(key)]
        stored = store.outcome(chosen[0].key) if store is not None and len(chosen) == 1 else None
        if stored is None:
            legal = f"a key, or the beginning of one, of a single cell of {study.name}"
            raise StudyError("command line", [Problem("--retrain", key, legal)])
    events = run_cells(chosen, device=stored.device, workers=1, threads=stored.threads)
    (outcome,) = (event.outcome for event in events if isinstance(event, Finished))
    if same_results(stored, outcome):
        return []
    return [f"{chosen[0].key}: trained again, it ends {outcome.status} with other numbers"]


def _require_origin(study: Study, store: Store) -> None:
    """Raise StoreError if the results are those of another file of the same name that is still there."""
    origin = store.origin()
    if origin is None or study.folder == origin:
        store.put_origin(study.folder)
        return
    for file in origin.glob("*.toml"):
        named = study.name == file.stem or study.name.startswith(f"{file.stem}-")
        if named and not study.text.startswith(
            file.read_text(encoding="utf-8", errors="replace").rstrip("\n")
        ):
            here = study.folder / file.name
            raise StoreError(
                f"{store.path}: holds the results of {file}, and {here} is another study; "
                "give one of them another name, or its results another folder: --results DIR"
            )
    store.put_origin(study.folder)


def _plan(study: Study, selection: Selection, store: Store | None, device: str) -> Plan:
    plan = make_plan(
        study,
        selection,
        statuses={} if store is None else store.statuses(),
        timings={} if store is None else store.timings(),
        stale={} if store is None else store.stale(),
        device=device,
    )
    try_levels(study.name, plan.todo)
    return plan


def train(plan: Plan, store: Store, backend: Backend, options: Options) -> None:
    """Train the cells to do and store each as it ends. An interrupt leaves the store with all finished cells."""
    if not plan.todo:
        return
    facts, seconds = provenance(), plan.seconds()
    events = backend(plan.queue(seconds), seconds, options)
    with (
        closing(events),
        ProgressReport(plan.todo, len(plan.done), seconds, quiet=options.quiet) as report,
        Running(store.path.parent) as running,
    ):
        for event in events:
            if isinstance(event, Progress):
                report.epoch(event.cell, event.epoch)
                running.epoch(event.cell.key, event.epoch)
                continue
            store.put(event.cell, event.outcome, event.provenance or facts)
            running.finished(event.cell.key)
            report.finished(event.cell, event.outcome)
            if options.fail_fast and event.outcome.status != "ok":
                return
