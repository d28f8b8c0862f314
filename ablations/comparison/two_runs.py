"""Two runs held against each other, variant by variant: two studies, or one before and after a change.

Seeds of the two are independent and images are shared, so that the same crossed analysis applies as between two
variants of one study. What else differs between the runs is listed: settings, code, machines.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablations.comparison.aggregates import AGGREGATES
from ablations.comparison.differences import Difference, differences
from ablations.comparison.layout import DRAWN, FORMATS, Format, comment, drawn_table
from ablations.comparison.methods import population
from ablations.comparison.metrics import Metric, find_metric
from ablations.comparison.pairing import Side, identical, pair_row, pairs_of, shared_split
from ablations.comparison.scored import estimators
from ablations.comparison.spelling import interval_words, listed, p_value, two_digits, with_interval
from ablations.comparison.stopping import stopping
from ablations.records.results import SplitResults
from ablations.statistics import SEEDS_FOR_VERDICT, adjust, spent_confidence, spent_p, verdict

SHED = ("p (Holm)", "ok")  # columns that a narrow terminal does without, the first first
IDENTICAL = "identical"
LOOKED = (
    "Seeds were added by looking at results: the error is shared equally among the {looks} pairs of looks that there "
    "may be (Bonferroni), an interval has a confidence of {each:.1%} by itself, and p-values are multiplied by {looks}."
)


@dataclass(frozen=True, repr=False)
class TwoRuns:
    """One run against another on the images of one split.

    `table`: a row a pair of variants, in the study's order: `one`, `other` (names), `value_one` and `value_other` of
    the metric with `_low` and `_high`, `n_ok_` and `n_seeds_` of each, `same_seeds` (cells with the same predictions
    to the last bit), `ratio` and `difference` of the first to the other with their limits, `p` and `p_different` with
    `_holm` adjusted over the pairs, and `verdict` on the first. NaN where there are too few seeds. `unmatched`: the
    variants that only one of the two has.
    """

    labels: tuple[str, str]
    split: str
    metric: Metric
    margin: float
    confidence: float
    n_images: int
    table: pd.DataFrame
    unmatched: tuple[tuple[str, ...], tuple[str, ...]]
    differences: tuple[Difference, ...]
    methods: str
    looks: int = 1  # among how many the error is shared, where seeds of a run were added by looking

    def sentence(self, row: Mapping[Any, Any]) -> str:
        """One defensible sentence on a row of the table."""
        one, other = self.labels
        name = _pair(row)
        if row["verdict"] == IDENTICAL:
            return f"{name}: {one} and {other} predict the same to the last bit, seed by seed"
        counts = [f"{row[f'n_ok_{side}']} of {row[f'n_seeds_{side}']}" for side in ("one", "other")]
        seeds = f"{' and '.join(counts)} seeds converged"
        low, high = row["ratio_low"], row["ratio_high"]
        limits = (
            "too few seeds for an interval"
            if pd.isna(low)
            else f"{interval_words(self.confidence, self.looks)} [{two_digits(low)}, {two_digits(high)}]"
        )
        images = f"{self.n_images:,} {self.metric.items}"
        times = f"{two_digits(row['ratio'])}x the {self.metric.words} of {other}"
        return f"{name}: {one} has {times} ({limits}; {seeds}; {images}): {row['verdict']}"

    def display(self) -> pd.DataFrame:
        """The table for a person: strings, seven columns."""
        one, other = self.labels
        interval = f"[{interval_words(self.confidence, self.looks)}]"
        return pd.DataFrame(
            [
                {
                    "variant": _pair(row),
                    "ok": f"{row['n_ok_one']}/{row['n_seeds_one']}, {row['n_ok_other']}/{row['n_seeds_other']}",
                    f"{self.metric.words} of {one} {interval}": _limits_text(row, "value_one"),
                    f"{self.metric.words} of {other} {interval}": _limits_text(row, "value_other"),
                    f"{one} / {other} {interval}": _limits_text(row, "ratio"),
                    "p (Holm)": p_value(row["p_holm"]),
                    "verdict": row["verdict"],
                }
                for row in self.table.to_dict("records")
            ]
        )

    def notes(self) -> list[str]:
        """What the table leaves unsaid."""
        only = [
            f"Only in {label}: {listed(names)}."
            for label, names in zip(self.labels, self.unmatched, strict=True)
            if names
        ]
        if self.table["n_ok_one"].lt(self.table["n_seeds_one"]).any() or (
            self.table["n_ok_other"].lt(self.table["n_seeds_other"]).any()
        ):
            only.append("Failed cells score as the constant predictor.")
        same = self.table[(self.table["same_seeds"] > 0) & (self.table["verdict"] != IDENTICAL)]
        return only + [
            f"{_pair(row)}: {row['same_seeds']} seeds predict the same in both to the last bit."
            for row in same.to_dict("records")
        ]

    def to_text(self, format: Format = "table", *, width: int | None = None) -> str:
        """The table, its notes and what differs; `csv` is the table of numbers alone.

        Raises ValueError for a format that is none of `FORMATS`.
        """
        if format not in FORMATS:
            raise ValueError(f"format {format!r} is not one of {', '.join(FORMATS)}")
        if format == "csv":
            return self.table.to_csv(index=False, lineterminator="\n").rstrip("\n")
        if format == "json":
            return json.dumps(self._document(), indent=2)
        display = self.display()
        columns, rows = list(display.columns), display.to_numpy().tolist()
        drawn = drawn_table(columns, rows, format, width, SHED)
        note = functools.partial(comment, output=format)
        one, other = self.labels
        images = f"{self.n_images:,} {self.metric.items}"
        heading = f"{self.metric.words} of {one} against {other} on {self.split} ({images}):"
        parts = [note(heading), drawn, *map(note, self.notes())]
        if self.differences:
            parts.append(note("What else differs:"))
            parts.append(DRAWN[format](["", one, other], [list(d.row()) for d in self.differences]))
        return "\n\n".join(parts)

    def _document(self) -> dict[str, object]:
        rows = json.loads(self.table.to_json(orient="records", double_precision=15))
        return {
            "labels": self.labels,
            "split": self.split,
            "n_images": self.n_images,
            "metric": self.metric.name,
            "margin": self.margin,
            "confidence": self.confidence,
            "table": rows,
            "only_in": dict(zip(self.labels, self.unmatched, strict=True)),
            "differences": [
                dict(zip(("what", *self.labels), d.row(), strict=True)) for d in self.differences
            ],
            "methods": self.methods,
        }

    def __repr__(self) -> str:
        return f"<TwoRuns: {self.labels[0]} against {self.labels[1]}, {len(self.table)} variants on {self.split}>"


def compare_runs(
    one: Side,
    other: Side,
    *,
    split: str | None = None,
    metric: str = "mse",
    margin: float | None = None,
    confidence: float = 0.95,
) -> TwoRuns:
    """Compare the variants that both runs have, or the variant that each side names.

    `split` is by default the largest that both have, `margin` that of the other's study. Raises ValueError for an
    unknown split, metric or variant, where the runs have no variant in common, and where their images differ.
    """
    chosen = find_metric(metric)
    data = shared_split(one, other, split)
    margin = other.results.study.margin if margin is None else margin
    if margin <= 1:
        raise ValueError(f"margin is a ratio above 1, got {margin}")
    pairs = pairs_of(one, other, data)
    known = [estimators(side, metric) for side in data]
    aggregate = AGGREGATES[chosen.aggregate]
    looks = _looks(one, data[0]) * _looks(other, data[1])
    each = spent_confidence(confidence, looks)
    compared = [
        aggregate.compare(known[0][a.name].scores, known[1][b.name].scores, each) for a, b in pairs
    ]
    rows = [
        pair_row(a, b, known[0][a.name], known[1][b.name], comparison, chosen, margin, each)
        for (a, b), comparison in zip(pairs, compared, strict=True)
    ]
    table = pd.DataFrame(rows)
    for p in ("p", "p_different"):
        table.insert(
            list(table.columns).index(p) + 1, f"{p}_holm", adjust(spent_p(table[p], looks), "holm")
        )
    table["verdict"] = [
        IDENTICAL
        if identical(row)
        else verdict(comparison, row["p_holm"], row["p_different_holm"], level=1 - confidence)
        for row, comparison in zip(table.to_dict("records"), compared, strict=True)
    ]
    shared = [{variant.name for variant, _ in pairs}, {variant.name for _, variant in pairs}]
    unmatched = [
        tuple(v.name for v in side.variants if v.name not in names and not named.variant)
        for side, names, named in zip(data, shared, (one, other), strict=True)
    ]
    return TwoRuns(
        labels=(one.label, other.label),
        split=data[0].name,
        metric=chosen,
        margin=margin,
        confidence=confidence,
        n_images=len(data[0].params),
        table=table,
        unmatched=(unmatched[0], unmatched[1]),
        differences=tuple(differences(one.results, other.results, pairs)),
        methods=_methods(one, other, data[0], table, chosen, margin, confidence)
        + (f" {LOOKED.format(looks=looks, each=each)}" if looks > 1 else ""),
        looks=looks,
    )


def _looks(side: Side, split: SplitResults) -> int:
    return stopping(side.results.looks, (len(v.seeds) for v in split.variants)).looks


def _pair(row: Mapping[Any, Any]) -> str:
    return str(row["one"]) if row["one"] == row["other"] else f"{row['one']} / {row['other']}"


def _limits_text(row: Mapping[Any, Any], name: str) -> str:
    return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _methods(
    one: Side,
    other: Side,
    split: SplitResults,
    table: pd.DataFrame,
    metric: Metric,
    margin: float,
    confidence: float,
) -> str:
    """The paragraph for a paper."""
    level = f"{1 - confidence:.2g}"
    populations = list(dict.fromkeys(population(side.results) for side in (one, other)))
    return (
        f"`{one.label}` against `{other.label}`: {_counted(len(table))} of variants on the same {len(split.params):,} "
        f"images of split `{split.name}`, by their {metric.words}. Seeds of the two sides were taken as independent, "
        "though they may bear the same numbers, and as crossed with the images, which both share; the variance of the "
        "difference is V_seed/K of either side plus V_image/M of the difference of their means over seeds, less the "
        f"cells' noise that is in both. Intervals are {confidence:.0%} t intervals on the log scale for "
        f"{'; '.join(populations)}. Ratios were tested two-sidedly, by the larger of the p of the crossed t statistic "
        f"and that of a generalized pivot for log-normal seeds, and for being outside 1/{margin:g} to {margin:g} by "
        "two one-sided tests; both p are adjusted by Holm's method for the family of "
        f"{_counted(int(table['p'].notna().sum()))}. A verdict needs {SEEDS_FOR_VERDICT} seeds on either side: "
        f"`equivalent` is an adjusted p below {level} of the second kind, else `better` and `worse` of the first; "
        "`identical` are predictions that agree to the last bit."
    )


def _counted(pairs: int) -> str:
    return "1 pair" if pairs == 1 else f"{pairs:,} pairs"
