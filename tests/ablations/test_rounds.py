"""Seeds are added where something is lacking, up to the most, and an interrupted run makes the same looks."""

from dataclasses import replace

import numpy as np
import pytest

from ablations import driver
from ablations.cli.run import describe, sought_text
from ablations.comparison.study_comparison import compare_study
from ablations.execution.events import Finished
from ablations.records import exports
from ablations.records.database import StoreError, database_path
from ablations.records.folder import STUDY_FILE
from ablations.records.loading import load_results
from ablations.records.merging import merge
from ablations.records.store import Store
from ablations.report import outputs
from ablations.study.outcome import Outcome
from ablations.study.reader import parse_study
from ablations.study.selection import Selection, selection
from ablations.study.study import StudyError
from ablations.study.until import Looks, parse_until, seeds_in_order
from linefit.images import lab_split
from tests.ablations.tiny import TEXT

STUDY = parse_study(TEXT, name="tiny", source="tiny.toml")
SPREAD = {"none": 0.01, "cartesian": 0.2}  # of the log of a seed's standard error
TRUTH = lab_split("test").params
OPTIONS = driver.Options("cpu", quiet=True)


def outcome(cell, failing=()):
    """Made-up predictions of a cell: of one variant seeds are alike, of the other they are not."""
    if (cell.variant.name, cell.seed) in failing:
        return Outcome("diverged", "made up")
    rng = np.random.default_rng([cell.seed, cell.variant.name == "none"])
    scale = 3 * np.exp(SPREAD[cell.variant.name] * rng.standard_normal())
    noise = scale * rng.standard_normal(TRUTH.shape)
    return Outcome("ok", predictions={"test": (TRUTH + noise).astype(np.float32)})


@pytest.fixture
def trained(monkeypatch):
    """Nothing is trained or drawn; cells that would be are noted here, and `limit` of them end in Ctrl-C."""
    noted = {"cells": [], "limit": 10**6, "failing": ()}

    def backend(cells, seconds, options, directory):
        for cell in cells:
            if len(noted["cells"]) == noted["limit"]:
                raise KeyboardInterrupt
            noted["cells"].append((cell.variant.name, cell.seed))
            yield Finished(cell, outcome(cell, noted["failing"]))

    monkeypatch.setitem(driver.BACKENDS, "local", backend)
    monkeypatch.setattr(
        outputs, "write_outputs", lambda results, folder, *_: exports.write(results, folder)
    )
    return noted


def run(results_dir, *texts, most=None, chosen=None, options=OPTIONS, **more):
    return driver.run_study(
        STUDY,
        chosen or Selection(),
        results_dir=results_dir,
        options=options,
        command="",
        until=parse_until(texts, most),
        **more,
    )


def seeds_of(run):
    return {v.name: len(v.seeds) for v in run.results.splits["test"].variants}


def test_a_variant_has_as_many_seeds_as_it_takes(tmp_path, trained):
    done = run(tmp_path, "ratio within 30%", most=11)
    assert seeds_of(done) == {"none": 5, "cartesian": 11}
    assert done.results.looks == Looks((5, 7, 11), ("ratio within 30%",))
    stood = {standing.variant: standing for standing in done.sought.standings}
    assert stood["none"].reached
    assert not stood["cartesian"].reached
    assert done.sought.made == 3
    assert (done.failed, done.missing, len(done.plan.selected)) == (0, 0, 16)
    text = sought_text(done.sought).splitlines()
    assert text[1] == "Until ratio within 30%: 3 of 3 looks made (at 5, 7, 11 seeds)"
    assert text[2].startswith("  none: reached with 5 seeds (ratio ")
    assert text[3].startswith("  cartesian: not reached with 11 seeds (ratio ")


def test_every_look_before_the_last_fell_short(tmp_path, trained):
    done = run(tmp_path, "cartesian ratio within 80%", most=26)
    n = seeds_of(done)
    looks = done.results.looks.seeds
    assert n["none"] == 5
    assert 5 < n["cartesian"] < 26
    percents = []
    for look in looks[: looks.index(n["cartesian"]) + 1]:
        data = done.results.splits["test"]
        cut = [
            replace(
                v, seeds=v.seeds[:look], status=v.status[:look], predictions=v.predictions[:look]
            )
            for v in data.variants
        ]
        cut = replace(done.results, splits={"test": replace(data, variants=tuple(cut))})
        row = compare_study(cut).table.set_index("variant").loc["cartesian"]
        percents.append(row["ratio_high"] / row["ratio"] - 1)
    assert (np.array(percents[:-1]) > 0.8).all()
    assert percents[-1] <= 0.8


def test_an_interrupted_run_makes_the_same_looks(tmp_path, trained):
    targets = ("ratio within 30%", "verdict")
    whole = run(tmp_path / "whole", *targets, most=11)
    trained["cells"].clear()
    for limit in (3, 10, 11, 14):
        trained["limit"] = limit
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "again", *targets, most=11)
        assert len(trained["cells"]) == limit
    trained["limit"] = 10**6
    again = run(tmp_path / "again", *targets)
    assert len(trained["cells"]) == len(set(trained["cells"])) == len(whole.plan.selected) == 16
    assert again.sought == whole.sought
    assert seeds_of(again) == seeds_of(whole)


def test_failed_seeds_are_seeds(tmp_path, trained):
    trained["failing"] = {("none", 1), ("none", 6)}
    done = run(tmp_path, "none ratio within 30%", most=8)
    assert seeds_of(done) == {"none": 8, "cartesian": 5}
    assert done.failed == 2
    assert not done.sought.standings[0].reached  # one that failed counts as the constant
    trained["cells"].clear()
    trained["failing"] = {("none", 6)}
    retried = selection(retry_failed=True)
    assert run(tmp_path, "none ratio within 30%", chosen=retried).failed == 0
    assert trained["cells"].count(("none", 1)) == 1


def test_fail_fast_ends_all_rounds(tmp_path, trained):
    trained["failing"] = {("none", 6)}
    done = run(tmp_path, "none ratio within 0.1%", most=8, options=replace(OPTIONS, fail_fast=True))
    assert trained["cells"][-1] == ("none", 6)
    assert (done.failed, done.missing) == (1, 1)
    assert done.sought.made == 1


def test_only_variants_of_the_selection_have_more_seeds(tmp_path, trained):
    done = run(tmp_path, "verdict", chosen=selection(where="coordinates=none"))
    assert {name for name, _ in trained["cells"]} == {"none"}
    assert seeds_of(done) == {"none": 5}


def test_looks_outlive_the_run_that_made_them(tmp_path, trained):
    run(tmp_path, "verdict", most=8)
    looks = Looks((5, 8), ("verdict",))
    assert run(tmp_path).results.looks == looks  # a plain run does not undo them
    assert load_results("tiny", tmp_path).looks == looks
    with pytest.raises(StudyError, match="--max-seeds: 40 is not legal; expected one of 5, 8,"):
        run(tmp_path, "verdict", most=40)
    database_path(tmp_path, "tiny").unlink()
    assert load_results("tiny", tmp_path).looks == looks  # from the exports
    plain = replace(load_results("tiny", tmp_path), looks=None)
    exports.write(plain, tmp_path / "tiny")
    assert load_results("tiny", tmp_path).looks is None


def test_looks_are_merged_and_two_ways_of_looking_are_not(tmp_path, trained):
    for folder, most in (("one", 8), ("two", 11)):
        run(tmp_path / folder, "verdict", most=most)
    merge([tmp_path / "one"], tmp_path / "all")
    with Store.read(database_path(tmp_path / "all", "tiny")) as store:
        assert store.looks() == Looks((5, 8), ("verdict",))
    with pytest.raises(StoreError, match=r"different looks \(at 5, 7, 11 and 5, 8 seeds\)"):
        merge([tmp_path / "two"], tmp_path / "all")


def test_a_mistake_leaves_no_folder_behind_and_a_dry_run_none_either(tmp_path, trained):
    for texts, most in ((("nobody verdict",), None), (("verdict",), 4)):
        with pytest.raises(StudyError):
            run(tmp_path, *texts, most=most)
    with pytest.raises(StudyError, match="--limit: expected none beside --until"):
        run(tmp_path, "verdict", chosen=selection(limit=3))
    plan = driver.plan_run(STUDY, Selection(), tmp_path, "cpu", parse_until(["verdict"]))
    assert describe(plan, OPTIONS).startswith("tiny, look 1 of 6, at 5 seeds: 10 cells, 0 done")
    assert not list(tmp_path.iterdir())


def test_a_dry_run_tells_of_the_round_that_is_next(tmp_path, trained):
    trained["limit"] = 12
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "cartesian ratio within 1%")
    plan = driver.plan_run(
        STUDY, Selection(), tmp_path, "cpu", parse_until(["cartesian ratio within 1%"])
    )
    assert plan.round == "look 2 of 6, at 8 seeds"
    assert [(c.variant.name, c.seed) for c in plan.todo] == [("cartesian", 7)]
    assert (tmp_path / "tiny" / STUDY_FILE).is_file()


def test_seeds_of_the_study_come_first(tmp_path, trained):
    study = parse_study(TEXT.replace("seeds = 3", "seeds = [9, 4]"), name="tiny", source="t")
    assert seeds_in_order(study, 4) == (9, 4, 0, 1)
