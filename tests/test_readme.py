"""What the README quotes from `results/` is what the harness wrote there."""

import json
import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from ablations.comparison.last_epochs import last_epochs, last_epochs_display
from ablations.comparison.layout import markdown_table
from benchmarks.fused_step import table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("lab5", "speed")
}
PAGES["README"] = README


def block(name, page="README"):
    """The lines of a page between `<!-- name -->` and `<!-- end -->`."""
    text = PAGES[page]
    found = re.search(rf"<!-- {re.escape(name)} -->\n(.*?)\n?<!-- end -->", text, flags=re.S)
    assert found, f"{page} has no block {name!r}"
    return [line for line in found[1].splitlines() if line]


def section(summary, split):
    """The table of a split in a study's summary."""
    text = (ROOT / summary).read_text(encoding="utf-8").split(f"## {split} (")[1].split("\n## ")[0]
    return [line for line in text.splitlines() if line.startswith("|")]


def test_the_tables_are_the_harnesss():
    for page, split in (("README", "test_large"), ("lab5", "test_large"), ("lab5", "test")):
        quoted = block(f"table: results/lab5/summary.md, {split}", page)
        whole = section("results/lab5/summary.md", split)
        assert quoted[:2] == whole[:2]  # the columns
        assert len(quoted) > 5
        assert set(quoted) <= set(whole)


def test_the_noise_of_the_last_epoch_is_the_harnesss():
    shown = last_epochs_display(last_epochs(pd.read_csv(ROOT / "results/lab5/curves.csv")))
    whole = markdown_table(list(shown.columns), shown.to_numpy().tolist())
    assert block("table: results/lab5/curves.csv", "lab5") == whole.splitlines()
    (coordconv,) = shown[shown["estimator"] == "coordconv"].to_numpy().tolist()
    _, epochs, last, median, spikes = coordconv
    quoted = " ".join(README.split())
    assert spikes == "3/5"
    assert (
        f"{last} after the last epoch, where the median of the last 10 of {epochs} epochs is {median}"
        in quoted
    )


@pytest.mark.parametrize("page", ["README", "lab5"])
def test_the_sentences_are_the_harnesss(page):
    quoted = [line.removeprefix("- ") for line in block("sentences: results/lab5/summary.md", page)]
    summary = (ROOT / "results/lab5/summary.md").read_text(encoding="utf-8")
    assert len(quoted) == 3
    for sentence in quoted:
        assert f"- {sentence}\n" in summary


def test_what_a_trained_net_can_reach_is_the_harnesss():
    (row,) = (
        line
        for line in section("results/below_least_squares/summary.md", "test_large")
        if line.startswith("| hough |") and line.count("|") == 7
    )
    _, _, ok, mse, _, ratio, verdict, _ = map(str.strip, row.split("|"))
    (value, interval) = ratio.split(" ", 1)
    quoted = " ".join(README.split())
    assert (ok, verdict) == ("5/5", "better")
    assert f"MSE {mse} where the floor is" in quoted
    assert f"{value} times that of least squares {interval}" in quoted


def test_the_speed_table_is_the_benchmarks():
    report = json.loads((ROOT / "results/speed/fused_step.json").read_text(encoding="utf-8"))
    assert (
        block("table: results/speed/fused_step.json", "speed")
        == table(report["cases"]).splitlines()
    )


def test_it_is_no_longer_than_two_screens_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 120
    links = re.findall(r"\]\(([^)#]+)\)", README)
    here = [link for link in links if not link.startswith("https://")]
    assert len(here) > 15
    assert [link for link in here if not (ROOT / link).exists()] == []
    columns = [line.count("|") - 1 for line in README.splitlines() if line.startswith("|")]
    assert max(columns) <= 7


def test_the_citation_names_the_package_as_it_is():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"version: {project['version']}\n" in citation
    assert f"license: {project['license']}\n" in citation
    assert project["name"] in citation


def test_the_commands_of_ci_are_the_readmes():
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (command,) = (line for line in README.splitlines() if line.endswith(".venv/bin/tox"))
    assert command in ci


def test_what_contributors_are_sent_to_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+(?:\.py|/))`", text)
    beside = {"kernels/": "linefit/deltamap/kernels/"}
    beside |= {
        name: f"linefit/{name}" for name in ("pooling.py", "convolutions.py", "sets.py", "heads.py")
    }
    assert len(named) > 25
    assert [name for name in named if not (ROOT / beside.get(name, name)).exists()] == []
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("linefit", "ablations", "tests")
        for path in (ROOT / folder).rglob("*.py")
    )
    words = {word for word in re.findall(r"`(\w+)`", text) if "_" in word or word[0].isupper()}
    assert {word for word in words if word not in code} == set()


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*/provenance.json")), ids=str)
def test_committed_results_come_from_a_commit_without_local_changes(path):
    provenance = json.loads(path.read_text(encoding="utf-8"))
    assert provenance["git_commit"]
    assert provenance["git_dirty"] is False
