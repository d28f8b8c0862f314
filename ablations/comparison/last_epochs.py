"""How noisy the last epoch is: the val MSE that a cell ends on, beside the median of its last epochs."""

from __future__ import annotations

import pandas as pd

from ablations.comparison.spelling import number

EPOCHS = 10  # the last ones, of which the median is taken
FEWEST = 2 * EPOCHS  # shorter trainings have no such end: the median would be that of the descent
SPIKE = 1.5  # times its median: a cell that ends on more ends on a spike
WORDS = (
    "The noise of the last epoch: each cell's MSE on the 500 val images after its last epoch, and the median of it "
    f"over its last {EPOCHS} epochs. Means over seeds, in brackets the lowest and highest seed, of cells that trained "
    f"for at least {FEWEST} epochs and to their end; with the weights of each epoch, whichever were evaluated."
)


def last_epochs(curves: pd.DataFrame) -> pd.DataFrame:
    """A row a variant, in the order of `curves` (see `CURVE_TYPES`): `variant`, `seeds`, `epochs`, `last` and `median`
    with the `_low` and `_high` of seeds, and how many seeds end on a spike (`spikes`).

    Cells of fewer than FEWEST epochs are left out, and those that diverged in their last ones.
    """
    cells = curves.sort_values("epoch").groupby(["variant", "seed"], sort=False)["val_mse"]
    found = pd.DataFrame(
        {
            "epochs": cells.size(),
            "last": cells.apply(lambda values: values.iloc[-1]),
            "median": cells.apply(lambda values: values.iloc[-EPOCHS:].median(skipna=False)),
        }
    )
    found = found[found["epochs"].ge(FEWEST)].dropna().reset_index()
    found["spikes"] = found["last"] > SPIKE * found["median"]
    rows = []
    for variant in curves["variant"].unique():
        own = found[found["variant"] == variant]
        if len(own):
            rows.append(
                {
                    "variant": variant,
                    "seeds": len(own),
                    "epochs": int(own["epochs"].max()),
                    **_over_seeds("last", own["last"]),
                    **_over_seeds("median", own["median"]),
                    "spikes": int(own["spikes"].sum()),
                }
            )
    return pd.DataFrame(rows)


def last_epochs_display(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `last_epochs` for a person: strings."""
    return pd.DataFrame(
        {
            "estimator": table["variant"],
            "epochs": table["epochs"].map(str),
            "val MSE, last epoch": _spelled(table, "last"),
            f"val MSE, median of the last {EPOCHS} epochs": _spelled(table, "median"),
            f"seeds that end above {SPIKE}x theirs": [
                f"{row.spikes}/{row.seeds}" for row in table.itertuples()
            ],
        }
    )


def _over_seeds(name: str, values: pd.Series[float]) -> dict[str, float]:
    ends = {"": values.mean(), "_low": values.min(), "_high": values.max()}
    return {f"{name}{end}": float(value) for end, value in ends.items()}


def _spelled(table: pd.DataFrame, name: str) -> list[str]:
    columns = (table[f"{name}{end}"] for end in ("", "_low", "_high"))
    return [
        f"{number(mean)} [{number(low)} to {number(high)}]"
        for mean, low, high in zip(*columns, strict=True)
    ]
