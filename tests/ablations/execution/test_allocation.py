"""What a job of Slurm asks for, and which cells it trains."""

import pytest
import submitit
from hypothesis import given
from hypothesis import strategies as st

from ablations.driver import Options
from ablations.execution.allocation import (
    LEGAL,
    MOST_JOBS,
    SHARE_OF_TIME,
    Allocation,
    parse_allocation,
    parts_by_time,
)
from ablations.study.reader import parse_study
from tests.ablations.tiny import TEXT

CELLS = parse_study(TEXT.replace("seeds = 3", "seeds = 60"), name="tiny", source="tiny").cells()


def allocation(*texts, threads=1, device="cpu"):
    found, problems = parse_allocation(["cluster=local", *texts], threads, device)
    assert not problems
    return found


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("90:00", 90),
        ("90:01", 91),
        ("1:30:00", 90),
        ("0:00:01", 1),
        ("1-0", 1440),
        ("1-2:30", 1590),
        ("1-2:30:01", 1591),
    ],
)
def test_times_are_read_as_sbatch_reads_them(text, minutes):
    assert allocation(f"time={text}").minutes == minutes


def test_settings_have_the_types_that_submitit_wants():
    found = allocation(
        "partition=short", "setup=module load a", "setup=b=1", "cpus_per_task=5", threads=2
    )
    assert found.parameters == {"partition": "short"}
    assert found.setup == ("module load a", "b=1")
    assert (found.cores, found.workers) == (5, 2)
    assert [found.jobs_at_once(workers) for workers in (1, 2, 3, 16)] == [1, 1, 2, 8]


def test_a_job_on_cuda_has_a_gpu_and_one_worker():
    assert allocation(device="cuda").parameters == {"gpus_per_node": 1}
    assert allocation("gres=gpu:h200:1", device="cuda").parameters == {"gres": "gpu:h200:1"}
    assert allocation("cpus_per_task=8", device="cuda").workers == 1


def test_every_key_is_one_of_submitits():
    own = {"cluster", "setup", "time", "cpus_per_task", "gpus_per_node"}
    assert LEGAL.keys() - own <= submitit.SlurmExecutor._valid_parameters()


def test_all_mistakes_are_told_at_once(monkeypatch):
    monkeypatch.setenv("PATH", "")
    texts = ("partition", "x=1", "time=4h", "gpus_per_node=0", "qos=a", "qos=b", "comment=a\nb")
    with pytest.raises(ValueError, match="is not KEY=VALUE") as caught:
        Options("cpu", 4, 2, backend="slurm", slurm=(*texts, "cpus_per_task=1", "time=9:99:99:9"))
    for words in (
        "slurm 'partition' and 'x=1' is not KEY=VALUE with a KEY of cluster, setup",
        "slurm time '4h' is not minutes, or hours:minutes:seconds",
        "slurm time '9:99:99:9' is not minutes",
        "slurm gpus_per_node '0' is not a number from 1",
        "slurm 'qos' is given twice",
        "slurm comment 'a\\nb' is not a line of text",
        "slurm cpus_per_task 1 is fewer than the 2 of a worker",
        "there is no sbatch on this machine",
    ):
        assert words in str(caught.value)
    with pytest.raises(ValueError, match="slurm settings are for backend 'slurm'"):
        Options("cpu", slurm=("time=5",))
    with pytest.raises(ValueError, match="say how many workers"):
        Options("cpu", backend="slurm", slurm=("cluster=local",))


@given(
    st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=len(CELLS)),
    st.integers(1, 20),
    st.integers(1, 600),
    st.integers(1, 8),
)
def test_jobs_keep_the_order_share_the_time_and_end_before_their_limit(
    times, jobs, minutes, workers
):
    cells = CELLS[: len(times)]
    seconds = {cell.key: time for cell, time in zip(cells, times, strict=True)}
    found = Allocation(minutes=minutes, workers=workers)
    parts = parts_by_time(cells, seconds, found, jobs)
    assert [cell for part in parts for cell in part] == cells
    assert all(parts)
    assert len(parts) <= min(len(cells), MOST_JOBS)
    count = min(max(jobs, sum(times) / (SHARE_OF_TIME * 60 * minutes * workers)), len(cells))
    for part in parts:  # what is more than an equal share is less than one cell
        own = [seconds[cell.key] for cell in part]
        assert sum(own) <= sum(times) / count + max(own) * (1 + 1e-9)
    if len(set(times)) == 1:
        assert len(parts) >= min(jobs, len(cells))
