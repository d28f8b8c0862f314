"""The library's front: run or load a study and get `Results`, whose methods compare and draw; the work is elsewhere.

Nothing below this module imports it: data, comparison and figures do not know that notebooks exist.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from ablations import driver
from ablations.comparison.errors import error_table
from ablations.comparison.metrics import find_metric
from ablations.comparison.runs import compare_errors as compare_errors
from ablations.comparison.study_comparison import StudyComparison, compare_study
from ablations.execution.cells import trained_net
from ablations.records import MAX_PREDICTIONS, RESULTS_DIR, loading
from ablations.records.results import StudyResults
from ablations.report import plots
from ablations.report.plots.sites import plot_sites, seed_of_sites, sites_of
from ablations.study.factors import Level
from ablations.study.reader import load_study
from ablations.study.selection import selection
from ablations.study.settings import with_settings
from ablations.study.study import Study
from ablations.study.until import parse_until
from linefit.splits import evaluation_images


class Results(StudyResults):
    """A study as far as it has been run: tables, comparisons with least squares, figures.

    `cells` and `curves` are tables, `splits` holds every prediction, `study` says what was run, `provenance` by what.
    """

    @classmethod
    def of(cls, data: StudyResults) -> Results:
        """The same data with the methods of this class."""
        parts = (data.study, data.cells, data.curves, data.splits, data.provenance)
        return cls(*parts, left_out=data.left_out, looks=data.looks)

    def __repr__(self) -> str:
        ok = int((self.cells["status"] == "ok").sum())
        splits = ", ".join(f"{name} ({size:,} images)" for name, size in self.sizes.items())
        variants = self.cells["variant"].nunique()
        return (
            f"<Results of {self.study.name}: {variants} variants, {ok} of {len(self.cells)} cells ok;"
            f" evaluated on {splits}>"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: this and the comparison with what the study declares."""
        return self.compare()._repr_html_()

    def to_frame(self, metric: str = "mse") -> pd.DataFrame:
        """A row a cell and evaluation split: `split`, `variant`, a column a factor, `seed`, `status` and the metric's
        mean (or median) over the split's images, NaN for a cell that is not ok.
        """
        errors = error_table(self, [find_metric(metric)])
        errors = errors[errors["kind"] == "variant"].rename(columns={"estimator": "variant"})
        levels = {variant.name: variant.levels for variant in self.study.variants}
        factors = pd.DataFrame([levels[name] for name in errors["variant"]], index=errors.index)
        ends = errors[["seed", "status"]].assign(**{metric: errors[find_metric(metric).column]})
        frame = pd.concat([errors[["split", "variant"]], factors, ends], axis=1)
        return frame.astype({"seed": "int64"}).reset_index(drop=True)

    def compare(
        self,
        *,
        split: str | None = None,
        against: str | None = None,
        metric: str = "mse",
        margin: float | None = None,
        confidence: float = 0.95,
    ) -> StudyComparison:
        """Every variant and yardstick against one of them, see `compare_study`.

        By default on the largest evaluation split, against what the study declares and with its margin. Raises
        ValueError for a split, estimator or metric that there is not, naming those that there are.
        """
        return compare_study(
            self,
            split=split,
            against=against,
            metric=metric,
            margin=margin,
            confidence=confidence,
        )

    def plot_mse(
        self, split: str | None = None, *, metric: str = "mse", ax: Axes | None = None
    ) -> Figure:
        """MSE (or another metric) by variant with every seed, crossed intervals and yardsticks.

        By default on the study's first split, as a figure of its own; with `ax` into these axes.
        """
        return plots.plot_mse(self, split or next(iter(self.splits)), metric=metric, ax=ax)

    def plot_slope_intercept(self, split: str | None = None) -> Figure:
        """The errors of slope and of intercept apart, as `plot_mse` draws them."""
        return plots.plot_slope_intercept(self, split or next(iter(self.splits)))

    def net(self, variant: str, seed: int, *, device: str = "cpu") -> nn.Module:
        """The net of a cell, trained again: answers are kept of it, weights are not.

        On the machine that trained the cell it is the same to the last bit. Raises ValueError for a variant that the
        study does not have, and where the training diverges.
        """
        for cell in self.study.cells([seed]):
            if cell.variant.name == variant:
                return trained_net(cell, device)
        names = ", ".join(one.name for one in self.study.variants)
        raise ValueError(f"variant {variant!r} is not one of {names}")

    def plot_sites(
        self, variant: str, split: str | None = None, *, seed: int | None = None
    ) -> Figure:
        """Where the channels of a net with global max pooling have their maxima: what it looks at.

        The cell is trained again (`net`), by default that of the seed with the median MSE, and drawn on images from
        the best to the worst. By default on the study's first split. Raises ValueError for a variant and a seed that
        there are not, and for a pooling that is not `max`.
        """
        name = split or next(iter(self.splits))
        chosen = seed_of_sites(self, name, variant, seed)
        net, pixels = self.net(variant, chosen), evaluation_images(name).pixels
        return plot_sites(sites_of(self, name, variant, chosen, net, pixels))

    def plot_learning_curves(self, *, variant: str | None = None, ax: Axes | None = None) -> Figure:
        """Train loss and val MSE by epoch, a panel a variant; with `variant` and `ax` that one into these axes."""
        return plots.plot_learning_curves(self, variant=variant, ax=ax)


def run(
    study: str | Path | Study,
    *,
    seeds: int | Sequence[int] | None = None,
    where: str | Iterable[str] = (),
    settings: Mapping[str, Level] | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    rerun_stale: bool = False,
    shard: tuple[int, int] | None = None,
    until: str | Iterable[str] = (),
    max_seeds: int | None = None,
    results_dir: str | Path = RESULTS_DIR,
    device: str = "auto",
    workers: int | None = None,
    threads: int = 1,
    timeout: float | None = None,
    fail_fast: bool = False,
    pack: int | None = None,
    max_predictions: float = MAX_PREDICTIONS,
) -> Results:
    """Train what is missing of a study and return its results; finished cells are never trained again.

    `study` is a shipped study's name, a path to a TOML file, or a `Study`; `seeds` a number of seeds or the seeds
    themselves instead of the study's; `where` one or more conditions such as `"pooling=max"`; `settings` other settings
    of the protocol, such as `{"epochs": 3}`, which make a study of its own; `limit` the most cells to train now;
    `retry_failed` and `rerun_stale` train again what failed and what an earlier version of the engine trained;
    `shard=(2, 8)` is the second of eight equal parts; `until` adds seeds in rounds until what it says holds, such as
    `"ratio within 25%"` or `"verdict"`, with at most `max_seeds` (40). `device` is auto, cpu, cuda or cuda:N (several
    GPUs as "cuda:0,cuda:1"), `workers` a number of processes (by default one a core, or a GPU) of `threads` threads
    each, `timeout` seconds a cell; `fail_fast` stops at the first cell that fails. `pack` is the most cells that train
    together, by default as many as pay on the device. Where predictions of nets take more than `max_predictions` MB,
    the largest splits are left out of the exports, not of the database.

    Raises StudyError (all mistakes at once), ValueError for an option that is not legal and StoreError for a database
    that cannot be used; a cell that fails raises nothing and is a row of the results, and a warning tells of it.
    """
    base = study if isinstance(study, Study) else load_study(study)
    found = with_settings(base, settings or {})
    finished = driver.run_study(
        found,
        selection(
            seeds=seeds,
            where=where,
            limit=limit,
            retry_failed=retry_failed,
            rerun_stale=rerun_stale,
            shard=shard,
        ),
        results_dir=Path(results_dir),
        options=driver.Options(device, workers, threads, timeout, fail_fast, True, pack),
        until=parse_until((until,) if isinstance(until, str) else until, max_seeds),
        command=f"ablations.run({base.name!r}{f', settings={dict(settings)!r}' if settings else ''})",
        max_predictions=max_predictions,
    )
    if finished.failed:
        cells = finished.results.cells
        messages = cells.loc[cells["status"] != "ok", "message"].astype(str)
        last = [message.strip().splitlines()[-1] for message in messages if message.strip()]
        warnings.warn(
            f"{finished.failed} of {len(finished.plan.selected)} cells failed"
            + (f", one with: {last[0]}" if last else "")
            + "; see status and message in results.cells",
            stacklevel=2,
        )
    return Results.of(finished.results)


def load_results(study: str | Path, results_dir: str | Path = RESULTS_DIR) -> Results:
    """The results of a study that has been run, from its database or its exports.

    Raises StudyError if the study is unknown or nothing of it has been run.
    """
    return Results.of(loading.load_results(study, results_dir))
