"""Messages from a worker to its driver, read without ever waiting for the rest of one.

A worker may be stopped or killed in the middle of a message; the driver has others to look after.
"""

from __future__ import annotations

import os
import pickle
import select
import struct
from multiprocessing import connection as mpc
from typing import Any

LENGTH = struct.Struct("!Q")
CHUNK = 1 << 20  # bytes


class DisconnectedError(Exception):
    """The other end is closed or broken, and all whole messages have been read."""


def send(connection: mpc.Connection, message: Any) -> None:
    """Send a message, waiting while the other end is busy. Raises OSError where there is none."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    rest = memoryview(LENGTH.pack(len(body)) + body)
    writable = select.poll()
    writable.register(connection.fileno(), select.POLLOUT)
    while rest:
        try:
            rest = rest[os.write(connection.fileno(), rest) :]
        except BlockingIOError:  # an inbox has made the connection so, for both directions
            writable.poll()


class Inbox:
    """What has arrived on a connection, message by message."""

    def __init__(self, connection: mpc.Connection) -> None:
        self.connection = connection
        self.received = bytearray()
        os.set_blocking(connection.fileno(), False)

    def next(self) -> Any | None:
        """The next message if all of it is there, else None. Raises DisconnectedError."""
        message = self._whole()
        while message is None:
            try:
                chunk = os.read(self.connection.fileno(), CHUNK)
            except BlockingIOError:
                return None
            except OSError as error:
                raise DisconnectedError from error
            if not chunk:
                raise DisconnectedError
            self.received += chunk
            message = self._whole()
        return message

    def _whole(self) -> Any | None:
        if len(self.received) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack_from(self.received)
        end = LENGTH.size + length
        if len(self.received) < end:
            return None
        message = pickle.loads(self.received[LENGTH.size : end])
        del self.received[:end]
        return message
