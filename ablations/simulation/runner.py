"""Running a simulation: settings with random streams of their own, on several processes, into a table and a page."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import pandas as pd
import typer

S = TypeVar("S")  # a setting
F = TypeVar("F")  # a finding

Study = Callable[[S, int, np.random.Generator], list[F]]  # setting, replications -> findings
Planned = tuple[Study[S, F], S, float]  # with its share of the replications
Rows = Callable[[int, int, int], pd.DataFrame]  # replications, seed, workers -> a row a finding


def _run(job: tuple[Study[S, F], S, int, np.random.SeedSequence]) -> list[F]:
    study, setting, replications, seed = job
    return study(setting, replications, np.random.default_rng(seed))


def run_settings(
    planned: Iterable[Planned[S, F]], replications: int, seed: int, workers: int, *, fewest: int
) -> list[F]:
    """What every setting finds, in order, each in its share of the replications or `fewest`.

    The same for any number of workers.
    """
    plan = list(planned)
    seeds = np.random.SeedSequence(seed).spawn(len(plan))
    jobs = [
        (study, setting, max(round(replications * share), fewest), child)
        for (study, setting, share), child in zip(plan, seeds, strict=True)
    ]
    with ProcessPoolExecutor(workers) as pool:
        return [row for found in pool.map(_run, jobs) for row in found]


@dataclass(frozen=True)
class Simulation:
    """A simulation as a command: `python -m MODULE` writes `NAME.csv` and `NAME.md`."""

    module: str
    name: str
    replications: int
    rows: Rows
    page: Callable[[pd.DataFrame, str], str]  # table, command -> the page

    def main(self) -> None:
        """The command line."""

        def command(
            replications: Annotated[int, typer.Option(help="of a setting at full share")] = (
                self.replications
            ),
            seed: Annotated[int, typer.Option(help="of all random numbers")] = 2026,
            workers: Annotated[int, typer.Option(help="processes")] = os.cpu_count() or 1,
            output: Annotated[Path, typer.Option(help="directory of the table")] = Path(
                "results/statistics"
            ),
        ) -> None:
            start = time.perf_counter()
            table = self.rows(replications, seed, workers)
            output.mkdir(parents=True, exist_ok=True)
            table.to_csv(output / f"{self.name}.csv", index=False, float_format="%.6g")
            words = f"python -m {self.module} --replications {replications} --seed {seed}"
            (output / f"{self.name}.md").write_text(self.page(table, words), encoding="utf-8")
            seconds = time.perf_counter() - start
            print(f"{len(table)} rows in {seconds:.0f} s: {output}", file=sys.stderr)

        command.__doc__ = f"Simulate, and write {self.name}.csv and {self.name}.md."
        typer.run(command)
