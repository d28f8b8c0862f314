"""What a study's last run moved: the comparison before it and now, and whether the seeds that it added differ.

The cells of before are among those of now, so that the two states themselves cannot be tested against each other. What
can be is what the run added: its seeds of a variant against those that were there, which are independent of them and
were measured on the same images.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ablations.comparison.aggregates import AGGREGATES
from ablations.comparison.layout import Format, comment, drawn_table
from ablations.comparison.metrics import Measure, find_metric
from ablations.comparison.scored import Estimator, estimators, find_name
from ablations.comparison.spelling import listed, p_value, with_interval
from ablations.comparison.stopping import stopping
from ablations.comparison.table import comparison_table
from ablations.comparison.wording import words_for
from ablations.records.results import SplitResults, StudyResults
from ablations.statistics import adjust

SHED = ("p (Holm)", "seeds")  # columns that a narrow terminal does without, the first first
SAME_SEEDS = 0.05  # adjusted p, below which added seeds differ from the earlier ones


@dataclass(frozen=True, repr=False)
class Moved:
    """What the last run of a study moved on one split.

    `table`: a row a variant that the run trained, in the order of its comparison now: `seeds_before`, `seeds_now`,
    the metric `before` and `now` with `_low` and `_high`, the `ratio` of the added seeds' to the earlier ones' with its
    limits, its `p` with `p_holm` adjusted over the variants that both have, `verdict_before` and `verdict_now`. NaN
    where a variant is new or has too few seeds on either side.
    """

    study: str
    split: str
    metric: Measure
    n_images: int
    against: str
    confidence: float
    table: pd.DataFrame

    @property
    def reference(self) -> str:
        """What verdicts are against, in words."""
        return words_for(self.against, self.against in set(self.table["variant"]))

    def display(self) -> pd.DataFrame:
        """The table for a person: strings, seven columns."""
        interval = f"[{self.confidence:.0%} CI]"
        return pd.DataFrame(
            [
                {
                    "variant": row["variant"],
                    "seeds": f"{row['seeds_before']} -> {row['seeds_now']}",
                    f"{self.metric.words} before {interval}": _limits(row, "before"),
                    f"now {interval}": _limits(row, "now"),
                    f"added / earlier seeds {interval}": _limits(row, "ratio"),
                    "p (Holm)": p_value(row["p_holm"]),
                    f"against {self.reference}": _verdicts(row),
                }
                for row in self.table.to_dict("records")
            ]
        )

    def notes(self) -> list[str]:
        """What the table says in a sentence or two."""
        table = self.table
        old = table["seeds_before"] > 0
        changed = table[old & (table["verdict_before"] != table["verdict_now"])]
        differ = table[table["p_holm"] < SAME_SEEDS]
        said = [
            f"The last run added {int((table['seeds_now'] - table['seeds_before']).sum()):,} cells of {len(table):,} "
            f"variants, {int((~old).sum()):,} of them new; {len(changed):,} verdicts changed."
        ]
        if table["p"].notna().any():
            said.append(
                f"The added seeds of {listed(differ['variant'])} differ from the earlier ones: look at what else has "
                "changed between the runs."
                if len(differ)
                else "Of no variant can the added seeds be told from the earlier ones."
            )
        return said

    def to_text(self, format: Format = "table", *, width: int | None = None) -> str:
        """The table and its notes; `csv` and `json` are the numbers alone."""
        if format == "csv":
            return self.table.to_csv(index=False, lineterminator="\n").rstrip("\n")
        if format == "json":
            return json.dumps(self.document(), indent=2)
        display = self.display()
        columns, rows = list(display.columns), display.to_numpy().tolist()
        drawn = drawn_table(columns, rows, format, width, SHED)
        note = functools.partial(comment, output=format)
        heading = f"Since the last run, on {self.split} ({self.n_images:,} {self.metric.items}):"
        return "\n\n".join([note(heading), drawn, *map(note, self.notes())])

    def document(self) -> dict[str, object]:
        """What JSON holds."""
        return {
            "split": self.split,
            "n_images": self.n_images,
            "metric": self.metric.name,
            "against": self.against,
            "confidence": self.confidence,
            "table": json.loads(self.table.to_json(orient="records", double_precision=15)),
        }


def moved(
    results: StudyResults,
    added: Collection[str],
    *,
    split: str | None = None,
    metric: str = "mse",
    confidence: float = 0.95,
) -> Moved:
    """What cells of these keys, the last run's, moved on a split, by default the largest.

    Raises ValueError for an unknown split or metric, and for a split whose predictions were left out of the exports.
    """
    chosen = find_metric(metric)
    data = results.split(results.largest_split if split is None else split)
    last = results.cells[results.cells["key"].isin(set(added))]
    new = set(zip(last["variant"], last["seed"], strict=True))
    earlier = _part(data, lambda name, seed: (name, seed) not in new)
    later = _part(data, lambda name, seed: (name, seed) in new)
    known, old_ones, new_ones = (estimators(part, metric) for part in (data, earlier, later))
    now = _compared(results, data, known, metric, confidence)
    before = _compared(results, earlier, old_ones, metric, confidence)
    aggregate = AGGREGATES[chosen.aggregate]
    trained = {variant.name for variant in later.variants}
    rows = []
    for name in [name for name in now.index if name in trained]:
        old = before.loc[name] if name in before.index else None
        ratio = None
        if old is not None:
            ratio = aggregate.compare(new_ones[name].scores, old_ones[name].scores, confidence)
        column = chosen.column
        rows.append(
            {
                "variant": name,
                "seeds_before": 0 if old is None else int(old["n_seeds"]),
                "seeds_now": int(now.loc[name, "n_seeds"]),
                "before": np.nan if old is None else old[column],
                "before_low": np.nan if old is None else old["low"],
                "before_high": np.nan if old is None else old["high"],
                "now": now.loc[name, column],
                "now_low": now.loc[name, "low"],
                "now_high": now.loc[name, "high"],
                "ratio": ratio.ratio.value if ratio else np.nan,
                "ratio_low": ratio.ratio.low if ratio else np.nan,
                "ratio_high": ratio.ratio.high if ratio else np.nan,
                "p": ratio.p if ratio else np.nan,
                "verdict_before": "" if old is None else old["verdict"],
                "verdict_now": now.loc[name, "verdict"],
            }
        )
    table = pd.DataFrame(rows)
    table.insert(list(table.columns).index("p") + 1, "p_holm", adjust(table["p"], "holm"))
    against = _reference(results, data)
    return Moved(
        results.study.name, data.name, chosen, len(data.params), against, confidence, table
    )


def _part(data: SplitResults, wanted: Callable[[str, int], bool]) -> SplitResults:
    """The split with some of its cells alone."""
    parts = []
    for variant in data.variants:
        kept = np.array([wanted(variant.name, int(seed)) for seed in variant.seeds], dtype=bool)
        if kept.any():
            status = tuple(s for s, keep in zip(variant.status, kept, strict=True) if keep)
            parts.append(
                replace(
                    variant,
                    seeds=variant.seeds[kept],
                    status=status,
                    predictions=variant.predictions[kept],
                )
            )
    return replace(data, variants=tuple(parts))


def _reference(results: StudyResults, data: SplitResults) -> str:
    names: Sequence[str] = [*(v.name for v in data.variants), *data.yardsticks]
    return find_name(results.study.against, names, "against")


def _compared(
    results: StudyResults,
    data: SplitResults,
    known: Mapping[str, Estimator],
    metric: str,
    confidence: float,
) -> pd.DataFrame:
    """The study's own comparison of these cells, by variant; nothing where its reference is not among them."""
    reference = _reference(results, results.split(data.name))
    if reference not in known or not data.variants:
        return pd.DataFrame()
    ended = stopping(results.looks, (len(variant.seeds) for variant in data.variants))
    table = comparison_table(
        known,
        known[reference],
        {},
        find_metric(metric),
        results.study.margin,
        confidence,
        ended,
    )
    return table[table["kind"] == "variant"].set_index("variant")


def _limits(row: Mapping[Any, Any], name: str) -> str:
    return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _verdicts(row: Mapping[Any, Any]) -> str:
    before, now = row["verdict_before"], row["verdict_now"]
    return str(now) if before in ("", now) else f"{before} -> {now}"
