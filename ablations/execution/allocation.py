"""What a job of Slurm asks for, as `key=value` texts say it, and which cells a job trains."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ablations.study.study import Cell

MINUTES = 60  # of a job, where nothing else is said
# Of a job's time, what its cells are expected to take: estimates are right within a factor of two.
SHARE_OF_TIME = 0.5
MOST_JOBS = 1000  # at once: what Slurm allows of an array, as it comes
CLUSTERS = ("slurm", "local")
LEGAL_MINUTES = "minutes, or hours:minutes:seconds, or days-hours, as sbatch takes them"
TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


@dataclass(frozen=True)
class Allocation:
    """What every job of a run asks for."""

    cluster: str = "slurm"  # or local: processes of this machine in the place of jobs
    minutes: int = MINUTES
    cores: int = 1
    workers: int = 1  # cells that a job trains at once
    setup: tuple[str, ...] = ()  # shell commands before a job's own
    parameters: Mapping[str, Any] = field(default_factory=dict)  # of submitit's SlurmExecutor

    def jobs_at_once(self, workers: int) -> int:
        """Jobs that have so many workers in all."""
        return -(-workers // self.workers)


def parse_allocation(
    texts: Sequence[str], threads: int, device: str
) -> tuple[Allocation, list[str]]:
    """Settings from `partition=short`, `time=2:00:00` and the like, and everything that is wrong with them.

    A job has cores for one worker of so many threads where nothing is said, and on CUDA a GPU, for one worker.
    """
    found: dict[str, Any] = {}
    setup, problems, unknown = [], [], []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not value or key not in LEGAL:
            unknown.append(repr(text))
        elif key == "setup":
            setup.append(value)
        elif key in found:
            problems.append(f"slurm {key!r} is given twice")
        else:
            try:
                found[key] = LEGAL[key](value)
            except ValueError as error:
                problems.append(f"slurm {key} {value!r} is not {error}")
    if unknown:
        legal = ", ".join(LEGAL)
        problems.append(f"slurm {' and '.join(unknown)} is not KEY=VALUE with a KEY of {legal}")
    cluster, minutes = found.pop("cluster", "slurm"), found.pop("time", MINUTES)
    cores = found.pop("cpus_per_task", threads)
    if cores < threads:
        problems.append(f"slurm cpus_per_task {cores} is fewer than the {threads} of a worker")
    if device == "cuda" and not {"gpus_per_node", "gres"} & found.keys():
        found["gpus_per_node"] = 1
    if cluster == "slurm" and shutil.which("sbatch") is None:
        problems.append(
            "backend 'slurm': there is no sbatch on this machine; run it where jobs are submitted, "
            "or try it with processes in the place of jobs (--slurm cluster=local)"
        )
    workers = cores // max(threads, 1) if device != "cuda" else 1
    return Allocation(cluster, minutes, cores, workers, tuple(setup), found), problems


def parts_by_time(
    cells: Sequence[Cell], seconds: Mapping[str, float], allocation: Allocation, jobs: int
) -> list[tuple[Cell, ...]]:
    """Cells for jobs that are expected to take equally long, in their order: at least so many where there are as many
    cells, and more where jobs would not come to their end in time.

    `seconds` is what each cell is expected to take, by its key.
    """
    total = sum(seconds[cell.key] for cell in cells) or 1.0
    limit = SHARE_OF_TIME * 60 * allocation.minutes * allocation.workers
    count = min(max(jobs, int(-(-total // limit))), len(cells), MOST_JOBS)
    parts: list[list[Cell]] = [[] for _ in range(count)]
    begun = 0.0
    for cell in cells:
        middle = begun + seconds[cell.key] / 2
        parts[min(int(middle / total * count), count - 1)].append(cell)
        begun += seconds[cell.key]
    return [tuple(part) for part in parts if part]


def _text(value: str) -> str:
    if not value.isprintable():
        raise ValueError("a line of text")
    return value


def _count(value: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", value) or int(value) < 1:
        raise ValueError("a number from 1")
    return int(value)


def _cluster(value: str) -> str:
    if value not in CLUSTERS:
        raise ValueError(f"one of {', '.join(CLUSTERS)}")
    return value


def _minutes(value: str) -> int:
    """`90`, `90:00` and `1:30:00` are 90 minutes, `1-0` is a day; a rest of seconds counts as a minute."""
    match = TIME.fullmatch(value)
    if match is None:
        raise ValueError(LEGAL_MINUTES)
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is None:  # minutes, minutes:seconds or hours:minutes:seconds
        numbers = {1: [0, *numbers, 0], 2: [0, *numbers], 3: numbers}[len(numbers)]
    hours, minutes, seconds = [*numbers, 0, 0][:3]
    total = (int(days or 0) * 24 + hours) * 60 + minutes + (seconds > 0)
    if not 0 < total < 10**6:
        raise ValueError(LEGAL_MINUTES)
    return total


# Key -> what reads its value. But for the first three, sbatch's own options, as submitit spells them.
LEGAL: Mapping[str, Callable[[str], Any]] = {
    "cluster": _cluster,
    "setup": _text,
    "signal_delay_s": _count,
    "time": _minutes,
    "cpus_per_task": _count,
    "gpus_per_node": _count,
    **dict.fromkeys(
        (
            *("account", "partition", "qos", "constraint", "gres", "nodelist", "exclude"),
            *("mem", "mem_per_cpu", "mem_per_gpu", "dependency", "comment", "wckey"),
            *("mail_type", "mail_user"),
        ),
        _text,
    ),
}
