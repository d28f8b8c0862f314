"""The page over all studies says of each what its own files say, links what is there, and needs nothing else."""

import re
import shutil
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.comparison.study_comparison import compare_study
from ablations.records import exports
from ablations.records.folder import find_study
from ablations.report.index import read_table, write_index
from ablations.report.scale import LogAxis, bar
from tests.ablations.report.test_page import Page
from tests.ablations.synthetic import synthetic_results
from tests.ablations.tiny import TEXT


def keep(directory, results, name):
    """A study's exports and tables under a name, as a run leaves them. Its file is another: only counts need it."""
    exports.write(results, directory / name)
    (directory / name / "study.toml").write_text(TEXT)
    for split in results.splits:
        text = compare_study(results, split=split).to_text("csv")
        (directory / name / f"compare_{split}.csv").write_text(text)


@pytest.fixture(scope="module")
def results():
    return synthetic_results(7, 3, 60, epochs=3, failures={(1, 0): "diverged"})


@pytest.fixture(scope="module")
def folder(results, tmp_path_factory):
    directory = tmp_path_factory.mktemp("results")
    keep(directory, results, "grid+1")
    (directory / "broken").mkdir()
    (directory / "broken" / "study.toml").write_text("[grid")
    (directory / "fresh").mkdir()
    (directory / "fresh" / "study.toml").write_text(TEXT)
    (directory / "speed").mkdir()  # no study
    return directory


@pytest.fixture(scope="module")
def page(folder):
    return Page(write_index(folder).read_text(encoding="utf-8"))


def test_it_names_every_study_with_its_state(page):
    assert list(page.ids) == ["broken", "fresh", "grid+1"]
    assert "3 studies have results here" in page.text
    assert "broken: cannot be read" in page.text
    assert "expected valid TOML" in page.text
    assert "fresh: 0 of 6 cells ok, 6 to do" in page.text
    assert "Nothing of it has been trained yet." in page.text


def test_it_quotes_the_sentence_and_the_best_variants_of_the_comparison(page, results):
    comparison = compare_study(results)
    variants = comparison.table[comparison.table["kind"] == "variant"]
    assert f"{comparison.sentence(variants['variant'].iloc[0])}." in page.text
    assert "The best 5 of 7 variants" in page.text
    display = comparison.display()
    for name in variants["variant"][:5]:
        row = display[display["estimator"].str.rstrip("*†‡§") == name].iloc[0]
        assert f"{name} {row['ok']} {row.iloc[2]} {row.iloc[3]} {row['verdict']}" in page.text
    assert variants["variant"].iloc[5] not in page.text


def test_links_lead_to_files_and_nothing_is_loaded(page, folder):
    assert not {"link", "script", "img", "iframe"} & set(page.tags)
    links = [a["href"] for tag, a in page.attributes if tag == "a"]
    files = [link for link in links if not link.startswith("#")]
    assert {link.partition("/")[2] for link in files} >= {"cells.csv", "predictions.parquet"}
    assert all((folder / unquote(link)).is_file() for link in files)
    assert {unquote(link[1:]) for link in links if link.startswith("#")} == set(page.ids)


def test_tables_older_than_their_cells_are_told(folder, results, tmp_path):
    shutil.copytree(folder / "grid+1", tmp_path / "tiny")
    cells = pd.read_csv(tmp_path / "tiny" / "cells.csv")
    (tmp_path / "tiny" / "compare_test.csv").unlink()
    text = TEXT.replace("seeds = 3", "seeds = 30")
    (tmp_path / "tiny" / "study.toml").write_text(text)
    keys = [cell.key for cell in find_study("tiny", tmp_path).cells()][: len(cells)]
    cells.assign(key=keys).to_csv(tmp_path / "tiny" / "cells.csv", index=False)
    text = Page(write_index(tmp_path).read_text()).text
    assert "20 of 60 cells ok, 1 failed, 39 to do" in text
    assert "No comparison has been written yet: python -m ablations report tiny" in text
    few = synthetic_results(2, 3, 60, epochs=3)
    (tmp_path / "tiny" / "compare_test.csv").write_text(compare_study(few).to_text("csv"))
    assert "Written from 6 of 21 cells" in Page(write_index(tmp_path).read_text()).text


def test_a_folder_without_studies_says_how_to_begin(tmp_path):
    assert "No study has results here yet" in Page(write_index(tmp_path).read_text()).text


def test_the_table_with_most_images_is_read(tmp_path):
    results = synthetic_results(2, 3, 60, epochs=3)
    keep(tmp_path, results, "s")
    large = synthetic_results(2, 3, 90, epochs=3, splits=("test_large",))
    (tmp_path / "s" / "compare_test_large.csv").write_text(compare_study(large).to_text("csv"))
    assert (read_table(tmp_path / "s").split, read_table(tmp_path / "s").n_images) == (
        "test_large",
        90,
    )
    assert read_table(tmp_path) is None


def test_what_a_study_says_is_escaped(tmp_path):
    (tmp_path / "s").mkdir()
    text = TEXT.replace("Two narrow nets", "<script>alert(1)</script>")
    (tmp_path / "s" / "study.toml").write_text(text)
    assert "<script" not in write_index(tmp_path).read_text()


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20))
def test_numbers_keep_their_order_and_their_logarithmic_distances_on_the_axis(values):
    axis = LogAxis.over([*values, np.nan, 0.0])
    at = [axis.at(value) for value in values]
    assert all(0 <= x <= 100 for x in at)
    per_decade = 100 / np.log10(axis.high / axis.low)
    for value, x in zip(values, at, strict=True):
        assert x - at[0] == pytest.approx(np.log10(value / values[0]) * per_decade, abs=0.02)
    assert axis.high / axis.low >= 2
    one = bar(axis, values[0], np.nan, np.nan)
    assert (one.left, one.width) == (one.value, 0)


def test_the_axis_of_a_page_is_the_same_for_all_its_studies(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        keep(tmp_path, synthetic_results(3, 3, 60, epochs=3, seed=seed), name)
    text = write_index(tmp_path).read_text()
    dots = [float(x) for x in re.findall(r'class="dot" style="left: ([\d.]+)%', text)]
    values = [v for name in "ab" for v in read_table(tmp_path / name).variants["mse"]]
    slope, intercept = np.polyfit(np.log(values), dots, 1)
    np.testing.assert_allclose(np.log(values) * slope + intercept, dots, atol=0.02)
