"""Signals and lost readers: finished cells are safe, the way on is told, and exit codes mean what they say."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ablations.records.database import database_path
from ablations.records.store import Store
from ablations.study.outcome import Outcome
from ablations.study.reader import load_study
from tests.ablations.tiny import TEXT, write_tiny

ENDLESS = TEXT.replace("epochs = 2", "epochs = 100000")


def default_signals():
    """A shell starts its background jobs with signals ignored, and so would be what they start."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def start(tmp_path, before=default_signals):
    """A run in the middle of its first epochs, and its workers."""
    study, results = write_tiny(tmp_path, ENDLESS), tmp_path / "results"
    arguments = ["-m", "ablations.run", str(study), "--results", str(results), "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )
    deadline = time.monotonic() + 120
    driver = psutil.Process(process.pid)
    try:
        while not (workers := [c for c in driver.children() if "spawn_main" in command(c)]):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process, workers


def command(process):
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it has ended since it was listed
        return ""


def gone(workers):
    return not psutil.wait_procs(workers, timeout=1)[1] or not any(map(runs, workers))


def runs(worker):
    """Whether a process is there and no zombie; one that ends in between is not."""
    try:
        return worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # also what psutil raises of zombies
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_and_tells_how_to_go_on(tmp_path, number):
    process, workers = start(tmp_path)
    with process:
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Finished cells are safe; go on with: python -m ablations.run" in errors
    assert "Traceback" not in errors
    assert gone(workers)


def test_a_second_signal_ends_it_at_once(tmp_path):
    process, workers = start(tmp_path)
    with process:
        process.send_signal(signal.SIGSTOP)  # so that both are there before the first is answered
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert gone(workers)
    with Store.read(database_path(tmp_path / "results", "tiny")) as store:
        assert store.statuses() == {}


@pytest.mark.slow
def test_nohup_is_respected(tmp_path):
    def ignore():
        default_signals()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process, _ = start(tmp_path, ignore)
    with process:
        process.send_signal(signal.SIGHUP)
        time.sleep(2)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 130


@pytest.fixture
def failed(tmp_path):
    """Results of cells that all failed, so that `run` has much to say, trains nothing and exits with 1."""
    study = load_study(write_tiny(tmp_path))
    with Store.write(database_path(tmp_path, "tiny")) as store:
        for cell in study.cells():
            store.put(cell, Outcome("error", "why"), {})
    return tmp_path


def shell(command, folder):
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("$PYTHON -m ablations list --results . | true; echo ${PIPESTATUS[0]}", "0"),
        ("$PYTHON -m ablations list --results . 2>&- >&-; echo $?", "0"),
        (
            "$PYTHON -m ablations.run tiny.toml --results . 2>&1 | head -c 1 >/dev/null; echo ${PIPESTATUS[0]}",
            "1",
        ),
    ],
)
def test_a_reader_that_goes_away_changes_no_exit_code(failed, command, code):
    done = shell(command, failed)
    assert done.stdout.splitlines()[-1] == code
    assert "Traceback" not in done.stderr


def test_output_that_a_full_disk_lost_is_no_success(failed):
    done = shell("$PYTHON -m ablations list --results . >/dev/full; echo $?", failed)
    assert done.stdout.strip() != "0"


def test_names_that_are_no_text_are_told_without_a_traceback(tmp_path):
    name = os.fsdecode(b"caf\xe9.toml")
    (tmp_path / name).write_text(TEXT)
    for arguments in (["ablations.run", name], ["ablations", "compare", name[:-5]]):
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == 2
        assert b"Traceback" not in done.stderr
        assert done.stderr
