"""Cells in jobs of a Slurm cluster, submitted through submitit, each with a database of its own beside the study's.

A job trains its part of the cells as a run on one machine does, into a folder of results of its own,
`results/<study>/slurm/part-1/`, and the driver takes over what it holds when the job has ended. Nothing in it needs the
driver meanwhile: one that is killed and started again finds the jobs, whether they run or have ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablations.execution.allocation import Allocation, parts_by_time
from ablations.execution.backends import Events, local
from ablations.execution.events import Finished
from ablations.execution.options import Options
from ablations.execution.provenance import provenance
from ablations.records.database import database_path
from ablations.records.files import write_text
from ablations.records.folder import JOBS_FOLDER, STUDY_FILE, find_study
from ablations.records.settling import settle
from ablations.records.store import Store
from ablations.study.study import Cell
from ablations.study.users import keep_level_files

PART_FILE = "part.json"
POLL_SECONDS = 1.0
CANCEL_SECONDS = 5.0  # in which jobs that are cancelled may end before the driver does


def train_part(folder: Path, study: str, cells: Sequence[Cell], options: Options) -> None:
    """What a job does: train cells with this machine's workers into the database of its part.

    One that was put back into the queue goes on where it was stopped; one that no driver knows any more does nothing.
    """
    if not (folder / PART_FILE).exists():
        return
    path = database_path(folder, study)
    with Store.write(path) as store:
        stored = store.statuses()
        left = [cell for cell in cells if cell.key not in stored]
        facts = provenance()
        with contextlib.closing(local(left, {}, options, path.parent)) as events:
            for event in events:
                if isinstance(event, Finished):
                    store.put(event.cell, event.outcome, facts)


def run_cells_on_slurm(
    cells: Sequence[Cell], seconds: Mapping[str, float], options: Options, directory: Path
) -> Events:
    """Train cells in jobs that are expected to take equally long, and yield what became of each as jobs end.

    What a job leaves is submitted again if it has finished anything. Closing the iterator, or an exception in its
    consumer, cancels the jobs; what they have finished is found by the next run. Raises ConnectionError, when all else
    is done, for cells whose jobs ended before them, and where Slurm takes no jobs.
    """
    queue = _Queue(directory, options)
    todo = {cell.key: cell for cell in cells}
    parts = queue.parts()  # of an earlier driver
    lost: dict[str, str] = {}  # key -> why it is not tried again
    try:
        while True:
            for part in [part for part in parts if queue.ended(part)]:
                before = len(todo)
                for event in queue.finished(part, todo):
                    yield event
                    del todo[event.cell.key]
                if len(todo) == before and part.own:
                    lost |= dict.fromkeys(todo.keys() & set(part.keys), queue.reason(part))
                parts.remove(part)
                queue.tidy(part)
            taken = lost.keys() | {key for part in parts for key in part.keys}
            left = [cell for key, cell in todo.items() if key not in taken]
            try:
                for part in queue.submit(left, seconds, len(parts)):
                    parts.append(part)
            except ConnectionError as error:  # the others go on
                lost |= dict.fromkeys((cell.key for cell in left), str(error))
            if not parts:
                break
            time.sleep(POLL_SECONDS)
    finally:
        queue.cancel(parts)
    if todo:
        reasons = "; ".join(dict.fromkeys(lost.values()))
        raise ConnectionError(
            f"not trained: {len(todo)} of {len(cells)} cells, as {reasons}. "
            "Finished cells are safe, and the same command tries the others again"
        )
    queue.close()


@dataclass(frozen=True)
class _Part:
    """Cells that a job trains, and the folder that holds what it has finished."""

    folder: Path
    keys: tuple[str, ...]
    job: Any  # submitit's; None where a driver was killed before it could note it
    own: bool  # of this driver, no earlier one


class _Queue:
    """The parts of a study: those that are there, new ones, and the jobs that train them."""

    def __init__(self, directory: Path, options: Options) -> None:
        self.study, self.directory = find_study(directory.name, directory.parent), directory
        self.folder = directory / JOBS_FOLDER
        self.logs = self.folder / "logs"
        self.allocation = options.allocation()
        self.jobs = self.allocation.jobs_at_once(options.resolved_workers())
        self.options = replace(
            options,
            device=options.resolved_device(),
            workers=self.allocation.workers,
            backend="local",
            slurm=(),
        )

    def parts(self) -> list[_Part]:
        """Those that an earlier driver has left."""
        found = []
        for path in sorted(self.folder.glob(f"part-*/{PART_FILE}")):
            facts = json.loads(path.read_text(encoding="utf-8"))
            job = _job(facts["cluster"], self.logs, facts["job"]) if facts["job"] else None
            found.append(_Part(path.parent, tuple(facts["keys"]), job, own=False))
        return found

    def submit(
        self, cells: Sequence[Cell], seconds: Mapping[str, float], busy: int
    ) -> Iterator[_Part]:
        """Have cells trained by new jobs, beside so many that there are. Raises ConnectionError if Slurm takes none."""
        if not cells:
            return
        groups = parts_by_time(cells, seconds, self.allocation, max(self.jobs - busy, 1))
        folders = [self._new_part(group) for group in groups]
        submitted = self._submitted(folders, groups)
        for folder, group, job in zip(folders, groups, submitted, strict=True):
            self._note(folder, group, job.job_id)
            yield _Part(folder, tuple(cell.key for cell in group), job, own=True)

    def ended(self, part: _Part) -> bool:
        """Whether no job of a part waits or runs any more."""
        if part.job is None:
            return True
        return part.job.done() and not _runs_here(part.job)

    def finished(self, part: _Part, todo: Mapping[str, Cell]) -> Iterator[Finished]:
        """What an ended job has made of those of its cells that are to do."""
        with Store.read(database_path(part.folder, self.study.name)) as store:
            for key in part.keys if store is not None else ():
                record = store.record(key) if store is not None and key in todo else None
                if record is not None:
                    yield Finished(todo[key], record.outcome, record.provenance, record.finished)

    def reason(self, part: _Part) -> str:
        """Why a job that ended has finished nothing, as far as it can be told."""
        log = part.job.paths.stdout
        text = log.read_text(errors="replace").strip() if log.is_file() else ""
        last = f" ({text.splitlines()[-1]})" if text else ""
        return f"job {part.job.job_id} ended ({part.job.state}) without a finished cell{last}; see {log}"

    def tidy(self, part: _Part) -> None:
        """Remove the folder of a part if all that it holds is in the study's database, on the disk."""
        database = database_path(self.directory.parent, self.study.name)
        with (
            Store.read(database_path(part.folder, self.study.name)) as theirs,
            Store.read(database) as ours,
        ):
            held = theirs.statuses().keys() if theirs is not None else set()
            known = ours.statuses().keys() if ours is not None else set()
        if held <= known:
            settle(database)
            shutil.rmtree(part.folder)

    def close(self) -> None:
        """Remove logs when nothing is left that they are about."""
        if not any(self.folder.glob("part-*")):
            shutil.rmtree(self.folder, ignore_errors=True)

    def cancel(self, parts: Sequence[_Part]) -> None:
        """End jobs, and wait a moment for it."""
        for part in parts:
            if part.job is None:
                continue
            if _runs_here(part.job):
                os.kill(int(part.job.job_id), signal.SIGINT)
            else:
                part.job.cancel(check=False)
        deadline = time.monotonic() + CANCEL_SECONDS
        while not all(map(self.ended, parts)) and time.monotonic() < deadline:
            time.sleep(0.1)

    def _new_part(self, cells: Sequence[Cell]) -> Path:
        """A folder of results of its own, which `merge` takes too."""
        numbers = [int(path.name.rpartition("-")[2]) for path in self.folder.glob("part-*")]
        folder = self.folder / f"part-{max(numbers, default=0) + 1}"
        write_text(folder / self.study.name / STUDY_FILE, self.study.text)
        keep_level_files(self.study, folder / self.study.name)
        self._note(folder, cells, "")
        return folder

    def _note(self, folder: Path, cells: Sequence[Cell], job: str) -> None:
        facts = {
            "cluster": self.allocation.cluster,
            "job": job,
            "keys": [cell.key for cell in cells],
        }
        write_text(folder / PART_FILE, json.dumps(facts))

    def _submitted(
        self, folders: Sequence[Path], groups: Sequence[tuple[Cell, ...]]
    ) -> Iterator[Any]:
        """A job for each part, as it is taken; on Slurm one array of them all."""
        from submitit.core.utils import FailedJobError

        executor = _executor(self.logs, self.allocation, self.study.name, self.jobs)
        names, options = [self.study.name] * len(groups), [self.options] * len(groups)
        try:
            if self.allocation.cluster == "slurm":
                yield from executor.map_array(train_part, folders, names, groups, options)
            else:
                for arguments in zip(folders, names, groups, options, strict=True):
                    yield executor.submit(train_part, *arguments)
        except FailedJobError as error:
            raise ConnectionError(f"Slurm does not take the jobs: {error}") from error


def _executor(logs: Path, allocation: Allocation, study: str, jobs: int) -> Any:
    """What submits jobs, so many of which run at a time."""
    import submitit

    executor = submitit.AutoExecutor(folder=logs, cluster=allocation.cluster)
    executor.update_parameters(
        name=f"ablations-{study}",
        timeout_min=allocation.minutes,
        cpus_per_task=allocation.cores,
        stderr_to_stdout=True,
        slurm_array_parallelism=jobs,
        slurm_setup=list(allocation.setup),
        **{f"slurm_{key}": value for key, value in allocation.parameters.items()},
    )
    return executor


def _job(cluster: str, logs: Path, job_id: str) -> Any:
    """A job that an earlier driver has submitted."""
    import submitit

    kinds = {"slurm": submitit.SlurmJob, "local": submitit.LocalJob}
    return kinds[cluster](folder=logs, job_id=job_id)


def _runs_here(job: Any) -> bool:
    """Whether a job is a process of this machine that has not ended, whoever has started it."""
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{job.job_id}/cmdline").read_bytes()
        return b"submitit.local" in command and os.fsencode(job.paths.folder) in command
    return False
