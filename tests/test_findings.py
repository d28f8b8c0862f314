"""What FINDINGS.md says is what the harness wrote: its tables are quoted rows, its intervals stand in them."""

import re
from pathlib import Path

import pandas as pd
import pytest

from ablations.comparison.spelling import with_interval

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
FINDINGS = (RESULTS / "FINDINGS.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- rows: (\S+) -->\n(.*?)\n<!-- end -->", FINDINGS, flags=re.S)
NUMBERS = re.findall(r"<!-- numbers: (\S+) -->\n(.*?)\n<!-- end -->", FINDINGS, flags=re.S)
QUOTED = "\n".join(block for _, block in BLOCKS + NUMBERS)
INTERVAL = re.compile(r"(\d[\d.,]*)x? (?:\[|\(95% CI \[)(\d[\d.,]*), (\d[\d.,]*)\]")


def intervals(text):
    return {match.groups() for match in INTERVAL.finditer(text)}


@pytest.mark.parametrize(("name", "block"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_quoted_rows_stand_in_the_harnesss_tables(name, block):
    written = (RESULTS / name).read_text(encoding="utf-8").splitlines()
    quoted = block.splitlines()
    assert len(quoted) > 3
    assert set(quoted) <= set(written)


@pytest.mark.parametrize(("name", "block"), NUMBERS, ids=[name for name, _ in NUMBERS])
def test_quoted_rows_are_the_numbers_of_figures(name, block):
    numbers = pd.read_csv(RESULTS / name, keep_default_na=False)
    labels = list(numbers.columns[: list(numbers.columns).index("variants")])
    drawn = {
        (*(str(row[label]) for label in labels), with_interval(row.ratio, row.low, row.high))
        for _, row in numbers.iterrows()
    }
    quoted = [tuple(line.strip("| ").split(" | ")) for line in block.splitlines()[2:]]
    assert len(quoted) > 1
    assert set(quoted) <= drawn


def test_every_interval_in_the_text_stands_in_a_quoted_row():
    quoted = intervals(QUOTED)
    text = re.sub(r"<!-- (?:rows|numbers): .*?<!-- end -->", "", FINDINGS, flags=re.S)
    said = intervals(text)
    assert len(said) > 10
    assert said <= quoted


def test_the_readme_says_the_same_in_five_sentences():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    said = readme.split("## What it shows")[1].split("\n## ")[0]
    numbered = re.findall(r"^\d\. ", said, flags=re.M)
    assert len(numbered) == 5
    quoted = intervals(QUOTED)
    shown = intervals("\n".join(re.findall(r"^\d\. .*(?:\n   .*)*", said, flags=re.M)))
    assert len(shown) > 5
    assert shown <= quoted
