"""A plan trains what is asked for and not done yet, nothing else."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from ablations.execution.cost import (
    START_SECONDS,
    cell_seconds,
    duration,
    estimate,
    modelled_seconds,
)
from ablations.execution.plan import make_plan
from ablations.study.reader import load_study, parse_study
from ablations.study.selection import selection

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
    assert first.timings == {CELLS[0].variant.name: [3.0]}
    assert plan(**known, retry_failed=True).todo == tuple(CELLS[1:])


def test_timings_of_another_kind_of_device_do_not_count():
    known = {"statuses": ["ok"], "timings": [(3.0, "cuda:0")]}
    assert plan(**known).timings == {}
    assert len(plan(**known, device="cuda").timings) == 1


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


def test_measured_cells_set_the_scale_of_those_that_are_not():
    cells = QUICK.cells([0])
    models = modelled_seconds(QUICK.variants)
    expected = cell_seconds(cells, {"simple": [2 * models["simple"]] * 3})
    assert expected == pytest.approx({cell.key: 2 * models[cell.variant.name] for cell in cells})


def test_a_range_of_time_is_narrower_when_it_is_measured():
    cells = QUICK.cells()
    guess, measured = estimate(cells, {}, 2), estimate(cells, {"simple": [10.0]}, 2)
    assert guess.high / guess.low > measured.high / measured.low
    assert "rough guess" in str(guess)
    assert "finished cells" in str(measured)
    assert estimate([], {}, 2).high == 0
    assert estimate(cells[:1], {"simple": [0.01]}, 2).low > 1  # workers have to start


def test_no_number_of_workers_ends_before_the_longest_cell():
    cells = QUICK.cells([0])
    longest = max(modelled_seconds(QUICK.variants).values())
    assert 3 * longest < estimate(cells, {}, 1000).high < 3 * 1.5 * longest + 3 * START_SECONDS


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
    variants = parse_study(text, name="widths", source="widths").variants
    together = modelled_seconds(variants)
    for variant in variants:
        assert together[variant.name] == pytest.approx(modelled_seconds([variant])[variant.name])
