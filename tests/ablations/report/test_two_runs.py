"""The page of two runs says what their comparison says, and is whole without anything beside it."""

import pytest

from ablations.comparison.pairing import Side
from ablations.comparison.two_runs import compare_runs
from ablations.report.two_runs import write_two_runs
from tests.ablations.report.test_page import Page
from tests.ablations.synthetic import synthetic_results

COMMAND = "python -m ablations report 'a<b' --compare c"


@pytest.fixture(scope="module")
def found():
    one, other = (
        synthetic_results(10, 3, 60, epochs=3),
        synthetic_results(12, 4, 60, epochs=5, seed=1),
    )
    return compare_runs(Side("a<b", one), Side("c", other)), other


@pytest.fixture(scope="module")
def html(found, tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "against-c.html"
    return write_two_runs(*found, path, command=COMMAND).read_text(encoding="utf-8")


def test_it_says_everything_that_the_comparison_says(found, html):
    comparison, _ = found
    page = Page(html)
    assert page.text.startswith("a<b against c")
    for row in comparison.table.to_dict("records"):
        assert f"{comparison.sentence(row)}." in page.text
    for entries in comparison.display().to_numpy().tolist():
        assert " ".join(entries) in page.text
    for difference in comparison.differences:
        assert " ".join(difference.row()) in page.text
    assert {d.what for d in comparison.differences} >= {"epochs", "seeds", "hours of training"}
    assert comparison.methods.replace("`", "") in page.text
    assert all(note in page.text for note in comparison.notes())
    assert COMMAND in page.text


def test_nothing_is_loaded_and_every_chart_has_words(html):
    page = Page(html)
    assert not {"link", "script", "img", "iframe", "a"} & set(page.tags)
    labels = [a["aria-label"] for _, a in page.attributes if a.get("role") == "img"]
    assert len(labels) == 10
    assert all(" and " in label for label in labels)
