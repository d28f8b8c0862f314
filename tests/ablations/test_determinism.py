"""What comes of a cell on a CPU depends neither on who trains it, nor on the order, nor on what else is trained."""

import numpy as np
import pytest

from ablations.driver import BACKENDS, Options, plan_run, train
from ablations.records.database import database_path
from ablations.records.files import write_text
from ablations.records.folder import STUDY_FILE
from ablations.records.merging import merge, same_results
from ablations.records.store import Store
from ablations.study.reader import parse_study
from ablations.study.selection import Selection
from tests.ablations.tiny import TEXT

# Nets of both engines, of which delta maps have packs.
GRID = TEXT.replace("seeds = 3", "seeds = 2").replace(
    "width = 4", 'width = 4\nengine = ["auto", "dense"]'
)
STUDY = parse_study(GRID, name="tiny", source="tiny.toml")
CELLS = {cell.key: cell for cell in STUDY.cells()}


def trained(results_dir, *, shard=None, order=lambda cells: cells, **options):
    """What is stored of each cell when all, or a shard, have been trained into a folder of results."""
    chosen = Options(**{"device": "cpu", "workers": 1, "quiet": True} | options)

    def backend(cells, *rest):
        return BACKENDS[chosen.backend](order(cells), *rest)

    write_text(results_dir / "tiny" / STUDY_FILE, STUDY.text)
    with Store.write(database_path(results_dir, "tiny")) as store:
        plan = plan_run(STUDY, Selection(shard=shard), results_dir, "cpu")
        assert train(plan, store, backend, chosen)
    return stored(results_dir)


def stored(results_dir):
    with Store.read(database_path(results_dir, "tiny")) as store:
        return {key: store.outcome(key) for key in store.statuses()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Trained by one worker."""
    found = trained(tmp_path_factory.mktemp("one"))
    assert found.keys() == CELLS.keys()
    assert all(outcome.status == "ok" for outcome in found.values())
    return found


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, outcome in expected.items():
        assert same_results(found[key], outcome), CELLS[key].variant.name
        assert found[key].predictions["test"].tobytes() == outcome.predictions["test"].tobytes()


def test_two_workers_and_the_reverse_order(expected, tmp_path):
    assert_same(trained(tmp_path, workers=2, order=lambda cells: cells[::-1]), expected)


def test_shards_that_are_merged(expected, tmp_path):
    parts = [tmp_path / "part1", tmp_path / "part2"]
    sizes = [len(trained(part, shard=(i, 2))) for i, part in enumerate(parts, start=1)]
    assert sizes == [4, 4]
    (first, second) = merge(parts, tmp_path / "whole")
    assert (first.added, second.added, first.conflicts + second.conflicts) == (4, 4, ())
    assert_same(stored(tmp_path / "whole"), expected)


def test_packs_to_float32s_precision(expected, tmp_path):
    """Sums are in another order there; what no pack trains has the same bits."""
    found = trained(tmp_path, pack=4)
    packed = {key for key, outcome in found.items() if outcome.engine == "pack"}
    assert packed == {k for k, cell in CELLS.items() if cell.protocol.engine == "auto"}
    assert_same(*({k: x[k] for k in CELLS.keys() - packed} for x in (found, expected)))
    for key in packed:
        np.testing.assert_allclose(found[key].val_mse, expected[key].val_mse, rtol=1e-6)
        one, other = (x[key].predictions["test"] for x in (found, expected))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_jobs_of_slurm(expected, tmp_path):
    found = trained(tmp_path, backend="slurm", workers=2, slurm=("cluster=local",))
    assert_same(found, expected)


@pytest.mark.ray
def test_actors_of_ray(expected, tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 100 * 2**20}
    )
    try:
        where = {"backend": "ray", "ray_address": cluster.address}
        assert_same(trained(tmp_path, workers=2, **where), expected)
    finally:
        cluster.shutdown()
