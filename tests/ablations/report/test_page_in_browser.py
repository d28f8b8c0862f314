"""The page as its readers meet it, in headless Chromium: nothing is loaded, nothing overflows, tables answer.

Needs Chromium and `pip install -e .[browser]`; run with `tox -e browser`.
"""

from __future__ import annotations

import functools
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.comparison.pairing import Side
from ablations.comparison.runs import compare_table
from ablations.comparison.study_comparison import compare_study
from ablations.comparison.two_runs import compare_runs
from ablations.records.tidy import error_table
from ablations.report.index import write_index
from ablations.report.page import write_report
from ablations.report.plots import write_figures
from ablations.report.runs_page import write_runs
from ablations.report.two_runs import write_two_runs
from linefit.images import lab_images
from tests.ablations.comparison.test_runs import tidy
from tests.ablations.synthetic import RANDOM_OFFSET, synthetic_results
from tests.ablations.tiny import TEXT

pytestmark = pytest.mark.browser
RESULTS = Path(__file__).parents[3] / "results"
COMMITTED = ("quick", "lab5", "factorial")  # studies whose pages are opened as they lie there
MADE = ("small", "large", "runs")
FAILURES = {(1, 0): "diverged", (2, 1): "oom"}
LONG = "a-level-with-a-name-that-is-much-longer-than-any-column-of-a-table-ought-to-be-" * 2
TITLE = r"$x_1$ & <b>50%</b> of \frac{a}{b}"
GRID = {
    "architecture": ("conv1", "conv2", "conv3", "conv4", "conv3-wide"),
    "coordinates": ("none", "cartesian", "radial", "sinusoidal-8", "cartesian-centred-scaled"),
    "pooling": ("max", "log-sum-exp"),
    "width": (48, 8),
}
VARIANTS, YARDSTICKS = 100, 9
ALIKE = [["figure svg > *"], ["tbody tr:nth-child(n+12)"], [".sentences li:nth-child(n+12)"]]


def write(directory, results):
    images = {"test": lab_images(60, random_offset=RANDOM_OFFSET).pixels}
    comparisons = {split: compare_study(results, split=split) for split in results.splits}
    write_figures(results, directory / "figures", images, comparisons)
    path = directory / "report.html"
    return write_report(
        results, comparisons, directory / "figures", path, command="python -m ablations.run x"
    )


def oddly_named(results):
    """The results with a title of all sorts and names that are longer than anything should be."""
    split = results.splits["test"]
    names = {variant.name: f"{variant.name}-{LONG}" for variant in split.variants}
    variants = tuple(replace(v, name=names[v.name]) for v in results.study.variants)
    rows = tuple(replace(v, name=names[v.name]) for v in split.variants)
    return replace(
        results,
        study=replace(results.study, title=TITLE, variants=variants),
        cells=results.cells.replace({"variant": names}),
        curves=results.curves.replace({"variant": names}),
        splits={"test": replace(split, variants=rows)},
    )


def small():
    """Three variants on two splits."""
    return synthetic_results(3, 3, 60, epochs=3, splits=("test", "test_large"))


def large():
    """A hundred variants with failures, very long names and a title of all sorts."""
    return oddly_named(synthetic_results(100, 3, 60, epochs=3, failures=FAILURES, grid=GRID))


def runs(folder):
    """Runs from anywhere."""
    data = error_table(tidy(), factors=("depth", "width"))
    write_runs(data, compare_table(data), folder, command=f"compare {LONG}", facts={})
    return folder / "report.html"


def index(folder):
    """The page over both studies and one that cannot be read."""
    for name, results in (("small", small()), ("large", large())):
        (folder / name).mkdir()
        (folder / name / "study.toml").write_text(TEXT.replace("Two narrow", f"{LONG} narrow"))
        (folder / name / "compare_test.csv").write_text(compare_study(results).to_text("csv"))
    (folder / "broken").mkdir()
    (folder / "broken" / "study.toml").write_text("[grid")
    return write_index(folder)


def two(folder):
    """Two runs side by side."""
    found = compare_runs(Side("small", small()), Side(LONG, small()))
    return write_two_runs(found, small(), folder / "two.html", command="python -m ablations x")


MAKERS = {
    "small": lambda folder: write(folder, small()),
    "large": lambda folder: write(folder, large()),
    "runs": runs,
    "index": index,
    "two": two,
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Path of a page by name: made when it is first asked for, or as it lies in `results`."""

    @functools.cache
    def page(name):
        if name in MAKERS:
            return MAKERS[name](tmp_path_factory.mktemp(name))
        path = RESULTS / name / "report.html"
        if not path.is_file():
            pytest.skip(f"results/{name} holds no page")
        return path

    return page


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, pages):
    """Open a page by name; whatever it asks of the network, and whatever it complains of, fails the test."""
    opened, complaints, addresses = [], [], []

    def visit(name, fragment="", **options):
        path = pages(name).as_uri()
        page = browser.new_page(**options)
        opened.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url))
        addresses.append(path)
        page.goto(f"{path}{fragment}")
        return page

    yield visit
    for page in opened:
        page.close()
    assert [c for c in complaints if not c.startswith(tuple(addresses))] == []


def rows(page, table="test", column="estimator"):
    """Entries of a column in the rows that are shown, in order."""
    return page.evaluate(
        """([id, name]) => {
            const table = document.getElementById(id);
            const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
            const shown = [...table.tBodies[0].rows].filter((row) => row.checkVisibility());
            return shown.map((row) => row.cells[heads.indexOf(name)].textContent.trim());
        }""",
        [table, column],
    )


def css(name):
    """A name as it stands in a selector."""
    return name.replace(".", r"\.")


def first_table(page):
    """The table that the page opens with."""
    return page.evaluate("document.querySelector('table[id]').id")


@pytest.mark.parametrize("name", [*MADE, *COMMITTED, "index", "two"])
def test_nothing_overflows(visit, name):
    page = visit(name)
    for width in (400, 1000, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", [*MADE, *COMMITTED, "index", "two"])
def test_it_is_accessible(visit, name):
    """In light and in dark, with everything unfolded, but for parts of figures, which are pictures with words, and the
    later rows of tables, which are as the first ones.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = visit(name, viewport={"width": 1200, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = axe.Axe().run(page, context={"exclude": ALIKE})
        assert found.violations_count == 0, f"{scheme}: {found.generate_report()}"


@pytest.mark.parametrize("name", [*MADE, *COMMITTED])
def test_tables_sort_filter_and_keep_their_state_in_the_fragment(visit, name):
    page = visit(name)
    table = first_table(page)
    everything = rows(page, table)
    heading = page.locator(f"#{css(table)} thead th.number:visible button").first
    heading.click()
    column = heading.text_content().strip()
    numbers = [float(text.partition(" ")[0].replace(",", "")) for text in rows(page, table, column)]
    assert numbers == sorted(numbers)
    heading.click()
    assert len(rows(page, table)) == len(everything)
    down = [float(text.partition(" ")[0].replace(",", "")) for text in rows(page, table, column)]
    assert down == sorted(numbers, reverse=True)
    wanted = everything[0].rstrip("*†‡§")
    page.locator(".controls").first.get_by_label("Filter").fill(wanted)
    kept = rows(page, table)
    assert everything[0] in kept
    assert len(kept) < len(everything)
    again = visit(name, page.evaluate("location.hash"))
    assert rows(again, table) == kept


@pytest.mark.parametrize("name", ["large", *COMMITTED])
def test_it_prints_on_few_pages_without_what_only_a_screen_can_use(visit, name):
    page = visit(name)
    assert page.pdf(format="A4").count(b"/Type /Page\n") <= 40
    page.emulate_media(media="print")
    assert not page.locator(".controls").first.is_visible()


def test_clicking_a_heading_sorts_and_again_turns_round(visit):
    page = visit("large")
    table = first_table(page)
    before = rows(page, table)
    heading = page.locator(f"#{table} thead button", has_text="estimator")
    heading.click()
    up = rows(page, table)
    assert sorted(up) == sorted(before)
    yardsticks = [name for name in up if "-" not in name]
    assert yardsticks == sorted(yardsticks)
    heading.click()
    assert rows(page, table) == up[::-1]
    page.locator(f"#{table} thead button", has_text="MSE [").first.click()
    texts = [text.partition(" ")[0].replace(",", "") for text in rows(page, table, "MSE [95% CI]")]
    numbers = [float(text) for text in texts]
    assert numbers == sorted(numbers)
    assert len(numbers) == VARIANTS + YARDSTICKS


def test_filters_narrow_the_rows_and_are_counted(visit):
    page = visit("large")
    table = first_table(page)
    controls = page.locator(".controls").first
    controls.get_by_label("coordinates").select_option("radial")
    left = rows(page, table)
    variants = [name for name in left if "-" in name]
    assert len(variants) == 20
    assert all("-radial-" in name for name in variants)
    assert "huber" in " ".join(left)  # estimators without training stay
    controls.get_by_label("Filter").fill("-W8-")
    assert len([name for name in rows(page, table) if "-radial-" in name]) == 10
    assert controls.get_by_role("status").text_content().startswith("10 of ")


def test_columns_can_be_hidden_and_the_address_keeps_it_all(visit):
    page = visit("large")
    table = first_table(page)
    controls = page.locator(".controls").first
    controls.get_by_text("Columns").click()
    controls.get_by_role("checkbox", name="verdict").uncheck()
    controls.get_by_label("pooling").select_option("max")
    page.locator(f"#{table} thead button", has_text="MSE [").first.click()
    before = rows(page, table)
    fragment = page.evaluate("location.hash")
    again = visit("large", fragment)
    assert rows(again, table) == before
    assert not again.locator(f"#{table} thead th", has_text="verdict").is_visible()
    controls.get_by_role("button", name="Reset").click()
    assert len(rows(page, table)) == VARIANTS + YARDSTICKS
    assert page.evaluate("location.hash") == ""


def test_it_is_complete_without_scripts(visit):
    page = visit("large", java_script_enabled=False)
    table = page.locator("table[id]").first
    assert table.locator("tbody tr").count() == VARIANTS + YARDSTICKS
    assert table.locator("tbody tr").last.is_visible()
    assert page.locator(".controls").count() == 0


def test_a_table_can_be_worked_by_keyboard(visit):
    page = visit("small")
    table = first_table(page)
    page.locator(f"#{table} thead button").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.locator(f"#{table} thead th").nth(1).get_attribute("aria-sort") == "ascending"


def test_a_title_with_dollar_signs_is_text(visit):
    page = visit("large")
    assert page.locator("h1").text_content() == TITLE
