"""The command line as its users meet it: real processes, real training, exit codes, crashes and resumption."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import ablations
from ablations.cli.main import app
from ablations.records.database import database_path
from ablations.records.store import Store
from ablations.study.outcome import Outcome
from ablations.study.reader import load_study
from tests.ablations.tiny import TEXT, write_tiny

SLOW = TEXT.replace("epochs = 2", "epochs = 60")  # seconds a cell: time enough to interrupt


def command(*arguments, module="ablations.run"):
    return [sys.executable, "-m", module, *map(str, arguments)]


def call(*arguments, module="ablations.run", cwd=None):
    return subprocess.run(
        command(*arguments, module=module),
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
        check=False,
    )


def invoke(*arguments):
    """A verb in this process, for what starts no workers."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def cells_in(results, study="tiny"):
    path = database_path(results, study)
    if not path.exists():
        return {}
    connection = sqlite3.connect(path)
    try:
        return dict(connection.execute("SELECT key, finished || seconds FROM cells").fetchall())
    except sqlite3.OperationalError:  # the schema is not there yet
        return {}
    finally:
        connection.close()


def wait_for_cells(process, results, number):
    deadline = time.monotonic() + 120
    while len(cells_in(results)) < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def tables(results):
    """Everything of a study's results that a rerun has to reproduce to the byte."""
    directory = results / "tiny"
    predictions = pd.read_parquet(directory / "predictions.parquet")
    cells = pd.read_csv(directory / "cells.csv").drop(columns=["seconds", "peak_memory_mib"])
    return (
        (directory / "compare_test.csv").read_text(),
        predictions,
        cells,
        (directory / "curves.csv").read_text(),
    )


def assert_same_tables(one, other):
    for mine, theirs in zip(tables(one), tables(other), strict=True):
        if isinstance(mine, pd.DataFrame):
            pd.testing.assert_frame_equal(mine, theirs)
        else:
            assert mine == theirs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny study that has been run without interruption: its directory and the finished process."""
    directory = tmp_path_factory.mktemp("finished")
    study = write_tiny(directory)
    return directory, call(study, "--results", directory / "results")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The slow study, run in one go."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    done = call(write_tiny(directory, SLOW), "--results", directory / "results", "--workers", 1)
    assert done.returncode == 0, done.stderr
    return directory / "results"


def test_a_run_ends_with_tables_figures_and_the_next_command(finished):
    directory, done = finished
    assert done.returncode == 0, done.stderr
    for estimator in (
        "none",
        "cartesian",
        "least_squares",
        "posterior_mean",
    ):
        assert estimator in done.stdout
    assert "python -m ablations compare tiny" in done.stdout
    assert "6 to do on cpu" in done.stderr
    assert "[6/6]" in done.stderr
    assert "\r" not in done.stderr  # no bar where nobody watches
    names = {
        path.relative_to(directory / "results" / "tiny").as_posix()
        for path in (directory / "results" / "tiny").rglob("*")
    }
    expected = {
        "results.sqlite",
        "study.toml",
        "cells.csv",
        "curves.csv",
        "predictions.parquet",
        "images.parquet",
    }
    expected |= {
        "compare_test.csv",
        "summary.md",
        "report.html",
        "figures/mse_test.png",
        "figures/mse_test.svg",
    }
    assert expected <= names
    assert (directory / "results" / "index.html").is_file()


def test_a_second_run_trains_nothing(finished):
    directory, _ = finished
    before = cells_in(directory / "results")
    done = call(directory / "tiny.toml", "--results", directory / "results")
    assert done.returncode == 0
    assert "6 done, 0 failed, 0 to do" in done.stderr
    assert cells_in(directory / "results") == before


def test_a_dry_run_writes_nothing(tmp_path):
    done = invoke(
        "run", write_tiny(tmp_path), "--results", tmp_path / "results", "--dry-run", "--seeds", 4
    )
    assert done.exit_code == 0
    assert "8 cells, 0 done, 0 failed, 8 to do" in done.stderr
    assert "rough guess" in done.stderr
    assert not (tmp_path / "results").exists()


def test_kill_9_and_a_second_run_give_the_table_of_an_uninterrupted_run(tmp_path, uninterrupted):
    study, results = write_tiny(tmp_path, SLOW), tmp_path / "results"
    with subprocess.Popen(
        command(study, "--results", results, "--workers", 2),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        wait_for_cells(process, results, 2)
        process.kill()
    survivors = cells_in(results)
    assert 2 <= len(survivors) < 6
    done = call(study, "--results", results)
    assert done.returncode == 0, done.stderr
    after = cells_in(results)
    assert survivors.items() <= after.items()  # finished cells were not trained again
    assert_same_tables(results, uninterrupted)


def test_an_interrupt_tells_how_to_go_on(tmp_path, uninterrupted):
    study, results = write_tiny(tmp_path, SLOW), tmp_path / "results"
    arguments = (study, "--results", results, "--workers", 1)
    with subprocess.Popen(
        command(*arguments),
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs with the signal ignored, and so would be what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        wait_for_cells(process, results, 1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Finished cells are safe; go on with: python -m ablations.run" in errors
    assert "Traceback" not in errors
    listed = json.loads(invoke("list", "--format", "json", "--results", results).stdout)
    assert next(row["done"] for row in listed if row["study"] == "tiny") == len(cells_in(results))
    done = call(*arguments)
    assert done.returncode == 0
    assert_same_tables(results, uninterrupted)


def test_five_mistakes_get_five_messages_and_exit_code_2(tmp_path):
    text = TEXT.replace("epochs = 2", "epochs = 0\nbatchsize = 3").replace('"conv1"', '"conv9"')
    text = text.replace('"max"', '"mx"').replace('["test"]', '["tst"]')
    done = call(write_tiny(tmp_path, text), "--results", tmp_path / "results")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 5
    for key in (
        "protocol.epochs",
        "protocol.batchsize",
        "grid.architecture[0]",
        "grid.pooling[0]",
        "splits[0]",
    ):
        assert key in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--where", "pooling=min"], "expected one of max"),
        (["--seeds", "x"], "a number of seeds such as 10"),
        (["--device", "tpu"], "'tpu' is not one of auto, cpu"),
        (["--limit", "0"], "greater than or equal to 1"),
        (["--results", __file__], "cannot be written"),
    ],
)
def test_usage_errors_exit_with_2(tmp_path, arguments, message):
    done = invoke("run", write_tiny(tmp_path), "--results", tmp_path / "results", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_failed_cells_are_told_kept_and_tried_again_on_request(tmp_path):
    text = TEXT.replace("width = 4", "width = 4\nlearning_rate = [1e-3, 1e30]").replace(
        "seeds = 3", "seeds = 1"
    )
    study, results = write_tiny(tmp_path, text), tmp_path / "results"
    done = call(study, "--results", results)
    assert done.returncode == 1
    assert "diverged: loss is not finite" in done.stderr
    assert "Failed: 2 of 4 cells; try them again with:" in done.stdout
    kept = cells_in(results)
    assert len(kept) == 4
    again = call(study, "--results", results)
    assert (again.returncode, cells_in(results)) == (1, kept)
    assert "2 done, 2 failed, 0 to do" in again.stderr
    retried = call(study, "--results", results, "--retry-failed")
    assert retried.returncode == 1
    assert "2 to do" in retried.stderr


def test_limit_and_where_leave_the_rest_for_later(tmp_path):
    study, results = write_tiny(tmp_path), tmp_path / "results"
    done = call(study, "--results", results, "--where", "coordinates=none", "--limit", 2)
    assert done.returncode == 0
    assert "Not trained yet: 1 of 3 cells; go on with:" in done.stdout
    assert len(cells_in(results)) == 2


def test_list_export_env_and_report(finished, tmp_path):
    directory, _ = finished
    results = directory / "results"
    listed = invoke("list", "--format", "json", "--results", results)
    rows = {row["study"]: row for row in json.loads(listed.stdout)}
    assert {"quick", "lab5", "tiny"} <= rows.keys()
    assert (rows["tiny"]["done"], rows["tiny"]["to do"], rows["quick"]["done"]) == (6, 0, 0)
    frame = pd.read_csv(StringIO(invoke("list", "--format", "csv", "--results", results).stdout))
    assert set(frame["study"]) == rows.keys()
    exported = invoke("export", "tiny", "--results", results, "--to", tmp_path / "out")
    assert exported.exit_code == 0
    assert all(Path(line).is_file() for line in exported.stdout.splitlines())
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "out" / "predictions.parquet"),
        pd.read_parquet(results / "tiny" / "predictions.parquet"),
    )
    facts = json.loads(call("env", module="ablations").stdout)
    assert facts["versions"]["torch"]
    made = directory / "results" / "tiny" / "summary.md"
    summary = made.read_text()
    made.unlink()
    reported = invoke("report", "tiny", "--results", results)
    assert reported.exit_code == 0
    written = [Path(line) for line in reported.stdout.splitlines()]
    assert {"summary.md", "report.html", "compare_test.csv"} <= {path.name for path in written}
    assert all(path.is_file() for path in written)
    # all but the line that says which command made it
    assert made.read_text().splitlines()[3:] == summary.splitlines()[3:]
    index = Path(invoke("report", "--results", results).stdout.strip())
    assert index == results / "index.html"
    assert 'href="tiny/report.html"' in index.read_text()
    missing = invoke("export", "quick", "--results", tmp_path)
    assert missing.exit_code == 2
    assert "python -m ablations.run quick" in missing.stderr


def test_two_runs_are_compared_and_set_side_by_side(finished, tmp_path):
    """What `compare A B` is asked after a change: here nothing has changed, and then one setting has."""
    directory, _ = finished
    results = directory / "results"
    shutil.copytree(results, tmp_path / "before")
    same = invoke("compare", "tiny", "--results", results, "--other-results", tmp_path / "before")
    assert same.exit_code == 0
    assert same.stdout.count("identical") >= 2
    assert f"MSE of tiny ({results}) against tiny ({tmp_path / 'before'}) on test" in same.stdout
    names = [variant.name for variant in load_study(directory / "tiny.toml").variants]
    pair = [f"tiny:{name}" for name in names]
    found = invoke("compare", *pair, "--results", results, "--format", "json")
    (row,) = json.loads(found.stdout)["table"]
    assert (row["one"], row["other"]) == tuple(names)
    page = Path(
        invoke("report", pair[0], "--compare", pair[1], "--results", results).stdout.strip()
    )
    assert page.parent == results / "tiny"
    assert f"tiny ({names[0]}) against tiny ({names[1]})" in page.read_text()
    for refused, words in (
        (["compare", "tiny", "tiny"], "is what it would be compared with"),
        (["compare", "tiny", "tiny:x"], "variant 'x' is not one of"),
        (["compare", *pair, "--against", "huber"], "--against cannot be used with two studies"),
        (["compare", "tiny", "nowhere"], "nowhere"),
        (["report", "--compare", "tiny"], "--compare needs a study"),
    ):
        done = invoke(*refused, "--results", results)
        assert (done.exit_code, done.stdout) == (2, "")
        assert words in done.stderr


def test_python_gives_what_the_command_line_gives(finished, tmp_path):
    directory, _ = finished
    results = ablations.run(directory / "tiny.toml", results_dir=tmp_path)
    assert len(results.to_frame()) == 6
    assert_same_tables(tmp_path, directory / "results")


def test_a_script_needs_no_guard_of_its_main_module(tmp_path):
    write_tiny(tmp_path, TEXT.replace("seeds = 3", "seeds = 1"))
    script = tmp_path / "script.py"
    script.write_text('import ablations\nprint(*ablations.run("tiny.toml").to_frame()["status"])\n')
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "ok ok"), done.stderr


def test_cells_that_all_failed_before_their_first_epoch_can_be_reported(tmp_path):
    study = load_study(write_tiny(tmp_path))
    with Store.write(database_path(tmp_path, "tiny")) as store:
        for cell in study.cells():
            store.put(cell, Outcome("error", "why"), {})
    done = call(tmp_path / "tiny.toml", "--results", tmp_path)
    assert done.returncode == 1, done.stderr
    assert "Failed: 6 of 6 cells" in done.stdout
    assert "Traceback" not in done.stderr


def test_results_of_an_earlier_version_of_a_file_are_not_those_of_the_file(finished, tmp_path):
    directory, _ = finished
    edited = write_tiny(tmp_path, TEXT.replace("width = 4", "width = 5"))
    done = invoke("report", edited, "--results", directory / "results")
    assert done.exit_code == 2
    assert "python -m ablations.run" in done.stderr


@pytest.mark.parametrize("verb", ["compare", "report", "export"])
def test_a_file_that_cannot_be_read_is_a_message(finished, tmp_path, verb):
    directory, _ = finished
    shutil.copytree(directory / "results" / "tiny", tmp_path / "tiny")
    database_path(tmp_path, "tiny").unlink()
    (tmp_path / "tiny" / "images.parquet").unlink()
    done = invoke(verb, "tiny", "--results", tmp_path)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert "images.parquet" in done.stderr
    assert not done.stdout


def test_broken_studies_and_databases_hide_no_other(tmp_path):
    texts = {"broken": b"[grid", "latin": b'title = "\xe9"', "a b": b"", "database": TEXT.encode()}
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.toml").write_bytes(text)
    (tmp_path / "database" / "results.sqlite").write_text("no database " * 100)
    listed = invoke("list", "--results", tmp_path)
    assert listed.exit_code == 2
    for words in ("valid TOML", "readable text file", "name of the study", "is no database"):
        assert words in listed.stderr
    assert "lab5" in listed.stdout


@pytest.mark.parametrize("verb", ["report", "export", "compare"])
def test_no_verb_reads_or_writes_outside_the_results(tmp_path, verb):
    (tmp_path / "x").mkdir()
    write_tiny(tmp_path / "x").rename(tmp_path / "x" / "study.toml")
    (tmp_path / "results").mkdir()
    done = invoke(verb, "../x", "--results", tmp_path / "results")
    assert done.exit_code == 2
    assert "../x" in done.stderr
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["study.toml"]


def test_a_process_that_only_asks_for_help_needs_no_results(tmp_path):
    done = call("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--retry-failed" in done.stdout
    assert not list(tmp_path.iterdir())
