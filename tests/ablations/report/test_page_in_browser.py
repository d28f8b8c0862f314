"""The page as its readers meet it, in headless Chromium: nothing is loaded, nothing overflows, tables answer.

Needs Chromium and `pip install -e .[browser]`; run with `tox -e browser`.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from ablations.comparison.pairing import Side
from ablations.comparison.study_comparison import compare_study
from ablations.comparison.two_runs import compare_runs
from ablations.report.index import write_index
from ablations.report.page import write_report
from ablations.report.plots import write_figures
from ablations.report.two_runs import write_two_runs
from linefit.images import lab_images
from tests.ablations.synthetic import RANDOM_OFFSET, synthetic_results
from tests.ablations.tiny import TEXT

pytestmark = pytest.mark.browser
FAILURES = {(1, 0): "diverged", (2, 1): "oom"}
LONG = "a-level-with-a-name-that-is-much-longer-than-any-column-of-a-table-ought-to-be-" * 2


def write(directory, results):
    images = {"test": lab_images(60, random_offset=RANDOM_OFFSET).pixels}
    write_figures(results, directory / "figures", images)
    comparisons = {split: compare_study(results, split=split) for split in results.splits}
    path = directory / "report.html"
    return write_report(
        results, comparisons, directory / "figures", path, command="python -m ablations.run x"
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A small study, one of 60 variants with failures, and one with a very long name and a title of all sorts."""
    splits = ("test", "test_large")
    small = synthetic_results(3, 3, 60, epochs=3, splits=splits)
    large = synthetic_results(60, 3, 60, epochs=3, failures=FAILURES, splits=splits)
    odd = synthetic_results(4, 3, 60, epochs=3, failures=FAILURES)
    split = odd.splits["test"]
    names = {variant.name: f"{variant.name}-{LONG}" for variant in split.variants}
    renamed = replace(
        odd,
        study=replace(
            odd.study,
            title=r"$x_1$ & <b>50%</b> of \frac{a}{b}",
            variants=tuple(replace(v, name=names[v.name]) for v in odd.study.variants),
        ),
        cells=odd.cells.replace({"variant": names}),
        curves=odd.curves.replace({"variant": names}),
        splits={
            "test": replace(
                split, variants=tuple(replace(v, name=names[v.name]) for v in split.variants)
            )
        },
    )
    written = {
        name: write(tmp_path_factory.mktemp(name), results)
        for name, results in (("small", small), ("large", large), ("odd", renamed))
    }
    folder = tmp_path_factory.mktemp("results")
    for name, results in (("small", small), ("large", large), ("odd", renamed)):
        (folder / name).mkdir()
        (folder / name / "study.toml").write_text(TEXT.replace("Two narrow", f"{LONG} narrow"))
        (folder / name / "compare_test.csv").write_text(compare_study(results).to_text("csv"))
    (folder / "broken").mkdir()
    (folder / "broken" / "study.toml").write_text("[grid")
    found = compare_runs(Side("small", small), Side(LONG, large))
    two = write_two_runs(found, large, folder / "two.html", command="python -m ablations report x")
    return {**written, "index": write_index(folder), "two": two}


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
    opened, complaints = [], []

    def visit(name, fragment="", **options):
        page = browser.new_page(**options)
        opened.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url))
        page.goto(f"{pages[name].as_uri()}{fragment}")
        return page

    yield visit
    for page in opened:
        page.close()
    assert [
        c for c in complaints if not c.startswith(tuple(p.as_uri() for p in pages.values()))
    ] == []


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


def first_table(page):
    """The table that the page opens with."""
    return page.evaluate("document.querySelector('table[id]').id")


@pytest.mark.parametrize("name", ["small", "large", "odd", "index", "two"])
@pytest.mark.parametrize("width", [400, 1000, 1600])
def test_nothing_overflows(visit, name, width):
    page = visit(name, viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["small", "odd", "index", "two"])
def test_it_is_accessible(visit, name, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = visit(name, color_scheme=scheme, viewport={"width": 1200, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


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
    assert len(numbers) == 69


def test_filters_narrow_the_rows_and_are_counted(visit):
    page = visit("large")
    table = first_table(page)
    controls = page.locator(".controls").first
    controls.get_by_label("coordinates").select_option("radial")
    left = rows(page, table)
    variants = [name for name in left if "-" in name]
    assert len(variants) == 12
    assert all("-radial-" in name for name in variants)
    assert "huber" in " ".join(left)  # estimators without training stay
    controls.get_by_label("Filter").fill("W8")
    assert len([name for name in rows(page, table) if "-radial-" in name]) == 6
    assert controls.get_by_role("status").text_content().startswith("6 of ")


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
    assert len(rows(page, table)) == 69
    assert page.evaluate("location.hash") == ""


def test_it_is_complete_without_scripts(visit):
    page = visit("large", java_script_enabled=False)
    table = page.locator("table[id]").first
    assert table.locator("tbody tr").count() == 69
    assert table.locator("tbody tr").last.is_visible()
    assert page.locator(".controls").count() == 0


def test_a_table_can_be_worked_by_keyboard(visit):
    page = visit("small")
    table = first_table(page)
    page.locator(f"#{table} thead button").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.locator(f"#{table} thead th").nth(1).get_attribute("aria-sort") == "ascending"


def test_a_title_with_dollar_signs_is_text(visit):
    page = visit("odd")
    assert page.locator("h1").text_content() == r"$x_1$ & <b>50%</b> of \frac{a}{b}"
