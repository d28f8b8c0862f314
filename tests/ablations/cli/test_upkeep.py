"""Verbs that look after results: they tell everything, lose nothing, and delete only what they have listed."""

import json
import sqlite3
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from ablations.cli.main import app
from ablations.execution.cells import train_cell
from ablations.records import exports
from ablations.records.database import database_path
from ablations.records.loading import load_results, results_from_store
from ablations.records.store import Store
from ablations.study import study as study_module
from ablations.study.outcome import Outcome
from ablations.study.reader import parse_study
from tests.ablations.tiny import TEXT

STUDY = parse_study(TEXT, name="tiny", source="tiny.toml")
CELLS = STUDY.cells()


def outcome(i):
    """The made-up results of a cell."""
    rng = np.random.default_rng(i)
    return Outcome(
        "ok",
        steps=6,
        seconds=1.0 + i,
        train_loss=rng.random(2),
        val_mse=rng.random(2),
        predictions={"test": rng.normal(size=(500, 2)).astype(np.float32)},
    )


def fill(results_dir, numbers, text=TEXT):
    """Results in which these cells of the tiny study are done."""
    with Store.write(database_path(results_dir, "tiny")) as store:
        for i in numbers:
            store.put(CELLS[i], outcome(i), {"git_commit": f"commit {i}"})
    (results_dir / "tiny" / "study.toml").write_text(text)
    return results_dir


def stored(results_dir):
    with Store.read(database_path(results_dir, "tiny")) as store:
        return {} if store is None else store.statuses()


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def change(results_dir, sql):
    """Put something wrong into a database."""
    db = sqlite3.connect(database_path(results_dir, "tiny"))
    with db:
        db.execute(sql)
    db.close()


def test_show_tells_all_about_a_cell(tmp_path):
    fill(tmp_path, range(2))
    with Store.write(database_path(tmp_path, "tiny")) as store:
        failure = Outcome(
            "error",
            "Traceback\nValueError: a\x1b[2Jb",
            train_loss=np.array([np.inf]),
            val_mse=np.array([np.nan]),
        )
        store.put(CELLS[2], failure, {"versions": {"torch": "2"}})
    shown = invoke("show", CELLS[2].key[:10], "--results", tmp_path)
    assert shown.exit_code == 0, shown.stderr
    for words in (CELLS[2].key, "error", "ValueError: a\\x1b[2Jb", "conv1", "inf", "'torch': '2'"):
        assert words in shown.stdout
    assert "\x1b" not in shown.stdout
    facts = json.loads(invoke("show", CELLS[1].key, "--json", "--results", tmp_path).stdout)
    assert facts["configuration"] == CELLS[1].configuration
    assert facts["provenance"] == {"git_commit": "commit 1"}
    assert facts["predictions"] == {"test": 500}
    assert invoke("show", "nothing", "--results", tmp_path).exit_code == 2
    assert "is the beginning of 3 keys" in invoke("show", "", "--results", tmp_path).stderr


def test_merge_unites_shards_and_changes_nothing_the_second_time(tmp_path):
    one, other = fill(tmp_path / "one", range(3)), fill(tmp_path / "other", range(2, 6))
    target = tmp_path / "results"
    merged = invoke("merge", one, other, "--results", target)
    assert merged.exit_code == 0, merged.stderr
    assert "3 added" in merged.stdout
    assert "1 there already" in merged.stdout
    assert stored(target) == {cell.key: "ok" for cell in CELLS}
    with (
        Store.read(database_path(target, "tiny")) as ours,
        Store.read(database_path(other, "tiny")) as theirs,
    ):
        assert ours.record(CELLS[5].key).provenance == {"git_commit": "commit 5"}
        assert ours.record(CELLS[5].key).finished == theirs.record(CELLS[5].key).finished
        np.testing.assert_array_equal(
            ours.outcome(CELLS[5].key).predictions["test"], outcome(5).predictions["test"]
        )
        before = list(ours.connection.iterdump())
    assert "0 added" in invoke("merge", one, other, "--results", target).stdout
    with Store.read(database_path(target, "tiny")) as ours:
        assert list(ours.connection.iterdump()) == before


def test_merge_reports_conflicts_and_mends_failures(tmp_path):
    target, source = fill(tmp_path / "results", [0, 1]), fill(tmp_path / "source", [0, 2])
    with Store.write(database_path(target, "tiny")) as store:
        store.put(CELLS[2], Outcome("timeout", "slow"), {})
    with Store.write(database_path(source, "tiny")) as store:
        store.put(CELLS[1], outcome(7), {})
        store.put(CELLS[0], Outcome("error", "why"), {})
    merged = invoke("merge", source, "--results", target)
    assert merged.exit_code == 1
    assert "1 failures replaced, 2 conflicts" in merged.stdout
    assert CELLS[0].key in merged.stdout
    assert CELLS[1].key in merged.stdout
    assert stored(target) == {cell.key: "ok" for cell in CELLS[:3]}
    with Store.read(database_path(target, "tiny")) as store:
        np.testing.assert_array_equal(store.outcome(CELLS[1].key).train_loss, outcome(1).train_loss)


def test_merge_refuses_what_is_not_the_same_study(tmp_path):
    target = fill(tmp_path / "results", [0])
    other = fill(tmp_path / "other", [1], TEXT.replace("width = 4", "width = 5"))
    refused = invoke("merge", other, "--results", target)
    assert refused.exit_code == 2
    assert str(target / "tiny" / "study.toml") in refused.stderr
    assert str(other / "tiny" / "study.toml") in refused.stderr
    assert len(stored(target)) == 1
    assert invoke("merge", tmp_path / "nothing", "--results", target).exit_code == 2
    assert invoke("merge", target, "--results", target).exit_code == 2


def test_check_finds_nothing_where_all_is_well(tmp_path):
    fill(tmp_path, range(6))
    with Store.read(database_path(tmp_path, "tiny")) as store:
        exports.write(results_from_store(STUDY, store), tmp_path / "tiny")
    checked = invoke("check", "tiny", "--results", tmp_path)
    assert (checked.exit_code, checked.stdout) == (0, ""), checked.stderr


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            "UPDATE cells SET configuration = json_set(configuration, '$.width', 5)",
            "is not the key",
        ),
        ("UPDATE predictions SET float32 = zeroblob(80)", "10 predictions on test, which has 500"),
        ("UPDATE predictions SET split = 'test_large'", "predictions on test: missing"),
        ("DELETE FROM epochs WHERE epoch = 2", "1 epochs of losses, 2 trained"),
        (f"UPDATE predictions SET float32 = x'{'0000c07f' * 1000}'", "not finite"),
        ("DELETE FROM provenance WHERE id = 1", "belongs to nothing in provenance"),
        (
            "UPDATE predictions SET float32 = zeroblob(4000)",
            "not the stored ones",
        ),
        ("UPDATE cells SET status = 'diverged'", "ok in the exports, diverged in the database"),
    ],
)
def test_check_finds_what_is_wrong(tmp_path, damage, words):
    fill(tmp_path, range(2))
    with Store.read(database_path(tmp_path, "tiny")) as store:
        exports.write(results_from_store(STUDY, store), tmp_path / "tiny")
    change(tmp_path, damage)
    checked = invoke("check", "tiny", "--results", tmp_path)
    assert checked.exit_code == 1
    assert words in checked.stdout


def test_check_trains_a_cell_again_and_compares_every_bit(tmp_path):
    torch.set_num_threads(1)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "study.toml").write_text(TEXT)
    with Store.write(database_path(tmp_path, "tiny")) as store:
        store.put(CELLS[0], train_cell(CELLS[0], "cpu", lambda epoch: None), {})
        store.put(CELLS[1], outcome(1), {})
    arguments = ("check", "tiny", "--results", tmp_path, "--retrain")
    assert invoke(*arguments, CELLS[0].key[:10]).exit_code == 0
    made_up = invoke(*arguments, CELLS[1].key[:10])
    assert made_up.exit_code == 1
    assert "other numbers" in made_up.stdout
    assert invoke(*arguments, "nothing").exit_code == 2


def test_clean_lists_before_it_deletes(tmp_path, monkeypatch):
    fill(tmp_path, range(3))
    with Store.write(database_path(tmp_path, "tiny")) as store:
        store.put(CELLS[3], Outcome("error", "why"), {})
        monkeypatch.setattr(study_module, "ENGINE_VERSION", 99)
        current = parse_study(TEXT, name="tiny", source="tiny.toml").cells()
        store.put(current[0], outcome(0), {})
    everything = stored(tmp_path)
    listed = invoke("clean", "tiny", "--results", tmp_path)
    assert listed.exit_code == 0, listed.stderr
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [c.key for c in CELLS[:4]]
    assert "4 cells" in listed.stderr
    assert "--yes" in listed.stderr
    assert stored(tmp_path) == everything
    assert invoke("clean", "tiny", "--yes", "--results", tmp_path).exit_code == 0
    assert stored(tmp_path) == {current[0].key: "ok"}
    with Store.write(database_path(tmp_path, "tiny")) as store:
        store.put(current[1], Outcome("error", "why"), {})
    assert invoke("clean", "tiny", "--results", tmp_path).stdout == ""
    assert (
        current[1].key in invoke("clean", "tiny", "--failed", "--yes", "--results", tmp_path).stdout
    )
    assert stored(tmp_path) == {current[0].key: "ok"}


@pytest.fixture
def archived(tmp_path):
    """Results with exports, and an archive of them."""
    results = fill(tmp_path / "results", range(6))
    with Store.read(database_path(results, "tiny")) as store:
        exports.write(results_from_store(STUDY, store), results / "tiny")
    done = invoke("archive", "tiny", "--to", tmp_path / "tiny.zip", "--results", results)
    assert done.exit_code == 0, done.stderr
    return results, tmp_path / "tiny.zip"


def test_an_archive_is_read_as_the_results_it_holds(archived, tmp_path):
    results, file = archived
    one, other = load_results("tiny", results), load_results(file, tmp_path / "nowhere")
    pd.testing.assert_frame_equal(one.cells, other.cells)
    assert one.study == other.study
    for mine, theirs in zip(
        one.splits["test"].variants, other.splits["test"].variants, strict=True
    ):
        np.testing.assert_array_equal(mine.predictions, theirs.predictions)
    compared = [
        invoke("compare", x, "--results", results, "--format", "csv").stdout for x in ("tiny", file)
    ]
    assert compared[0] == compared[1] != ""
    assert invoke("check", file).exit_code == 0


def test_verbs_that_take_a_folder_of_results_take_an_archive(archived, tmp_path):
    results, file = archived
    listed = [invoke("list", "--results", x, "--format", "json") for x in (results, file)]
    assert listed[0].exit_code == listed[1].exit_code == 0
    assert listed[0].stdout == listed[1].stdout
    assert "tiny" in listed[0].stdout
    key = CELLS[0].key
    shown = [invoke("show", key, "--results", x).stdout for x in (results, file)]
    assert shown[0] == shown[1] != ""
    other = fill(tmp_path / "other", [0])
    done = invoke("merge", file, "--results", other)
    assert done.exit_code == 0, done.stderr
    assert f"tiny from {file}: 5 added, 1 there already" in done.stdout
    assert stored(other) == stored(results)
    for verb in (["list"], ["show", key]):
        refused = invoke(*verb, "--results", tmp_path / "no.zip")
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "is no archive of results" in refused.stderr


def test_what_is_made_of_an_archive_takes_no_results_place(archived, tmp_path):
    """Pages and exports go where nothing is yet, and are those of the results that were packed."""
    results, file = archived
    before = {path: path.read_bytes() for path in results.rglob("*.csv")}
    for verb in ("export", "report"):
        refused = invoke(verb, file, "--results", results)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "tiny: holds results already; give those of" in refused.stderr
    assert {path: path.read_bytes() for path in results.rglob("*.csv")} == before
    done = invoke("export", file, "--to", tmp_path / "tidy")
    assert done.exit_code == 0, done.stderr
    other = tmp_path / "other"
    done = invoke("report", file, "--results", other)
    assert done.exit_code == 0, done.stderr
    assert str(other / "tiny" / "report.html") in done.stdout
    for folder in (tmp_path / "tidy", other / "tiny"):
        assert (folder / "cells.csv").read_bytes() == before[results / "tiny" / "cells.csv"]


@pytest.mark.parametrize("verb", ["watch", "clean", "archive"])
def test_verbs_that_look_after_results_leave_archives_alone(archived, verb):
    _, file = archived
    before = file.read_bytes()
    refused = invoke(verb, file, *(["--yes"] if verb == "clean" else []))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "is an archive, which stays as it was packed" in refused.stderr
    assert file.read_bytes() == before
    assert "or a path to a .toml file" in invoke("run", file).stderr


def test_the_same_results_make_the_same_archive(archived, tmp_path):
    results, file = archived
    again = tmp_path / "again.zip"
    assert invoke("archive", "tiny", "--to", again, "--results", results).exit_code == 0
    assert again.read_bytes() == file.read_bytes()
    refused = invoke("archive", "tiny", "--to", again, "--results", results)
    assert refused.exit_code == 2
    assert "is there already" in refused.stderr


def tampered(file, target, changes):
    """A copy of an archive with other files in it."""
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(target, "w") as copy:
        contents = {name: archive.read(name) for name in archive.namelist()}
        for name, content in changes(contents).items():
            copy.writestr(name, content)
    return target


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            lambda c: c | {"tiny/cells.csv": c["tiny/cells.csv"] + b" "},
            "not the file that was packed",
        ),
        (
            lambda c: {k: v for k, v in c.items() if k != "manifest.json"},
            "is no archive of results",
        ),
        (lambda c: {k: v for k, v in c.items() if k != "tiny/cells.csv"}, "cells.csv"),
        (lambda c: c | {"manifest.json": b"[]"}, "is no archive of results"),
        (lambda c: c | {"manifest.json": b'{"study": "..", "sha256": {}}'}, "no name of a study"),
        (
            lambda c: c | {"manifest.json": b'{"study": "tiny", "sha256": {"../../x": "0"}}'},
            "outside of the study",
        ),
    ],
)
def test_an_archive_that_was_changed_is_refused(archived, tmp_path, changes, words):
    _, file = archived
    refused = invoke("compare", tampered(file, tmp_path / "changed.zip", changes))
    assert refused.exit_code == 2
    assert words in refused.stderr


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "x.zip").write_text("no archive")
    assert "is no archive" in invoke("compare", tmp_path / "x.zip").stderr
    assert "is no archive" in invoke("compare", tmp_path / "missing.zip").stderr
