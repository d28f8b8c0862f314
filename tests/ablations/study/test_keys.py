"""Keys of cells never change: finished cells are found again by them, in databases of years ago."""

import json
import string
from dataclasses import dataclass, replace

import pandas as pd
import pytest

from ablations.study import study as study_module
from ablations.study.factors import FACTORS, Plain
from ablations.study.reader import SHIPPED, load_study, parse_study
from linefit.images import SPLITS
from linefit.legal import Legal

GRID = """
seeds = 2
[protocol]
learning_rate = 1
engine = "dense"
[grid]
architecture = ["conv1", "conv2"]
coordinates = ["none", "cartesian"]
pooling = "max"
width = [8, 16]
epochs = [2, 3]
[evaluation]
splits = ["test"]
"""
# As the first release computed them.
GOLDEN = {
    "quick": (
        "1ea9c0f84b02093ec697988b1f860a42b17a73f92280cfae815706f46a225f5d",
        "9db609c9c131de428f3c26084abcde6b831d962b11855b5dd548e645a6911d86",
    ),
    "lab5": (
        "9b92c38d87f2102e959d1d9ed0ceed8e416eb28f8038f51f2f545d8f0d41fac8",
        "96b17399a0d1d9d85900b00e2c66481272a815f2d69aeb0db7594542d0bde1f1",
    ),
    "grid": (
        "2ee06b860bc072bec59fee5e72611da836c0527dbf57e6c640586fb1e6a6a65a",
        "d614be3739b7f04f0be2533e997b195c7506f8154934859f84aead2964d0f9bc",
    ),
}


def study(name):
    return parse_study(GRID, name="grid", source="grid") if name == "grid" else load_study(name)


def keys(name):
    cells = study(name).cells()
    return cells[0].key, cells[-1].key


@pytest.fixture
def first_engine(monkeypatch):
    """The version of the first release: a later one gives other numbers, and so other keys."""
    monkeypatch.setattr(study_module, "ENGINE_VERSION", 1)


@pytest.mark.parametrize("name", GOLDEN)
def test_keys_are_those_of_the_first_release(name, first_engine):
    assert keys(name) == GOLDEN[name]


def test_another_version_of_the_engine_has_other_keys():
    assert keys("grid") != GOLDEN["grid"]


@pytest.mark.parametrize("name", ["quick", "lab5"])
def test_keys_are_those_of_the_committed_results(name):
    committed = pd.read_csv(SHIPPED.parents[1] / "results" / name / "cells.csv")
    assert sorted(committed["key"]) == sorted(cell.key for cell in load_study(name).cells())


@pytest.fixture
def later_factor(monkeypatch):
    """A factor that came after the first release."""
    monkeypatch.setitem(FACTORS, "head", Plain(Legal(str), "mlp"))


def test_a_later_factor_leaves_the_keys_of_cells_that_do_not_use_it(later_factor, first_engine):
    cell = study("grid").cells()[0]
    plain, other = (
        replace(cell, variant=replace(cell.variant, levels={**cell.variant.levels, "head": head}))
        for head in ("mlp", "least_squares")
    )
    assert plain.key == GOLDEN["grid"][0]
    assert other.key != plain.key
    assert other.configuration["head"] == "least_squares"


def test_a_later_field_of_a_split_leaves_the_keys_of_cells_that_do_not_use_it(
    monkeypatch, first_engine
):
    @dataclass(frozen=True)
    class LaterSplit:
        size: int
        random_offset: int
        dim: int = 40

    facts = SPLITS["test"].size, SPLITS["test"].random_offset
    monkeypatch.setitem(SPLITS, "test", LaterSplit(*facts))
    assert keys("grid") == GOLDEN["grid"]
    monkeypatch.setitem(SPLITS, "test", LaterSplit(*facts, dim=56))
    assert keys("grid")[0] != GOLDEN["grid"][0]


def test_the_key_is_of_what_decides_the_numbers_alone():
    def parse(text):
        return parse_study(text, name="grid", source="grid").cells()

    cells, renamed = parse(GRID), parse(GRID.replace("seeds = 2", 'seeds = 2\ntitle = "another"'))
    assert [c.key for c in cells] == [c.key for c in renamed]
    assert len({c.key for c in cells}) == len(cells) == 32
    key = cells[0].key
    assert key not in {c.key for c in parse(GRID.replace("= 1", "= 2"))}
    assert key not in {c.key for c in parse(GRID.replace('["test"]', '["test_large"]'))}
    # A default that is spelled out is the same configuration, and so is another spelling of a number.
    assert key == parse(GRID.replace("= 1", "= 1.0\nbatch_size = 128"))[0].key
    assert len(key) == 64
    assert set(key) <= set(string.hexdigits)


def test_configurations_survive_json():
    for cell in study("grid").cells():
        assert json.loads(json.dumps(cell.configuration)) == cell.configuration
        assert set(study_module.FIRST_FACTORS) <= cell.configuration.keys()
