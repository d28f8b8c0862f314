"""Median learning curves of many variants at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.records.results import StudyResults

FloatArray = npt.NDArray[np.float64]
LOSSES = ("train_loss", "val_mse")


@dataclass(frozen=True)
class MedianCurves:
    """Losses `(V, K, E)` of every cell, infinite where a cell has none, and their medians over seeds."""

    variants: tuple[str, ...]
    n_seeds: npt.NDArray[np.int64]  # (V,) cells of each variant
    epochs: npt.NDArray[np.int64]  # (E,)
    losses: Mapping[
        str, FloatArray
    ]  # the first n_seeds of a variant's K rows are its cells, others are NaN

    def of(self, variant: str, loss: str) -> FloatArray:
        """`(E,)` of one variant; NaN where half of its seeds or more have no finite loss."""
        at = self.variants.index(variant)
        return finite(np.median(self.losses[loss][at, : self.n_seeds[at]], axis=0))

    def all(self, loss: str) -> FloatArray:
        """`(V, E)`."""
        return finite(_median(self.losses[loss]))

    def over(self, chosen: npt.NDArray[np.bool_], loss: str) -> FloatArray:
        """`(E,)`: the median over all cells of the `chosen` variants `(V,)`."""
        cells = self.losses[loss][chosen].reshape(-1, len(self.epochs))
        return finite(_median(cells[None])[0])

    def table(self) -> pd.DataFrame:
        """A row a variant and epoch: `variant, epoch, seeds` and the median of each loss."""
        n = len(self.epochs)
        return pd.DataFrame(
            {
                "variant": np.repeat(np.array(self.variants, dtype=object), n),
                "epoch": np.tile(self.epochs, len(self.variants)),
                "seeds": np.repeat(self.n_seeds, n),
                **{f"median_{loss}": self.all(loss).ravel() for loss in LOSSES},
            }
        )


def median_curves(results: StudyResults) -> MedianCurves:
    """Of every variant that has cells. A seed without a finite loss at an epoch counts as infinitely bad there."""
    cells, curves = results.cells, results.curves
    names = pd.Index(dict.fromkeys(cells["variant"]))
    counts = np.asarray(cells.groupby("variant").size().reindex(names), dtype=np.int64)
    epochs = np.unique(curves["epoch"].to_numpy())
    row = cells.groupby("variant").cumcount().to_numpy()
    place = pd.Series(
        row, index=pd.MultiIndex.from_arrays([cells["variant"], cells["seed"]], names=["v", "s"])
    )
    own = pd.MultiIndex.from_arrays([curves["variant"], curves["seed"]])
    at = (
        names.get_indexer(curves["variant"]),
        place.reindex(own).to_numpy(np.int64),
        np.searchsorted(epochs, curves["epoch"]),
    )
    seeds = int(counts.max()) if len(counts) else 0
    missing = np.arange(seeds) >= counts[:, None]  # no such cell at all
    losses = {}
    for loss in LOSSES:
        values = np.full((len(names), seeds, len(epochs)), np.inf)
        values[missing] = np.nan
        given = curves[loss].to_numpy(np.float64)
        values[at] = np.where(np.isfinite(given), given, np.inf)
        losses[loss] = values
    return MedianCurves(tuple(map(str, names)), counts, epochs, losses)


def finite(values: FloatArray) -> FloatArray:
    """NaN instead of infinity."""
    return np.where(np.isfinite(values), values, np.nan)


def _median(values: FloatArray) -> FloatArray:
    """Over the axis before the last, NaN left out, infinity not: as many values of a variant are NaN at every epoch."""
    ordered = np.sort(values, axis=-2)  # NaN last
    n = (~np.isnan(values[..., :1])).sum(axis=-2, keepdims=True)
    n = np.maximum(n, 1)
    low, high = (np.take_along_axis(ordered, i, axis=-2) for i in ((n - 1) // 2, n // 2))
    with np.errstate(invalid="ignore"):
        middle: FloatArray = ((low + high) / 2)[..., 0, :]
    return middle
