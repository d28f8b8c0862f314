"""A study compared on one split: every variant against a yardstick or another variant, with what it means.

Numbers are made in `table`, words in `wording`; the verb is `ablations.cli.compare`.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import pandas as pd

from ablations.comparison import wording as text
from ablations.comparison.checks import check
from ablations.comparison.claims import EVERY_VARIANT, Check, Claim, parse_claim
from ablations.comparison.importance import importance_of
from ablations.comparison.layout import DRAWN, FORMATS, Format, comment, drawn_table
from ablations.comparison.methods import methods
from ablations.comparison.metrics import Measure, find_metric
from ablations.comparison.scored import (
    Estimator,
    estimators,
    find_estimator,
    find_name,
    published_values,
)
from ablations.comparison.stopping import FIXED, Stopping, stopping
from ablations.comparison.stored import SETTINGS, importance_document, records, stored_comparison
from ablations.comparison.table import comparison_table, pairs_table
from ablations.records.results import StudyResults
from ablations.statistics import Importance


@dataclass(frozen=True, repr=False)
class StudyComparison:
    """A study's estimators on one split, compared with one of them.

    `table`: a row an estimator, variants by their error, then yardsticks by theirs. The metric's own column (`mse`,
    `slope_mse`, ..., see `METRICS`) with `low` and `high`, what is left of the three means of squared errors,
    `regret` over the floor, `ratio` and `difference` to the reference, `ratio_to_floor`, all with `_low` and `_high`.
    Where the population of the images is known, yardsticks have their exact values, ratios are to these, and
    `ratio_on_these_images` is to the reference's errors on the images themselves. `p` is that of a ratio of 1,
    `p_different` that of one outside the margin, both with `_holm` adjusted over the family; `p_beats` is the chance
    of being nearer on an image. `failure_rate_not_excluded`, `outlying_seeds`, `seed_groups_p` and
    `median_over_seeds` say what the seeds can show; `few_images` and `imitates` (a `beta` of 0.5 or more) are marks.
    Figures that cannot be had (too few seeds, no such yardstick) are NaN. `importance` is None where the grid does
    not allow it; `importance_note` says why. `methods`: a paragraph for a paper. `note`: that predictions are not among
    the exports; where they cannot be had `estimators` is empty, and what needs them raises ValueError. `stopping`:
    where seeds were added by looking at results, `confidence` and adjusted p-values are those over all looks.
    `not_applicable`: variants that cannot be evaluated on the split, and so have no row, each with the reason.
    """

    study: str
    split: str
    against: str
    metric: Measure
    margin: float
    confidence: float
    n_images: int
    table: pd.DataFrame
    importance: Importance | None
    importance_note: str
    methods: str
    estimators: Mapping[str, Estimator]
    note: str = ""
    stopping: Stopping = FIXED
    not_applicable: Mapping[str, str] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """What the others are compared with, in words."""
        row = self.table[self.table["variant"] == self.against].iloc[0]
        return text.words_for(self.against, row["kind"] == "variant")

    @property
    def notes(self) -> list[str]:
        """What the marks in the table mean, how to read it, and what it lacks."""
        notes = text.footnotes(self.table, self.reference, self.metric.items)
        notes += self.stopping.notes(self.confidence)
        if self.not_applicable:
            variants = int(self.table["kind"].eq("variant").sum()) + len(self.not_applicable)
            notes.append(text.not_applicable_note(self.not_applicable, variants))
        return notes

    @property
    def _interval(self) -> str:
        return self.stopping.interval(self.confidence)

    def sentence(self, variant: str) -> str:
        """The defensible sentence on a variant or yardstick. Raises ValueError for an unknown name."""
        name = find_name(variant, list(self.table["variant"]), "variant")
        asked = (self.n_images, self.confidence, self.stopping)
        return text.sentence(self._rows[name], self.reference, self.metric, *asked)

    @cached_property
    def _rows(self) -> dict[str, dict[Any, Any]]:
        """The table's rows by name: of thousands, looking one up in the table takes milliseconds."""
        return {row["variant"]: row for row in self.table.to_dict("records")}

    @property
    def log_of(self) -> str:
        """What factor importance is of: squared errors of lines, or the errors of runs from anywhere."""
        return "MSE" if self.metric.items == "images" else self.metric.words

    def display(self, *, wide: bool = False) -> pd.DataFrame:
        """The table for a person: strings, a column a figure with its interval; seven columns at most, or all."""
        return text.display_table(
            self.table, self.reference, self.metric, self.n_images, self._interval, wide=wide
        )

    def pairs(self) -> pd.DataFrame:
        """Every pair of variants, explored, with Benjamini-Hochberg adjusted p-values."""
        return pairs_table(list(self._known.values()), self.metric, self.confidence, self.stopping)

    def pairs_display(self) -> pd.DataFrame:
        """`pairs` as strings."""
        return text.pairs_display(self.pairs())

    def fail_unless(self, *claims: str) -> tuple[Check, ...]:
        """Check claims such as `variant<=1.25*least_squares` (see `criteria`), one result an estimator.

        Raises ValueError for a claim that cannot be read and for unknown names, before anything is checked.
        """
        jobs = [
            (
                claim,
                left,
                find_estimator(claim.right, self._known, "the right side of the claim"),
            )
            for claim in map(parse_claim, claims)
            for left in self._claimed(claim)
        ]
        ask = partial(check, self.metric, self.split, self.confidence, self.stopping)
        return tuple(ask(*job) for job in jobs)

    def _claimed(self, claim: Claim) -> list[Estimator]:
        if claim.left == EVERY_VARIANT and EVERY_VARIANT not in self._known:
            return [e for e in self._known.values() if e.is_variant]
        return [find_estimator(claim.left, self._known, "the left side of the claim")]

    @property
    def _known(self) -> Mapping[str, Estimator]:
        if not self.estimators:
            raise ValueError(f"pairs and claims need every prediction. {self.note}")
        return self.estimators

    def to_text(
        self, format: Format = "table", *, wide: bool = False, width: int | None = None
    ) -> str:
        """The table with its notes and factor importance; `csv` is the table of numbers alone.

        `json` holds the methods paragraph too; `wide` shows all columns, `width` is that of the terminal which a plain
        table has to fit. Notes of `latex` are its comments. Raises ValueError for another format.
        """
        if format not in FORMATS:
            raise ValueError(f"format {format!r} is not one of {', '.join(FORMATS)}")
        if format == "csv":
            return self.with_settings().to_csv(index=False, lineterminator="\n").rstrip("\n")
        if format == "json":
            return json.dumps(self._document(), indent=2)
        display = self.display(wide=wide)
        columns, rows = list(display.columns), display.to_numpy().tolist()
        drawn = drawn_table(columns, rows, format, width, text.sheddable(columns))
        note = partial(comment, output=format)
        parts = [
            note(
                f"{self.metric.words} on {self.split} ({self.n_images:,} {self.metric.items}), ratio to "
                f"{self.reference}:"
            ),
            *([note(self.note)] if self.note else []),
            drawn,
            *map(note, self.notes),
        ]
        if self.importance is not None:
            parts.append(note(f"Factor importance ({self.importance_note}):"))
            parts.append(
                _drawn(text.importance_display(self.importance.table, self.log_of), format)
            )
        return "\n\n".join(parts)

    def pairs_text(self, format: Format = "table") -> str:
        """All pairs of variants as `to_text` shows the table; `csv` and `json` are the numbers alone."""
        table = self.pairs()
        if format == "csv":
            return table.to_csv(index=False, lineterminator="\n").rstrip("\n")
        if format == "json":
            return table.to_json(orient="records", indent=2, double_precision=15)
        return _drawn(text.pairs_display(table), format)

    def __repr__(self) -> str:
        variants = int((self.table["kind"] == "variant").sum())
        return (
            f"<StudyComparison of {self.study}: {self.metric.words} of {variants} variants against"
            f" {self.reference}, {self.n_images:,} {self.metric.items} of {self.split}>"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the table for a person and its notes."""
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<p>{html.escape(repr(self)[1:-1])}</p>{self.display().to_html(index=False)}{notes}"

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SETTINGS} | {"metric": self.metric.name}

    def with_settings(self) -> pd.DataFrame:
        """The table with what it was made with in every row: a file that explains itself."""
        return self.table.assign(**self._settings())

    def _document(self) -> dict[str, Any]:
        settings = {"study": self.study, **self._settings(), "looks": self.stopping.looks}
        left_out = {"not_applicable": dict(self.not_applicable)}
        return settings | left_out | {"table": records(self.table)} | self.analysis

    @property
    def analysis(self) -> dict[str, Any]:
        """What is said beyond the table, ready for JSON."""
        importance = importance_document(self.importance)
        words = {"importance_note": self.importance_note, "methods": self.methods}
        return {"importance": importance, **words}


def compare_study(
    results: StudyResults,
    *,
    split: str | None = None,
    against: str | None = None,
    metric: str = "mse",
    margin: float | None = None,
    confidence: float = 0.95,
) -> StudyComparison:
    """Compare every variant and yardstick on one evaluation split with `against`.

    `split`: by default the largest, and where its predictions were left out of the exports the comparison that was made
    when they were there; `against`: a yardstick, `floor` (the posterior mean) or a variant, by default what
    the study declares; `metric`: one of METRICS; `margin`: the ratio up to which an estimator counts as good
    as the reference, by default the study's. Failed cells score as the constant predictor. Variants with fewer than 3
    seeds have points without intervals.

    Raises ValueError for an unknown split, metric or estimator, with the legal ones and the nearest, and for another
    comparison than was made where predictions were left out.
    """
    name = results.largest_split if split is None else split
    margin = results.study.margin if margin is None else margin
    chosen = find_metric(metric)
    asked: dict[str, Any] = {
        "study": results.study.name,
        "split": name,
        "metric": chosen,
        "not_applicable": results.not_applicable(name),
    }
    if name in results.left_out:
        parts = stored_comparison(
            results.left_out[name],
            against=against,
            metric=metric,
            margin=margin,
            confidence=confidence,
        )
        ended = stopping(results.looks, parts["table"]["n_seeds"].dropna())
        return StudyComparison(stopping=ended, **asked, **parts)
    data = results.split(name)
    known = estimators(data, metric)
    ended = stopping(results.looks, (len(variant.seeds) for variant in data.variants))
    reference = find_estimator(against or results.study.against, known, "against")
    published = published_values(results.study, data.name, metric)
    table = comparison_table(known, reference, published, chosen, margin, confidence, ended)
    importance, note = None, "none, it is worked out for means alone"
    if chosen.aggregate == "mean":
        factors = results.study.factors
        levels = pd.DataFrame(
            [{factor: variant.levels[factor] for factor in factors} for variant in data.variants],
            index=[variant.name for variant in data.variants],
        )
        importance, note = importance_of(levels, known, ended.each(confidence))
    words = text.words_for(reference.name, reference.is_variant)
    paragraph = methods(results, data.name, table, words, chosen, margin, confidence, note, ended)
    return StudyComparison(
        **asked,
        against=reference.name,
        margin=margin,
        confidence=confidence,
        n_images=len(data.params),
        table=table,
        importance=importance,
        importance_note=note,
        methods=paragraph,
        estimators=known,
        stopping=ended,
    )


def _drawn(display: pd.DataFrame, output: Format) -> str:
    return DRAWN[output](list(display.columns), display.to_numpy().tolist())
