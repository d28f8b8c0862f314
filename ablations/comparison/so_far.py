"""A study as far as it has come, while it runs: counts, what is left, and each variant's number with its interval.

Looked at again and again, so that a cell's predictions are read once and on one split, that of fewest images.
"""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ablations.comparison.aggregates import AGGREGATES
from ablations.comparison.scored import estimators
from ablations.records.database import database_path
from ablations.records.folder import exported_rows
from ablations.records.results import SplitResults, VariantResults
from ablations.records.running import Driver, driver_at_work
from ablations.records.store import Store
from ablations.records.yardsticks import stored_yardsticks
from ablations.study.study import Cell, Study, Variant
from linefit.images import SPLITS, of_lab_prior
from linefit.known_risk import REFERENCE
from linefit.splits import evaluation_images

METRIC = "mse"
CONFIDENCE = 0.95
FAILURES_TOLD = 3


@dataclass(frozen=True)
class VariantSoFar:
    """A variant: cells that are there, its MSE with an interval (from 3 seeds on) and the ratio to least squares.

    `curve`: median over its seeds that are ok of the MSE on val by epoch.
    """

    name: str
    ok: int
    failed: int
    seeds: int  # that the study asks for
    mse: float
    low: float
    high: float
    ratio: float
    curve: npt.NDArray[np.float64]


@dataclass(frozen=True)
class SoFar:
    """A study at one moment. `variants` that have cells are in the order of their MSE."""

    study: Study
    split: str
    n_images: int
    driver: Driver | None
    cells: int
    done: int
    failed: int
    running: Mapping[str, float]  # name of a cell in flight -> share of its epochs that is done
    per_hour: float  # cells that this run has ended in an hour, NaN before the first
    seconds_left: float  # at this run's pace, NaN where nobody works or there is no pace yet
    variants: Sequence[VariantSoFar]
    failures: Sequence[str]  # the latest, in words
    exported: int = 0  # cells that exports hold where no database is

    @property
    def todo(self) -> int:
        return self.cells - self.done - self.failed


class Watch:
    """Looks at a study again and again; whether a driver is at work, or a database there, does not matter."""

    def __init__(self, study: Study, results_dir: Path, split: str | None = None) -> None:
        """Raises ValueError for a split that the study does not evaluate on."""
        if split is not None and split not in study.splits:
            raise ValueError(f"split {split!r} is not one of {', '.join(study.splits)}")
        self.study, self.results_dir = study, results_dir
        self.split = split or min(study.splits, key=lambda name: SPLITS[name].size)
        self.lines: dict[str, npt.NDArray[np.float32]] = {}
        self.curves: dict[str, npt.NDArray[np.float64]] = {}
        self.known: dict[tuple[str, ...], VariantSoFar] = {}  # keys of a variant's cells -> it
        self.yardsticks: Mapping[str, npt.NDArray[np.float64]] | None = None

    def look(self) -> SoFar:
        """The study now. Raises StoreError for a database that cannot be read at this moment."""
        driver = driver_at_work(self.results_dir, self.study.name)
        with Store.read(database_path(self.results_dir, self.study.name)) as store:
            seeds = sorted({*self.study.seeds, *(() if store is None else store.seeds())})
            cells = self.study.cells(seeds)
            rows = {} if store is None else store.finished()
            ended = {cell.key: rows[cell.key] for cell in cells if cell.key in rows}
            wanted = set(self.study.seeds)
            cells = [cell for cell in cells if cell.key in ended or cell.seed in wanted]
            variants = [] if store is None or not ended else self._variants(store, cells, ended)
            failures = [] if store is None else _failures(store, cells, ended)
        exported = 0 if rows else len(exported_rows(self.study.name, self.results_dir))
        done = sum(status == "ok" for status, _, _ in ended.values())
        flying = {} if driver is None else driver.epochs
        running = {
            cell.key: min(flying[cell.key] / cell.protocol.epochs, 1.0)
            for cell in cells
            if cell.key in flying and cell.key not in ended
        }
        per_hour, left = _pace(cells, ended, running, driver)
        names = {cell.key: f"{cell.variant.name} seed {cell.seed}" for cell in cells}
        return SoFar(
            study=self.study,
            split=self.split,
            n_images=SPLITS[self.split].size,
            driver=driver,
            cells=len(cells),
            done=done,
            failed=len(ended) - done,
            running={names[key]: share for key, share in running.items()},
            per_hour=per_hour,
            seconds_left=left,
            variants=sorted(variants, key=lambda variant: (np.isnan(variant.mse), variant.mse)),
            failures=failures,
            exported=exported,
        )

    def _variants(
        self, store: Store, cells: Sequence[Cell], ended: Mapping[str, tuple[str, float, str]]
    ) -> list[VariantSoFar]:
        own: dict[str, list[Cell]] = {}
        for cell in cells:
            if cell.key in ended:
                own.setdefault(cell.variant.name, []).append(cell)
        found = []
        for variant in self.study.variants:
            there = own.get(variant.name, [])
            keys = tuple(cell.key for cell in there)
            if there and variant.not_applicable(self.split) is not None:
                continue  # it has cells that are done, and nothing to show on this split
            if there and keys not in self.known:
                statuses = [ended[key][0] for key in keys]
                self.known[keys] = self._variant(store, variant, there, statuses)
            if there:
                found.append(self.known[keys])
        return found

    def _variant(
        self, store: Store, variant: Variant, cells: Sequence[Cell], statuses: Sequence[str]
    ) -> VariantSoFar:
        if self.yardsticks is None:
            self.yardsticks = stored_yardsticks(self.study, store, self.split)
        params = evaluation_images(self.split).params
        failed = np.full(params.shape, np.nan, dtype=np.float32)
        for cell in cells:
            if cell.key not in self.lines:
                found = store.lines(cell.key, self.split)
                self.lines[cell.key] = failed if found is None else found
                self.curves[cell.key] = store.val_curve(cell.key)
        results = VariantResults(
            variant.name,
            variant.levels,
            np.array([cell.seed for cell in cells]),
            tuple(statuses),
            np.stack([self.lines[cell.key] for cell in cells]),
        )
        split = SplitResults(
            self.split,
            params,
            (results,),
            self.yardsticks,
            of_lab_prior(self.split),
            dim=SPLITS[self.split].dim,
        )
        known = estimators(split, METRIC)
        scores, reference = known[variant.name].scores, known[REFERENCE].scores
        interval = AGGREGATES["mean"].interval(scores, CONFIDENCE)
        mse = float(scores.mean())
        ok = statuses.count("ok")
        return VariantSoFar(
            name=variant.name,
            ok=ok,
            failed=len(cells) - ok,
            seeds=max(len(self.study.seeds), len(cells)),
            mse=mse,
            low=interval.low if interval else np.nan,
            high=interval.high if interval else np.nan,
            ratio=mse / float(reference.mean()),
            curve=_median_curve(
                [
                    self.curves[c.key]
                    for c, status in zip(cells, statuses, strict=True)
                    if status == "ok"
                ]
            ),
        )


def _median_curve(curves: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Median over cells of each epoch; empty without cells."""
    return np.median(curves, axis=0) if curves else np.empty(0)


def _failures(
    store: Store, cells: Sequence[Cell], ended: Mapping[str, tuple[str, float, str]]
) -> list[str]:
    bad = [cell for cell in cells if ended.get(cell.key, ("ok",))[0] != "ok"]
    latest = sorted(bad, key=lambda cell: ended[cell.key][2], reverse=True)[:FAILURES_TOLD]
    told = []
    for cell in latest:
        reason = (store.message(cell.key).strip().splitlines() or ["no message"])[-1]
        told.append(f"{cell.variant.name} seed {cell.seed}: {ended[cell.key][0]}: {reason}")
    return told


def _pace(
    cells: Sequence[Cell],
    ended: Mapping[str, tuple[str, float, str]],
    running: Mapping[str, float],
    driver: Driver | None,
) -> tuple[float, float]:
    """Cells an hour, and seconds left, by what the driver at work has ended since it began.

    A cell counts by what cells of its variant have taken, so that a wide net to come is not taken for a narrow one.
    """
    if driver is None:
        return np.nan, np.nan
    since = driver.since.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    recent = {key for key, (_, _, at) in ended.items() if at >= since}
    elapsed = (datetime.datetime.now().astimezone() - driver.since).total_seconds()
    if not recent or elapsed <= 0:
        return np.nan, np.nan
    times: dict[str, list[float]] = {}
    for cell in cells:
        if cell.key in ended:
            times.setdefault(cell.variant.name, []).append(ended[cell.key][1])
    typical = statistics.median(seconds for _, seconds, _ in ended.values())
    cost = {cell.key: statistics.median(times.get(cell.variant.name, [typical])) for cell in cells}
    work = sum(cost[key] for key in recent) + sum(
        share * cost[key] for key, share in running.items()
    )
    left = sum(
        cost[cell.key] * (1 - running.get(cell.key, 0.0)) for cell in cells if cell.key not in ended
    )
    return 3600 * len(recent) / elapsed, left * elapsed / work if work > 0 else np.nan
