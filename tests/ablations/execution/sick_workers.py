"""Main loops of workers that go wrong, in the place of the real one. Apart from tests, so that they start at once."""

import os
import time
from dataclasses import replace
from multiprocessing import connection as mpc
from pathlib import Path

from ablations.execution.events import STARTED, Apart, DeviceLost
from ablations.execution.messages import LENGTH, Inbox, send
from ablations.study.outcome import Outcome


def hang(connection, device, threads, driver):
    """In the place of a worker's main loop."""
    time.sleep(600)


def send_half_a_message(connection, device, threads, driver):
    os.read(connection.fileno(), 1 << 20)
    send(connection, STARTED)
    os.write(connection.fileno(), LENGTH.pack(1000) + b"half")
    time.sleep(600)


def send_half_a_message_and_die(connection, device, threads, driver):
    os.read(connection.fileno(), 1 << 20)
    os.write(connection.fileno(), LENGTH.pack(1000) + b"half")
    os._exit(3)


def run_out_of_memory_with_more_than_one_cell(connection, device, threads, driver):
    inbox = Inbox(connection)
    while True:
        mpc.wait([connection])
        job = inbox.next()
        send(connection, STARTED)
        status = "ok" if len(job) == 1 else "oom"
        send(connection, [Outcome(status, f"{len(job)} cells")] * len(job))


def lose_the_first_device_in_training(connection, device, threads, driver):
    """`first` fails in the middle of a pack as CUDA does, and no new process can use it; `second` trains on the CPU."""
    from ablations.execution.packs import train_cells

    lost = Path(os.environ["LOST_DEVICE"])
    if device == "first" and lost.exists():
        send(connection, DeviceLost("first cannot be used: CUDA error: no device"))
        return

    def epoch(done):
        if device == "first":
            lost.touch()
            raise RuntimeError("CUDA error: unspecified launch failure")
        send(connection, done)

    inbox = Inbox(connection)
    while True:
        mpc.wait([connection])
        job = inbox.next()
        send(connection, STARTED)
        outcomes = [replace(outcome, device=device) for outcome in train_cells(job, "cpu", epoch)]
        send(connection, outcomes)


def fail_to_record_more_than_one_cell(connection, device, threads, driver):
    inbox, spoilt = Inbox(connection), False
    while True:
        mpc.wait([connection])
        job = inbox.next()
        send(connection, STARTED)
        if len(job) > 1:
            spoilt = True
            send(connection, Apart("no", spoilt=True))
        else:
            send(connection, [Outcome("ok", "the same process" if spoilt else "another process")])
