"""Main loops of workers that go wrong, in the place of the real one. Apart from tests, so that they start at once."""

import os
import time

from ablations.execution.messages import LENGTH, send
from ablations.execution.workers import STARTED


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
