"""What a person sees of a run: a bar where there is a screen, else a line a cell, failures always."""

import contextlib
import fcntl
import io
import os
import pty
import struct
import termios

import numpy as np
import pytest

from ablations.execution.progress import ProgressReport
from ablations.study.outcome import Outcome
from ablations.study.reader import parse_study
from tests.ablations.tiny import TEXT

CELLS = parse_study(TEXT, name="tiny", source="tiny.toml").cells()[:2]
END = "\N{END OF TRANSMISSION}end"
OK = Outcome("ok", seconds=3.0, train_loss=np.array([2.0]), val_mse=np.array([1.5]))


def report_to(stream):
    """A run of two cells, one cached before; the second fails."""
    seconds = {cell.key: 1.0 for cell in CELLS}
    with ProgressReport(CELLS, 1, seconds, stream=stream) as report:
        report.epoch(CELLS[0], 0)
        report.epoch(CELLS[0], 1)
        report.finished(CELLS[0], OK)
        report.finished(CELLS[1], Outcome("oom", "traceback\nMemoryError: no"))


def terminal_output(columns):
    """What a terminal of so many columns is sent."""
    driver, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(side, "w") as stream:
        report_to(stream)
        stream.write(END)
        stream.flush()
        sent = ""
        while END not in sent:  # a terminal hands on what it has so far
            sent += os.read(driver, 65536).decode()
    os.close(driver)
    return sent.removesuffix(END)


PLAIN = ["[1/2] none seed 0: val MSE 1.5, 3 s"]
FAILURE = "cartesian seed 0: oom: MemoryError: no"


def test_a_file_gets_a_line_a_cell():
    stream = io.StringIO()
    report_to(stream)
    assert stream.getvalue().splitlines() == [*PLAIN, FAILURE]


def test_a_terminal_gets_a_bar_and_failures():
    sent = terminal_output(columns=100)
    assert "1/2 cells, 1 failed, 1 cached" in sent
    assert FAILURE in sent
    assert PLAIN[0] not in sent


def test_a_terminal_without_columns_gets_lines():
    assert terminal_output(columns=0).splitlines() == [*PLAIN, FAILURE]


def test_a_quiet_run_says_nothing():
    stream = io.StringIO()
    seconds = {cell.key: 1.0 for cell in CELLS}
    with ProgressReport(CELLS, 0, seconds, quiet=True, stream=stream) as report:
        report.finished(CELLS[1], Outcome("error", "why"))
    assert stream.getvalue() == ""


class Broken(io.StringIO):
    """What a pipe is whose reader is gone."""

    def write(self, text):
        raise BrokenPipeError


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [Broken(), closed()])
def test_a_reader_that_goes_away_stops_nothing(stream):
    report_to(stream)


def test_a_terminal_that_goes_away_stops_nothing():
    driver, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    stream = os.fdopen(side, "w")
    seconds = {cell.key: 1.0 for cell in CELLS}
    with ProgressReport(CELLS, 0, seconds, stream=stream) as report:
        report.epoch(CELLS[0], 1)
        os.close(driver)
        report.finished(CELLS[0], OK)
        report.finished(CELLS[1], Outcome("error", "why"))
    with contextlib.suppress(OSError):
        stream.close()


def test_nobody_to_tell_stops_nothing(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)  # 2>&-
    report_to(None)


@pytest.mark.parametrize("message", ["", "  \n ", "a\x1b[2Jb"])
def test_whatever_a_failure_says_is_told_in_one_printable_line(message):
    stream = io.StringIO()
    seconds = {cell.key: 1.0 for cell in CELLS}
    with ProgressReport(CELLS, 0, seconds, stream=stream) as report:
        report.finished(CELLS[1], Outcome("error", message))
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
