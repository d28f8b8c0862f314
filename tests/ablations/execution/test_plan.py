"""A plan trains what is asked for and not done yet, nothing else."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ablations.driver import plan_run
from ablations.execution.cost import (
    START_SECONDS,
    Timings,
    cell_seconds,
    duration,
    estimate,
    step_key,
)
from ablations.execution.model import DELTA, DENSE, sizes
from ablations.execution.plan import make_plan
from ablations.records.database import database_path
from ablations.records.store import Store
from ablations.study.outcome import Outcome
from ablations.study.reader import load_study, parse_study
from ablations.study.selection import selection
from ablations.study.settings import with_settings
from linefit.architectures import build
from linefit.engines import engine_for
from linefit.images import lab_images

QUICK = load_study("quick")
CELLS = QUICK.cells()


def plan(statuses=(), timings=(), device="cpu", stale=(), **options):
    """A plan where the first cells have these statuses and timings."""
    keys = [cell.key for cell in CELLS]
    return make_plan(
        QUICK,
        selection(**options),
        statuses=dict(zip(keys, statuses, strict=False)),
        timings=dict(zip(keys, timings, strict=False)),
        device=device,
        stale=stale,
    )


def test_done_and_failed_cells_are_not_trained_again():
    known = {"statuses": ["ok", "diverged"], "timings": [(3.0, "cpu"), (9.0, "cpu")]}
    first = plan(**known)
    assert (first.done, first.failed) == ((CELLS[0],), (CELLS[1],))
    assert first.todo == tuple(CELLS[2:])
    assert first.timings.variants == {CELLS[0].variant.name: [3.0]}
    assert plan(**known, retry_failed=True).todo == tuple(CELLS[1:])


def test_timings_of_another_kind_of_device_do_not_count():
    known = {"statuses": ["ok"], "timings": [(3.0, "cuda:0")]}
    assert plan(**known).timings.variants == {}
    assert len(plan(**known, device="cuda").timings.variants) == 1


def test_stale_cells_are_trained_on_request_alone():
    old = {cell.key for cell in CELLS[:4]}
    first = plan(["ok", "error"], stale=old)
    assert (first.done, first.failed) == (tuple(CELLS[:1]), tuple(CELLS[1:2]))
    assert (first.stale, first.todo) == (tuple(CELLS[2:4]), tuple(CELLS[4:]))
    assert plan(["ok", "error"], stale=old, rerun_stale=True).todo == tuple(CELLS[2:])


def test_the_longest_cells_of_each_seed_are_begun_first():
    seconds = {"simple": 1.0, "global-max-pooling": 3.0, "coordconv": 2.0}
    todo = plan(["ok"])
    queue = todo.queue({cell.key: seconds[cell.variant.name] for cell in CELLS})
    names = [cell.variant.name for cell in queue]
    assert names[:5] == [
        "global-max-pooling",
        "coordconv",
        "global-max-pooling",
        "coordconv",
        "simple",
    ]
    assert [cell.seed for cell in queue] == sorted(cell.seed for cell in queue)
    assert {cell.key for cell in queue} == {cell.key for cell in todo.todo}


def test_cells_that_share_index_tables_are_begun_together():
    study = parse_study(
        """
        title = "t"
        seeds = 2
        [grid]
        architecture = ["conv1", "conv2"]
        coordinates = ["none", "cartesian"]
        pooling = ["max", "average", "flatten"]
        width = [8, 16]
        """,
        name="t",
        source="t.toml",
        folder=Path(),
    )
    cells = study.cells()
    generator = np.random.default_rng(0)
    seconds = {cell.key: float(generator.exponential()) for cell in cells}
    todo = make_plan(study, selection(), statuses={}, timings={}, device="cpu")
    queue = todo.queue(seconds)
    assert sorted(queue, key=repr) == sorted(cells, key=repr)
    for seed in (0, 1):
        of_seed = queue[:24] if seed == 0 else queue[24:]
        assert {cell.seed for cell in of_seed} == {seed}
        groups = [
            list(group)
            for _, group in itertools.groupby(
                of_seed,
                lambda c: (c.variant.levels["architecture"], c.variant.levels["coordinates"]),
            )
        ]
        assert [len(group) for group in groups] == [6] * 4
        times = [[seconds[cell.key] for cell in group] for group in groups]
        assert all(group == sorted(group, reverse=True) for group in times)
        firsts = [group[0] for group in times]
        assert firsts == sorted(firsts, reverse=True)


def test_a_limit_takes_the_first_of_what_is_left():
    assert plan(["ok"], limit=2).todo == tuple(CELLS[1:3])


def test_more_seeds_than_the_study_has():
    assert {cell.seed for cell in plan(["ok"] * len(CELLS), seeds=range(7)).todo} == {5, 6}


def modelled(variants) -> dict[str, float]:
    found = sizes(variants)
    return {v.name: found[v.name].training(v.protocol) for v in variants}


def test_measured_cells_set_the_scale_of_those_that_are_not():
    cells = QUICK.cells([0])
    models = modelled(QUICK.variants)
    expected = cell_seconds(cells, Timings({"simple": [2 * models["simple"]] * 3}))
    assert expected == pytest.approx({cell.key: 2 * models[cell.variant.name] for cell in cells})


def test_a_step_takes_as_long_in_another_study():
    (cell, *_) = QUICK.cells([3])
    other = with_settings(QUICK, {"epochs": 7, "train_size": 300, "learning_rate": 0.1})
    (twin,) = (c for c in other.cells([8]) if c.variant.name == cell.variant.name)
    wider = dict(cell.configuration, width=7)
    steps = {step_key(twin.configuration): [0.2, 0.3, 9.0], step_key(wider): [5.0]}
    protocol = cell.protocol
    assert cell_seconds([cell], Timings({}, steps)) == pytest.approx(
        {cell.key: 0.3 * protocol.epochs * protocol.steps_per_epoch}
    )
    assert cell_seconds([cell], Timings({cell.variant.name: [4.0]}, steps)) == {cell.key: 4.0}


def test_an_estimate_says_what_it_rests_on():
    cells = QUICK.cells([0])
    known = Timings({cells[0].variant.name: [10.0]}, {step_key(cells[1].configuration): [0.01]})
    found = estimate(cells, known, 2)
    assert (found.cells, found.finished, found.elsewhere) == (3, 1, 1)
    assert "1 by finished cells of the variant, 1 by the same net in other studies" in str(found)
    assert "1 by a count of the arithmetic" in str(found)
    assert "rough guess" in str(estimate(cells, Timings(), 2))


@pytest.mark.parametrize(("n_done", "read"), [(2, True), (len(QUICK.cells()), False)])
def test_timings_of_other_studies_are_read_only_where_something_is_to_do(n_done, read):
    asked = []

    def elsewhere():
        asked.append(True)
        yield from ()

    statuses = {cell.key: "ok" for cell in QUICK.cells()[:n_done]}
    make_plan(
        QUICK, selection(), statuses=statuses, timings={}, device="cpu", elsewhere=elsewhere()
    )
    assert bool(asked) is read


def test_a_range_of_time_is_the_narrower_the_more_is_measured():
    cells = QUICK.cells()
    timed = [
        Timings(),
        Timings({"simple": [10.0]}),
        Timings({v.name: [5.0] for v in QUICK.variants}),
    ]
    found = [estimate(cells, known, 2) for known in timed]
    ratios = [one.high / one.low for one in found]
    assert ratios == sorted(ratios, reverse=True)
    assert estimate([], Timings(), 2).high == 0
    assert estimate(cells[:1], Timings({"simple": [0.01]}), 2).low > 1  # workers have to start


def test_evaluation_is_part_of_an_estimate():
    cells = QUICK.cells([0])
    without = [replace(cell, splits=()) for cell in cells]
    assert estimate(cells, Timings(), 1).high > 1.02 * estimate(without, Timings(), 1).high


def test_no_number_of_workers_ends_before_the_longest_cell():
    cells = QUICK.cells([0])
    longest = max(modelled(QUICK.variants).values())
    assert (
        3 * longest < estimate(cells, Timings(), 1000).high < 3 * 1.5 * longest + 3 * START_SECONDS
    )


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "5 s"), (120, "2.0 min"), (7200, "2.0 h")])
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("architecture", ["conv1", "conv3", "residual"])
def test_the_cost_of_nets_between_widths_is_that_of_the_nets(architecture):
    text = """
seeds = 1
[grid]
architecture = "ARCHITECTURE"
coordinates = "cartesian"
pooling = "max"
width = [8, 11, 24, 40, 64]
""".replace("ARCHITECTURE", architecture)
    for variant in parse_study(text, name="widths", source="widths").variants:
        net = build(**variant.net, seed=0)
        size = sizes([variant])[variant.name]
        assert size.parameters == pytest.approx(sum(p.numel() for p in net.parameters()))
        weights = [m.weight.numel() for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
        assert size.convolutions == pytest.approx(weights)


@pytest.mark.parametrize(
    "levels",
    [
        ("conv1", "none", "flatten"),
        ("conv2", "cartesian", "max"),
        ("conv2", "learned", "max"),
        ("conv2", "cartesian", "attention"),
        ("large_kernel", "none", "average"),
        ("pointnet", "cartesian", "max"),
        ("strided", "cartesian", "average"),
    ],
    ids="-".join,
)
def test_the_engine_is_foreseen(levels):
    text = """
title = "t"
[grid]
architecture = "{}"
coordinates = "{}"
pooling = "{}"
width = 8
""".format(*levels)
    (variant,) = parse_study(text, name="engines", source="engines").variants
    net = build(**variant.net, seed=0)
    engine, _ = engine_for(net, lab_images(1).pixels, "auto", torch.float32, torch.device("cpu"))
    rates = sizes([variant])[variant.name].rates
    assert (rates == DENSE, rates == DELTA) == (engine == "dense", engine == "delta")


def test_steps_of_other_studies_are_found_and_damaged_databases_passed_over(tmp_path):
    other = with_settings(QUICK, {"epochs": 7})
    cell = other.cells([8])[0]
    with Store.write(database_path(tmp_path, other.name)) as store:
        store.put(cell, Outcome("ok", "", steps=10, seconds=2.0, device="cpu"), {})
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "results.sqlite").write_bytes(b"no database" * 100)
    found = plan_run(QUICK, selection(), tmp_path, "cpu").timings
    assert found.steps == {step_key(cell.configuration): [0.2]}
    assert found.variants == {}
    assert plan_run(QUICK, selection(), tmp_path, "cuda").timings.steps == {}
