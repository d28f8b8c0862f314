"""The table of the last epochs against a plain loop, and what is left out of it."""

import numpy as np
import pandas as pd

from ablations.comparison.last_epochs import WORDS, last_epochs, last_epochs_display
from ablations.report.outputs import compare_all, summary_markdown
from tests.ablations.synthetic import synthetic_results


def curves(rng, cells):
    """A row an epoch of cells `(variant, seed, epochs)`, in no order."""
    rows = [
        {"variant": variant, "seed": seed, "epoch": epoch, "val_mse": value}
        for variant, seed, epochs in cells
        for epoch, value in enumerate(rng.lognormal(0, 0.5, epochs), start=1)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_it_is_what_a_loop_over_cells_finds():
    cells = [("a", 0, 30), ("a", 4, 30), ("a", 2, 30), ("b", 0, 20), ("b", 1, 20)]
    frame = curves(np.random.default_rng(1), cells)
    spike = (frame["variant"] == "a") & (frame["seed"] == 4) & (frame["epoch"] == 30)
    frame.loc[spike, "val_mse"] *= 20
    table = last_epochs(frame).set_index("variant")
    for name, epochs in (("a", 30), ("b", 20)):
        ends, medians = [], []
        for seed in sorted({seed for variant, seed, _ in cells if variant == name}):
            own = frame[(frame["variant"] == name) & (frame["seed"] == seed)]
            values = dict(zip(own["epoch"], own["val_mse"], strict=True))
            ends.append(values[epochs])
            last = sorted(values[epoch] for epoch in range(epochs - 9, epochs + 1))
            medians.append((last[4] + last[5]) / 2)
        row = table.loc[name]
        assert (row["seeds"], row["epochs"]) == (len(ends), epochs)
        np.testing.assert_allclose(row["last"], sum(ends) / len(ends))
        np.testing.assert_allclose(row["median"], sum(medians) / len(medians))
        assert (row["last_low"], row["last_high"]) == (min(ends), max(ends))
        assert (row["median_low"], row["median_high"]) == (min(medians), max(medians))
        assert row["spikes"] == sum(e > 1.5 * m for e, m in zip(ends, medians, strict=True))
    assert table["spikes"].tolist() == [1, 0]


def test_short_trainings_and_cells_that_diverged_have_no_end():
    frame = curves(np.random.default_rng(2), [("short", 0, 19), ("long", 0, 25), ("long", 1, 25)])
    diverged = (frame["variant"] == "long") & (frame["seed"] == 1) & (frame["epoch"] == 25)
    frame.loc[diverged, "val_mse"] = np.nan
    table = last_epochs(frame)
    assert table[["variant", "seeds"]].to_numpy().tolist() == [["long", 1]]
    assert last_epochs_display(table)["estimator"].tolist() == ["long"]
    assert last_epochs(frame[frame["variant"] == "short"]).empty
    assert last_epochs(frame.iloc[:0]).empty


def test_the_summary_of_a_long_training_has_it_and_that_of_a_short_one_not():
    for epochs, expected in ((25, True), (10, False)):
        results = synthetic_results(2, 3, 60, epochs=epochs)
        summary = summary_markdown(results, compare_all(results), "the command")
        assert (WORDS in summary) == expected
        shown = summary.partition(WORDS)[2]
        assert all((v.name in shown) == expected for v in results.study.variants)
