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
import subprocess
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
POLL_SECONDS = 2.0
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
            for part in queue.ended(parts):
                before = len(todo)
                for event in queue.finished(part, todo):
                    yield event
                    del todo[event.cell.key]
                if len(todo) == before and part.job is not None:
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
    cluster: str
    job_id: str  # none where a driver was killed before it could note it
    job: Any = None  # submitit's, of this driver's own jobs


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
            keys = tuple(facts["keys"])
            found.append(_Part(path.parent, keys, facts["cluster"], facts["job"]))
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
            keys = tuple(cell.key for cell in group)
            yield _Part(folder, keys, self.allocation.cluster, job.job_id, job)

    def ended(self, parts: Sequence[_Part]) -> list[_Part]:
        """Those of which no job waits or runs any more."""
        at_work = {part.job_id for part in parts if self._runs_here(part)}
        if any(part.cluster == "slurm" for part in parts):
            queued = _queued()
            at_work |= {part.job_id for part in parts if queued is None} | (queued or set())
        found = [part for part in parts if part.job_id not in at_work]
        for part in found:
            part.folder.chmod(part.folder.stat().st_mode)  # or NFS may show it as it was
        return found

    def finished(self, part: _Part, todo: Mapping[str, Cell]) -> Iterator[Finished]:
        """What an ended job has made of those of its cells that are to do."""
        with Store.read(database_path(part.folder, self.study.name)) as store:
            for key in part.keys if store is not None else ():
                record = store.record(key) if store is not None and key in todo else None
                if record is not None:
                    yield Finished(todo[key], record.outcome, record.provenance, record.finished)

    def reason(self, part: _Part) -> str:
        """Why a job that ended has finished nothing, as far as it can be told."""
        log = self.logs / f"{part.job_id}_0_log.out"
        text = log.read_text(errors="replace") if log.is_file() else ""
        lines = [line for line in text.splitlines() if line and not line.startswith("srun:")]
        last = f" ({lines[-1]})" if lines else ""
        return f"job {part.job_id} ended without a finished cell{last}; see {log}"

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
        queued = [part.job_id for part in parts if part.cluster == "slurm" and part.job_id]
        if queued:
            subprocess.run(["scancel", *queued], check=False)
        for part in parts:
            if self._runs_here(part):
                os.kill(int(part.job_id), signal.SIGINT)
        deadline = time.monotonic() + CANCEL_SECONDS
        while len(self.ended(parts)) < len(parts) and time.monotonic() < deadline:
            time.sleep(0.1)

    def _runs_here(self, part: _Part) -> bool:
        """Whether a part's job is a process of this machine that has not ended, whoever has started it."""
        if part.cluster == "slurm" or not part.job_id:
            return False
        if part.job is not None:
            return not part.job.done()
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{part.job_id}/cmdline").read_bytes()
            return b"submitit.local" in command and os.fsencode(self.logs.absolute()) in command
        return False

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


def _queued() -> set[str] | None:
    """The jobs that wait or run, as Slurm has them without accounting; None where it does not answer."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return set(done.stdout.split()) if done.returncode == 0 else None
