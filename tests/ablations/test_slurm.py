"""Cells in jobs, of processes in the place of Slurm and of Slurm's commands as a script has them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ablations import slurm
from ablations.driver import Options
from ablations.execution.events import Finished
from ablations.records.database import database_path
from ablations.records.merging import merge
from ablations.records.store import Store
from ablations.slurm import run_cells_on_slurm, train_part
from ablations.study.reader import load_study
from tests.ablations import fake_slurm, sick_jobs
from tests.ablations.tiny import TEXT, write_tiny

ONE_NET = TEXT.replace('["none", "cartesian"]', '"none"')


@pytest.fixture
def directory(tmp_path):
    """The folder of a study's results at the beginning of a run."""
    folder = tmp_path / "results" / "tiny"
    folder.mkdir(parents=True)
    shutil.copy(write_tiny(tmp_path, ONE_NET), folder / "study.toml")
    return folder


def options(*settings, workers=1, cluster="local"):
    return Options("cpu", workers, backend="slurm", slurm=(f"cluster={cluster}", *settings))


def run(directory, *settings, **where):
    """Run what is not stored yet, as a driver does: the events, and the error that they end with."""
    found, error = [], None
    with Store.write(database_path(directory.parent, "tiny")) as store:
        known = store.statuses()
        cells = [c for c in load_study(directory / "study.toml").cells() if c.key not in known]
        seconds = {cell.key: 1.0 for cell in cells}
        try:
            for event in run_cells_on_slurm(cells, seconds, options(*settings, **where), directory):
                assert isinstance(event, Finished)
                found.append(event)
                store.put(event.cell, event.outcome, event.provenance, event.ended)
        except ConnectionError as raised:
            error = raised
    return found, error


def told(found):
    return [(event.cell.seed, event.outcome.status) for event in found]


def nothing_is_submitted(*arguments):
    raise AssertionError("a job was submitted")


def command(directory, *more):
    settings = ["--backend", "slurm", "--slurm", "cluster=local", "--workers", "2"]
    study = write_tiny(directory.parent.parent, (directory / "study.toml").read_text())
    arguments = [str(study), "--results", str(directory.parent), *settings, *more]
    return subprocess.Popen(
        [sys.executable, "-m", "ablations.run", *arguments], stderr=subprocess.PIPE, text=True
    )


def jobs_at_work(directory, count):
    """The processes of so many jobs, as soon as each has begun with a cell."""
    deadline = time.monotonic() + 240
    locks = []
    while len(locks) < count or not all(lock.read_text() for lock in locks):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        locks = list(directory.glob("slurm/part-*/tiny/results.sqlite.lock"))
    return [psutil.Process(json.loads(lock.read_text())["pid"]) for lock in locks]


def test_what_a_job_leaves_is_submitted_again_until_one_finishes_nothing(directory, monkeypatch):
    monkeypatch.setattr(slurm, "train_part", sick_jobs.finish_one_and_die)
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.1)
    found, error = run(directory)
    assert told(found) == [(0, "ok"), (1, "ok")]
    assert [event.provenance for event in found] == [{"cells": 3}, {"cells": 2}]
    assert "not trained: 1 of 3 cells, as job " in str(error)
    assert "(out of luck); see " in str(error)
    assert Path(str(error).partition("; see ")[2].partition(". Finished")[0]).is_file()
    monkeypatch.setattr(slurm, "train_part", sick_jobs.finish_all)
    found, error = run(directory)
    assert (told(found), error) == ([(2, "ok")], None)
    assert not (directory / "slurm").exists()


def test_on_slurm_the_jobs_are_an_array(directory, tmp_path, monkeypatch):
    script = shutil.copy(fake_slurm.__file__, tmp_path)
    for name in ("sbatch", "srun", "squeue", "scancel"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {script} {name} "$@"\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.1)
    found, error = run(directory, "partition=closed", cluster="slurm")
    assert not found
    assert "Slurm does not take the jobs: sbatch: error: invalid partition" in str(error)
    monkeypatch.setattr(slurm, "train_part", sick_jobs.finish_all)
    found, error = run(directory, "setup=export SET_UP=yes", cluster="slurm", workers=2)
    assert error is None
    assert sorted(told(found)) == [(0, "oom"), (1, "ok"), (2, "ok")]
    assert all(event.provenance == {"setup": "yes"} for event in found)
    assert not (directory / "slurm").exists()


def test_a_part_that_no_driver_took_over_is_one_for_merge_and_for_the_next_run(
    directory, tmp_path, monkeypatch
):
    """A driver was killed between submitting a job and noting it, and the job has run since."""
    cells = load_study(directory / "study.toml").cells()
    folder = slurm._Queue(directory, options())._new_part(cells[1:])
    sick_jobs.finish_all(folder, "tiny", cells[1:], None)
    (merged,) = merge([folder], tmp_path / "other")
    assert merged.added == 2
    monkeypatch.setattr(slurm, "train_part", sick_jobs.finish_all)
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.1)
    found, error = run(directory)
    assert (told(found), error) == ([(1, "ok"), (2, "ok"), (0, "oom")], None)
    assert not (directory / "slurm").exists()
    train_part(folder, "tiny", cells, options())  # which was in the queue until now
    assert not folder.exists()


def test_jobs_outlive_their_driver_and_the_next_one_finds_them(directory, monkeypatch):
    with command(directory) as driver:
        jobs = jobs_at_work(directory, 2)
        driver.kill()
    assert all(job.is_running() for job in jobs)
    monkeypatch.setattr(slurm, "parts_by_time", nothing_is_submitted)
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.1)
    found, error = run(directory)
    assert (sorted(told(found)), error) == ([(0, "ok"), (1, "ok"), (2, "ok")], None)
    assert not (directory / "slurm").exists()


def test_ctrl_c_cancels_the_jobs(directory):
    text = (directory / "study.toml").read_text()
    (directory / "study.toml").write_text(text.replace("epochs = 2", "epochs = 100000"))
    with command(directory) as driver:
        jobs = jobs_at_work(directory, 2)
        driver.send_signal(signal.SIGINT)
        _, said = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "Interrupted. Finished cells are safe; go on with: python -m ablations.run" in said
    assert not psutil.wait_procs(jobs, timeout=20)[1]
