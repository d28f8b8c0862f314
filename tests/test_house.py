"""The plan of the house: which room may import which, what no module may do, and how long a file may be.

Imports inside functions and for types alone count like any other.
"""

import ast
import subprocess
import sys
from pathlib import Path

import grimp
import networkx as nx
import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("linefit", "ablations", "benchmarks")
MOST_LINES = 300

# Room -> what it may import of the project. What stands further down may import more.
MAY_IMPORT = {
    "linefit.deltamap.kernels": {"linefit.deltamap.kernels"},
    "linefit.deltamap": {"linefit.deltamap"},
    "linefit.packs.kernels": {"linefit.packs.kernels"},
    "linefit": {"linefit"},
    "ablations.statistics": {"ablations.statistics"},
    "ablations.study": {"ablations.study", "linefit"},
    "ablations.execution": {"ablations.execution", "ablations.study", "linefit"},
    "ablations.records": {"ablations.records", "ablations.study", "linefit"},
    "ablations.comparison": {
        "ablations.comparison",
        "ablations.statistics",
        "ablations.records",
        "ablations.study",
        "linefit",
    },
    "ablations.report": {
        "ablations.report",
        "ablations.comparison",
        "ablations.statistics",
        "ablations.records",
        "ablations.study",
        "linefit",
    },
    "ablations.simulation": {"ablations.simulation", "ablations.statistics", "linefit"},
    "ablations.rounds": {"ablations.comparison", "ablations.records", "ablations.study"},
    "ablations.slurm": {"ablations.execution", "ablations.records", "ablations.study"},
    "ablations.driver": {
        "ablations.rounds",
        "ablations.slurm",
        "ablations.report",
        "ablations.execution",
        "ablations.records",
        "ablations.study",
        "linefit",
    },
    "ablations.notebook": {
        "ablations.driver",
        "ablations.report",
        "ablations.comparison",
        "ablations.execution",
        "ablations.records",
        "ablations.study",
        "linefit",
    },
    "ablations": {"ablations", "linefit"},
    "benchmarks": {"benchmarks", "ablations", "linefit"},
}
# Modules of the standard library and of others that reach outside the process.
INPUT_AND_OUTPUT = {
    *("io", "os", "pathlib", "shutil", "socket", "sqlite3", "subprocess", "sys", "tempfile"),
    *("logging", "urllib", "pyarrow", "typer", "tqdm", "matplotlib", "seaborn"),
}


@pytest.fixture(scope="session")
def graph():
    return grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)


def edges(graph):
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            yield module, imported


def within(module, rooms):
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def ours(module):
    return within(module, PACKAGES)


def test_nothing_is_imported_in_a_circle(graph):
    imports = nx.DiGraph((a, b) for a, b in edges(graph) if ours(a) and ours(b))
    circles = [sorted(c) for c in nx.strongly_connected_components(imports) if len(c) > 1]
    assert not circles


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_no_import_runs_against_the_direction(graph, room):
    inner = [other for other in MAY_IMPORT if other != room and other.startswith(f"{room}.")]
    own = [(a, b) for a, b in edges(graph) if within(a, [room]) and not within(a, inner)]
    assert any(within(module, [room]) for module in graph.modules), f"there is no {room}"
    wrong = [f"{a} imports {b}" for a, b in own if ours(b) and not within(b, MAY_IMPORT[room])]
    assert not wrong


def test_statistics_read_and_write_nothing(graph):
    wrong = [
        f"{a} imports {b}"
        for a, b in edges(graph)
        if within(a, ["ablations.statistics"]) and b.partition(".")[0] in INPUT_AND_OUTPUT
    ]
    assert not wrong
    for path in (ROOT / "ablations" / "statistics").glob("*.py"):
        calls = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
        assert not [c for c in calls if getattr(c.func, "id", "") in ("open", "print", "input")]


def test_only_the_command_line_ends_the_process():
    for package in PACKAGES[:2]:
        for path in (ROOT / package).rglob("*.py"):
            if (ROOT / "ablations" / "cli") in path.parents:
                continue
            text = path.read_text(encoding="utf-8")
            assert "sys.exit" not in text, path
            assert "SystemExit" not in text, path


def test_no_file_of_code_is_too_long():
    paths = [
        path
        for package in PACKAGES
        for kind in ("*.py", "*.j2", "*.js", "*.css")
        for path in (ROOT / package).rglob(kind)
    ]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    assert len(lengths) > 80
    assert {path: n for path, n in lengths.items() if n > MOST_LINES} == {}


def test_tests_mirror_the_packages():
    """A folder of tests tests a room."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        assert (ROOT / folder).is_dir(), f"{path} tests no room"


HEAVY = {"torch", "pandas", "scipy", "statsmodels", "numba", "seaborn", "matplotlib", "pyarrow"}


STATISTICS = {"pandas", "scipy", "statsmodels", "pyarrow"}


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("ablations.run --help", set()),
        ("ablations.run quick --seeds x", set()),
        ("ablations --help", set()),
        ("ablations lst", set()),
        ("ablations list", set()),
        ("ablations compare quick --format html", set()),
        ("ablations compare nowhere", set()),
        ("ablations compare quick --split test --format csv", STATISTICS),
    ],
)
def test_a_verb_imports_no_more_than_it_needs(command, allowed):
    """What takes seconds to import is imported where it is used: help and mistakes of usage are answered at once."""
    module, *arguments = command.split()
    script = (
        "import runpy, sys\n"
        f"sys.argv = {['x', *arguments]!r}\n"
        "try:\n"
        f"    runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        f"    print('imported:', *sorted({HEAVY!r} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    imported = next(x for x in done.stdout.splitlines() if x.startswith("imported:")).split()[1:]
    assert set(imported) <= allowed, done.stderr
