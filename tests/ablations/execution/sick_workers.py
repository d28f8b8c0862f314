"""Main loops of workers that go wrong, in the place of the real one. Apart from tests, so that they start at once."""

import os
import time
from multiprocessing import connection as mpc

from ablations.execution.events import STARTED
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
