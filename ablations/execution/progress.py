"""Progress of a run on stderr: a bar in a terminal, a plain line a finished cell anywhere else."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Never, TextIO

from tqdm import tqdm

from ablations.execution.cost import duration
from ablations.study.outcome import Outcome
from ablations.study.study import Cell


class ProgressReport:
    """Counts cells; the time left is weighted by what cells cost, as a wide net takes longer than a narrow one."""

    def __init__(
        self,
        todo: Sequence[Cell],
        cached: int,
        seconds: Mapping[str, float],
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
    ) -> None:
        self.stream = Patient(stream or sys.stderr)
        self.seconds = seconds
        self.cached, self.total = cached, len(todo)
        self.counts: Counter[str] = Counter()
        self.epochs: dict[str, int] = {}
        self.densely: set[str] = set()
        self.quiet = quiet
        self.bar: tqdm[Never] | None = None
        if not quiet and self.stream.is_screen():
            self.bar = tqdm(
                total=sum(seconds[cell.key] for cell in todo),
                file=self.stream,
                bar_format="{percentage:3.0f}%|{bar}| {desc}, {elapsed} elapsed, {remaining} left",
                dynamic_ncols=True,
            )
        self._describe()

    def __enter__(self) -> ProgressReport:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def epoch(self, cell: Cell, epoch: int) -> None:
        """A cell in flight has done so many epochs."""
        self._advance(cell, epoch)

    def finished(self, cell: Cell, outcome: Outcome) -> None:
        """A cell has ended; a failure and a fall-back to dense training are told at once."""
        self._advance(cell, cell.protocol.epochs)
        self.counts["done" if outcome.status == "ok" else "failed"] += 1
        self._describe()
        name = f"{cell.variant.name} seed {cell.seed}"
        if outcome.status != "ok":
            reason = (outcome.message.strip().splitlines() or ["no message"])[-1]
            self._line(f"{name}: {outcome.status}: {reason}")
        elif outcome.message and cell.variant.name not in self.densely:
            self.densely.add(cell.variant.name)
            self._line(f"{cell.variant.name}: {outcome.message}")
        if self.bar is None and outcome.status == "ok" and len(outcome.val_mse):
            final = f"val MSE {outcome.val_mse[-1]:.4g}, {duration(outcome.seconds)}"
            ended = sum(self.counts.values())
            self._line(f"[{ended}/{self.total}] {name}: {final}")

    def _advance(self, cell: Cell, epoch: int) -> None:
        new = epoch - self.epochs.get(cell.key, 0)
        self.epochs[cell.key] = epoch
        if self.bar is not None:
            self.bar.update(self.seconds[cell.key] * new / cell.protocol.epochs)

    def _describe(self) -> None:
        if self.bar is not None:
            ended = f"{self.counts['done']}/{self.total} cells, {self.counts['failed']} failed"
            self.bar.set_description_str(f"{ended}, {self.cached} cached")

    def _line(self, text: str) -> None:
        if self.quiet:
            return
        # What a cell's exception says may hold anything, and a terminal obeys control characters.
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
        if self.bar is not None:
            self.bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)


class Patient:
    """A stream whose reader may go away: that nobody listens is no reason to stop training."""

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream  # None: there never was one, as after `2>&-`

    def write(self, text: str) -> int:
        self._call("write", text)
        return len(text)

    def flush(self) -> None:
        self._call("flush")

    def is_screen(self) -> bool:
        """Whether a bar can be seen: the terminals of some containers and consoles say that they have no columns."""
        stream = self.stream
        if stream is None or stream.closed or not stream.isatty():
            return False
        return os.get_terminal_size(stream.fileno()).columns > 0

    def fileno(self) -> int:
        if self.stream is None:
            raise OSError("nobody listens")
        return self.stream.fileno()

    def _call(self, method: str, *arguments: str) -> None:
        if self.stream is None:
            return
        try:
            getattr(self.stream, method)(*arguments)
        except (OSError, ValueError):  # its reader is gone, or it is closed
            self.stream = None
