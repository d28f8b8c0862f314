"""Run a study: plan, train what is missing, store it, compare, draw.

Behind both `ablations.run` and the command line; options and exit codes are the business of `ablations.cli`. What is
needed when all is trained is imported then: it takes seconds, and a third of the driver's memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.execution.backends import Backend, local, ray
from ablations.execution.cost import step_key
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
from ablations.records.merging import same_results
from ablations.records.running import Running
from ablations.records.store import Store
from ablations.records.yardsticks import store_yardsticks
from ablations.rounds import Rounds, Sought
from ablations.slurm import run_cells_on_slurm
from ablations.study.problems import Problem
from ablations.study.selection import Selection
from ablations.study.study import Study, StudyError
from ablations.study.until import Until
from ablations.study.users import keep_level_files

if TYPE_CHECKING:
    from ablations.records.results import StudyResults
    from ablations.report.outputs import Outputs

BACKENDS: Mapping[str, Backend] = {"local": local, "ray": ray, "slurm": run_cells_on_slurm}


@dataclass(frozen=True)
class Run:
    """A run that has come to its end."""

    plan: Plan
    results: StudyResults
    outputs: Outputs
    failed: int  # cells of the selection that are not ok now
    missing: int  # cells of the selection that have not been trained (--limit, --fail-fast)
    sought: Sought | None = None  # what came of `until`


def plan_run(
    study: Study,
    selection: Selection,
    results_dir: Path,
    device: str,
    until: Until | None = None,
) -> Plan:
    """What `run_study` would do, of rounds the first with something to do. Writes nothing; raises as it does."""
    _require_legal(study, selection, until)
    with Store.read(database_path(results_dir, study.name)) as store:
        for part in Rounds(study, selection, until, store):
            plan = replace(
                _plan(study, part.selection, store, results_dir, device), round=part.title
            )
            if plan.todo:
                break
    return plan


def run_study(
    study: Study,
    selection: Selection,
    *,
    results_dir: Path,
    options: Options,
    command: str,
    until: Until | None = None,
    on_plan: Callable[[Plan], object] | None = None,
    max_predictions: float = MAX_PREDICTIONS,
) -> Run:
    """Train what is missing of a study, then write everything that is made from its results.

    `until` adds seeds in rounds. `command` is what the outputs say that made them; `on_plan` is told what is to be done
    before it is; `max_predictions` MB are the most that predictions of nets take in the exports (`report.outputs`).

    Raises StudyError (all mistakes at once) and StoreError; a cell that fails raises nothing and is a row of results.
    """
    _require_legal(study, selection, until)  # a mistake is to leave no folder behind
    device = options.resolved_device()
    directory = results_dir / study.name
    with Store.write(database_path(results_dir, study.name)) as store:
        plans: list[Plan] = []
        parts = Rounds(study, selection, until, store)
        for part in parts:
            plan = replace(
                _plan(study, part.selection, store, results_dir, device), round=part.title
            )
            if not plans:
                _begin(plan, directory, store, until)
            if on_plan is not None and (plan.todo or not plans):
                on_plan(plan)
            plans.append(plan)
            if not train(plan, store, BACKENDS[options.backend], options):
                break
        from ablations.records.loading import results_from_store
        from ablations.report.outputs import write_outputs

        results = results_from_store(study, store)
        statuses = store.statuses()
    outputs = write_outputs(results, directory, command, max_predictions)
    selected = {cell.key: cell for plan in plans for cell in plan.selected}
    stored = [statuses.get(key) for key in selected]
    failed = sum(status not in (None, "ok") for status in stored)
    plan = replace(plans[-1], selected=tuple(selected.values()))
    missing = stored.count(None) - len(plan.stale)
    return Run(plan, results, outputs, failed, missing, parts.sought)


def _require_legal(study: Study, selection: Selection, until: Until | None) -> None:
    """Raise StudyError for what is wrong with a selection and with `until`, but for what the store has to say."""
    selection.cells(study)
    if until is not None:
        until.require_alone(selection)
        until.looks(study, None)


def _begin(plan: Plan, directory: Path, store: Store, until: Until | None) -> None:
    """Make sure that the first round of a run can be trained and destroys nothing, and note what it is of."""
    study = plan.study
    if not plan.done + plan.failed + plan.todo:
        legal = "cells to train: there are none but those of an earlier engine (--rerun-stale)"
        raise StudyError(study.name, [Problem("", None, legal if plan.stale else "some cell")])
    require_no_loss(directory, {(c.variant.name, c.seed) for c in plan.done + plan.todo})
    _require_origin(study, store)
    if until is not None:
        store.put_looks(until.looks(study, store.looks()))
    # From the first cell on, not from the last: an interrupted study can be listed and compared.
    write_text(directory / STUDY_FILE, study.text)
    keep_level_files(study, directory)
    store_yardsticks(study, store)


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


def _steps_elsewhere(name: str, results_dir: Path) -> Iterator[tuple[str, float, str]]:
    """Step for step, what cells of the other studies in a results folder took, as far as databases can be read."""
    for folder in results_dir.iterdir() if results_dir.is_dir() else ():
        if folder.name == name or not database_path(results_dir, folder.name).is_file():
            continue
        with (
            contextlib.suppress(StoreError),
            Store.read(database_path(results_dir, folder.name)) as store,
        ):
            for configuration, seconds, device in store.step_seconds() if store else ():
                yield step_key(configuration), seconds, device


def _plan(
    study: Study, selection: Selection, store: Store | None, results_dir: Path, device: str
) -> Plan:
    plan = make_plan(
        study,
        selection,
        statuses={} if store is None else store.statuses(),
        timings={} if store is None else store.timings(),
        stale={} if store is None else store.stale(),
        device=device,
        elsewhere=_steps_elsewhere(study.name, results_dir),
    )
    try_levels(study.name, plan.todo)
    return plan


def train(plan: Plan, store: Store, backend: Backend, options: Options) -> bool:
    """Train the cells to do and store each as it ends. An interrupt leaves the store with all finished cells.

    Returns whether all were trained: not after the first that fails, where that is to end a run.
    """
    if not plan.todo:
        return True
    facts, seconds, directory = provenance(), plan.seconds(), store.path.parent
    events = backend(plan.queue(seconds), seconds, options, directory)
    with (
        closing(events),
        ProgressReport(plan.todo, len(plan.done), seconds, quiet=options.quiet) as report,
        Running(directory) as running,
    ):
        for event in events:
            if isinstance(event, Progress):
                report.epoch(event.cell, event.epoch)
                running.epoch(event.cell.key, event.epoch)
                continue
            store.put(event.cell, event.outcome, event.provenance or facts, event.ended)
            running.finished(event.cell.key)
            report.finished(event.cell, event.outcome)
            if options.fail_fast and event.outcome.status != "ok":
                return False
    return True
