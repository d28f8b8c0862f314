"""The report is one valid page that says everything it was given, and depends on nothing outside it."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from ablations.comparison.spelling import with_interval
from ablations.comparison.study_comparison import compare_study
from ablations.report.inline import inline_figure
from ablations.report.opening import effects_table
from ablations.report.page import write_report
from ablations.report.plots import figure_names, style, write_figures
from ablations.report.tables import facts, text_of, text_table
from linefit.images import lab_images
from tests.ablations.synthetic import RANDOM_OFFSET, synthetic_results

COMMAND = "python -m ablations.run synthetic --where 'width<48'"
INLINE = {"code", "strong"}
VOID = {"meta", "link", "br", "hr", "img", "input"}
FAILURES = {(1, 0): "diverged", (2, 1): "oom"}


class Page(HTMLParser):
    """Checks that elements nest, and collects what the tests ask about."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open
        self.ids = [a["id"] for _, a in self.attributes if "id" in a]
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        self.words.append("" if tag in INLINE else " ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> in {self.open}"
        self.words.append("" if tag in INLINE else " ")

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


def comparisons(results):
    return {split: compare_study(results, split=split) for split in results.splits}


@pytest.fixture(scope="module")
def results():
    return synthetic_results(3, 3, 60, epochs=3, failures=FAILURES, splits=("test", "test_large"))


@pytest.fixture(scope="module")
def figures(results, tmp_path_factory):
    directory = tmp_path_factory.mktemp("figures")
    write_figures(results, directory, {"test": lab_images(60, random_offset=RANDOM_OFFSET).pixels})
    return directory


@pytest.fixture(scope="module")
def html(results, figures, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "results" / "report.html"
    assert write_report(results, comparisons(results), figures, path, command=COMMAND) == path
    return path.read_text(encoding="utf-8")


def test_it_is_a_well_formed_page_with_unique_ids(html):
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("h1") == page.tags.count("main") == 1
    assert ("html", {"lang": "en"}) in page.attributes


def test_nothing_is_loaded_from_outside(html):
    page = Page(html)
    assert not {"link", "iframe", "img"} & set(page.tags)
    assert page.tags.count("script") == 1
    for _, attributes in page.attributes:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert not re.search(r"@import|url\((?!#)", html)


def test_every_reference_inside_it_leads_somewhere(html):
    page = Page(html)
    targets = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', html)
    assert targets
    assert {a or b for a, b in targets} <= set(page.ids)


def test_it_says_everything_it_was_given(html, results):
    text = Page(html).text
    assert results.study.title in text
    assert COMMAND in text
    assert "torch 2.13.0, numpy 2.4.6" in text
    assert all(key[:10] in text for key in results.cells["key"])
    for comparison in comparisons(results).values():
        for variant in comparison.estimators:
            sentence = f"{comparison.sentence(variant)}."
            assert (sentence in text) == comparison.estimators[variant].is_variant
        assert comparison.methods.replace("`", "") in text


def test_the_comparison_is_the_one_in_text_form(html, results):
    """Every entry of the markdown table stands in a row of the page's table, in order, without any script."""
    text = Page(html).text
    for comparison in comparisons(results).values():
        lines = [
            line
            for line in comparison.to_text("markdown", wide=True).splitlines()
            if line[:1] == "|"
        ]
        assert len(lines) > 12
        for line in lines:
            assert "---" in line or " ".join(line.replace("|", " ").split()) in text


def test_failed_cells_are_counted_and_listed_with_status_and_message(html):
    text = Page(html).text
    assert "7 of 9 cells ok, 2 failed" in text
    failed = text[text.index("Cells that failed") : text.index("All cells")]
    assert "diverged loss is not finite (step 12)" in failed
    assert "oom" in failed
    assert failed.count(" ok ") == 0


def test_a_study_without_failures_says_so(tmp_path):
    results = synthetic_results(1, 1, 60)
    write_report(results, comparisons(results), tmp_path, tmp_path / "r.html", command=COMMAND)
    text = Page((tmp_path / "r.html").read_text()).text
    assert "1 variant, 1 seed each, 1 of 1 cells ok" in text
    assert "No cell failed." in text
    assert "No figures were written." in text


def test_figures_stand_in_the_page_in_order_with_words_for_those_who_cannot_see_them(
    html, results, figures
):
    page = Page(html)
    shown = [i.removeprefix("figure-") for i in page.ids if i.startswith("figure-")]
    written = {path.stem for path in figures.glob("*.svg")}
    assert set(shown) == written
    assert len(shown) == len(written) > 8
    assert written < set(figure_names(results))
    assert shown[0].startswith("mse_")  # the chart that carries the first sentences
    labels = [a["aria-label"] for tag, a in page.attributes if tag == "svg"]
    assert len(labels) == len(shown)
    assert all("Synthetic grid" in label and len(label) > 100 for label in labels)


def test_no_colour_of_a_figure_is_fixed(html):
    """All follow the page's light and dark mode, where every one of them is defined twice."""
    sheet, _, body = html.partition("</style>")
    assert not re.findall(r"(?:fill|stroke): *#[0-9a-f]{6}", body)
    used = set(re.findall(r"var\((--[a-z]+)\)", html))
    assert all(sheet.count(f"{name}: #") == 2 for name in used)


def test_it_opens_with_the_split_of_most_images(tmp_path):
    results = synthetic_results(3, 3, 60, splits=("test", "test_large"))
    more = synthetic_results(3, 3, 90, splits=("test_large",)).splits["test_large"]
    results = replace(results, splits={"test": results.splits["test"], "test_large": more})
    write_report(results, comparisons(results), tmp_path, tmp_path / "r.html", command=COMMAND)
    text = Page((tmp_path / "r.html").read_text()).text
    assert text.index("Findings on test_large, 90 images") < text.index("Findings on test, 60")


def test_rows_carry_the_levels_that_readers_filter_by(html, results):
    tables = [a for tag, a in Page(html).attributes if tag == "table" and "id" in a]
    assert {a["id"] for a in tables} == set(results.splits)
    assert all(json.loads(a["data-factors"]) == list(results.study.factors) for a in tables)
    rows = [json.loads(a["data-levels"]) for _, a in Page(html).attributes if "data-levels" in a]
    for variant in results.study.variants:
        expected = {factor: str(variant.levels[factor]) for factor in results.study.factors}
        assert rows.count(expected) == len(results.splits)


def test_what_was_given_is_escaped(results, tmp_path):
    evil = "<script>alert('&')</script>"
    cells = results.cells.assign(message=pd.Series(evil, results.cells.index, dtype="str"))
    page_path = tmp_path / "r.html"
    evil_results = replace(results, study=replace(results.study, title=evil), cells=cells)
    write_report(evil_results, comparisons(results), tmp_path, page_path, command=evil)
    page = Page(page_path.read_text())
    assert page.tags.count("script") == 1  # the page's own
    assert page.text.count(evil) > len(cells)


def test_a_title_with_markup_survives_in_a_figure(tmp_path):
    style.save(style.page(3, 1, title='a < b & "c"', note="x > y").figure, tmp_path / "odd")
    figure = inline_figure(tmp_path / "odd.svg")
    (label,) = [a["aria-label"] for tag, a in Page(str(figure.svg)).attributes if tag == "svg"]
    assert label == 'a < b & "c". x > y'


def test_importance_is_shown_where_there_is_one(tmp_path):
    for n_variants, captions in ((1, 0), (4, 1)):
        results = synthetic_results(n_variants, 3, 60)
        path = tmp_path / "r.html"
        write_report(results, comparisons(results), tmp_path, path, command=COMMAND)
        assert Page(path.read_text()).words.count("Factor importance on test") == captions


def test_many_variants_are_folded_but_there(tmp_path):
    results = synthetic_results(20, 1, 10, epochs=1)
    path = tmp_path / "r.html"
    write_report(results, comparisons(results), tmp_path, path, command=COMMAND)
    page = Page(path.read_text())
    (comparison,) = comparisons(results).values()
    said = [comparison.sentence(v.name) for v in results.study.variants]
    # The best three and the worst stand above all of them.
    assert sorted(page.text.count(f"{sentence}.") for sentence in said) == [1] * 16 + [2] * 4
    assert "Show all 20 variants" in page.text
    assert "Of 20 variants 20 have too few seeds for a verdict." in page.text


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A balanced grid of 24 variants, its comparison and the folder of its figures."""
    levels = {
        "architecture": ("conv1", "conv2"),
        "coordinates": ("none", "cartesian", "radial"),
        "pooling": ("max", "average"),
        "width": (8, 48),
    }
    failures = {(0, 0): "diverged"}
    results = synthetic_results(24, 5, 60, epochs=2, grid=levels, failures=failures)
    found = comparisons(results)
    directory = tmp_path_factory.mktemp("grid")
    write_figures(results, directory, comparisons=found)
    return results, found, directory


def test_a_grid_opens_with_its_verdicts_ends_and_factors(grid, tmp_path):
    results, found, directory = grid
    page = Page(
        write_report(results, found, directory, tmp_path / "r.html", command=COMMAND).read_text()
    )
    opening = page.text[page.text.index("Of 24 variants") : page.text.index("Show all")]
    table = found["test"].table
    variants = table[table["kind"] == "variant"]
    for verdict, words in (
        ("better", "better than"),
        ("worse", "worse than"),
        ("inconclusive", "undecided"),
    ):
        n = int((variants["verdict"] == verdict).sum())
        assert (f"{n} are {words}" in opening or f"{n} is {words}" in opening) == (n > 0)
    assert "1 has cells that failed" in opening
    sound = variants.loc[~variants["flagged"], "variant"]
    for name in [*sound[:3], sound.iloc[-1]]:
        assert found["test"].sentence(name) in opening
    assert opening.count("x the MSE of") == 4
    shown = [i.removeprefix("figure-") for i in page.ids if i.startswith("figure-")]
    assert shown[:2] == ["effects_test", "mse_test"]


def test_what_each_factor_does_is_what_the_figure_draws(grid):
    _, found, directory = grid
    drawn = pd.read_csv(directory / "effects_test.csv")
    table = effects_table(drawn, found["test"])
    assert [row[0] for row in table.rows] == list(dict.fromkeys(drawn["factor"]))
    for factor, _, best, least, worst, most, share in table.rows:
        levels = drawn[drawn["factor"] == factor].sort_values("ratio")
        ends = levels.iloc[[0, -1]]
        assert [best, worst] == list(ends["level"].astype(str))
        expected = [with_interval(*row) for row in ends[["ratio", "low", "high"]].to_numpy()]
        assert [least, most] == expected
        importance = found["test"].importance.table.set_index(["kind", "term"])
        assert share.startswith(f"{importance.loc[('shapley', factor), 'share']:.0%} [")


def test_further_figures_are_shown_once_of_the_split_of_most_images(html):
    """Those of other splits are folded away with their findings, but for kinds that the first split has not."""
    page = Page(html)
    shown = [i.removeprefix("figure-") for i in page.ids if i.startswith("figure-")]
    assert shown[0] == "mse_test"
    others = shown.index("mse_test_large")
    assert shown[others + 1 : others + 3] == ["slope_intercept_test_large", "where_test_large"]
    assert {"slope_intercept_test", "gallery_test", "learning_curves"} <= set(shown[others + 3 :])


def test_pairs_of_few_variants_are_there(html, results):
    text = Page(html).text
    pairs = comparisons(results)["test"].pairs_display()
    assert len(pairs) == 3
    for row in pairs.itertuples():
        assert f"{row.variant} {row.against} {row.ratio}" in text


def test_the_same_results_give_the_same_page(results, figures, tmp_path):
    pages = [
        write_report(results, comparisons(results), figures, tmp_path / name, command=COMMAND)
        for name in ("a.html", "b.html")
    ]
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_entries_of_tables():
    values = (None, np.nan, pd.NA, True, np.bool_(False), 28_658, 5, 0.07881, "x")
    texts = ["–", "–", "–", "yes", "no", "28,658", "5", "0.0788", "x"]
    assert [text_of(value) for value in values] == texts
    assert (
        facts({"torch": "2.13", "cores": [2, 16], "gpu": None}) == "torch 2.13, cores 2; 16, gpu –"
    )


def test_columns_of_numbers_are_told_from_columns_of_words():
    columns = {
        "estimator": ["conv1*", "huber"],
        "n": ["5/5", ""],
        "ratio": ["1.9 [1.6, 2.2]", "1,234"],
        "p": ["<0.001", ""],
        "share": ["3%", "–"],
        "verdict": ["worse", ""],
    }
    table = text_table(pd.DataFrame(columns), "caption")
    assert list(table.numeric) == [False, False, True, True, True, False]
