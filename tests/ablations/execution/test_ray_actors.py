"""Cells on a real Ray cluster, several nodes on one machine: the same numbers, the same statuses, and nodes that go."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from ablations.driver import Options
from ablations.execution.cells import train_cell
from ablations.execution.events import Finished, Progress
from ablations.execution.messages import Inbox, send
from ablations.records.database import database_path
from ablations.records.merging import same_results
from ablations.records.store import Store
from ablations.study.reader import parse_study
from tests.ablations.tiny import TEXT, write_tiny

pytestmark = pytest.mark.ray
CELLS = parse_study(TEXT, name="tiny", source="tiny.toml").cells()
STORE_BYTES = 100 * 2**20  # a node's memory for objects, of which cells need next to none


@pytest.fixture(scope="module")
def cluster():
    """A head without cores and two nodes of one core each."""
    from ray.cluster_utils import Cluster

    # Nodes share this machine with all else that it does.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112, it is called so
    small = {"object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    for _ in range(2):
        cluster.add_node(num_cpus=1, **small)
    yield cluster
    cluster.shutdown()


def run(cluster, cells, **options):
    from ablations.execution.ray_actors import run_cells_on_ray

    address = {"ray_address": cluster.address, "device": "cpu", "backend": "ray"}
    return run_cells_on_ray(cells, Options(**{"workers": 2} | address | options))


def with_levels(cell, **levels):
    return replace(cell, variant=replace(cell.variant, levels={**cell.variant.levels, **levels}))


def by_key(events):
    return {event.cell.key: event.outcome for event in events if isinstance(event, Finished)}


def workers():
    """Our worker processes, none of Ray's."""
    found = []
    for process in psutil.process_iter():
        try:
            if "spawn_main" in " ".join(process.cmdline()):
                found += [process] if process.parent().name().startswith("ray::") else []
        except (psutil.NoSuchProcess, AttributeError):  # it, or its parent, has just ended
            continue
    return found


def assert_gone(processes):
    assert processes
    _, alive = psutil.wait_procs(processes, timeout=20)
    # Nobody may have collected them yet.
    assert not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_a_cell_has_the_same_bits_on_a_cluster_and_says_where_it_was_trained(cluster):
    events = list(run(cluster, CELLS[:3]))
    finished = by_key(events)
    assert finished.keys() == {cell.key for cell in CELLS[:3]}
    for cell in CELLS[:3]:
        here = train_cell(cell, "cpu", lambda epoch: None)
        assert here.status == "ok"
        assert same_results(here, finished[cell.key])
        np.testing.assert_array_equal(
            here.predictions["test"], finished[cell.key].predictions["test"]
        )
    assert [e.epoch for e in events if isinstance(e, Progress) and e.cell is CELLS[0]] == [0, 1, 2]
    assert all(e.provenance["cores"] for e in events if isinstance(e, Finished))


def test_messages_that_arrive_together_are_passed_on_one_by_one():
    from ablations.execution.ray_actors import _Actor

    ours, theirs = multiprocessing.Pipe()
    actor, outcomes = object.__new__(_Actor), [train_cell(CELLS[0], "cpu", lambda epoch: None)]
    inbox = Inbox(ours)
    actor.worker = SimpleNamespace(connection=ours, give=lambda job: None, message=inbox.next)
    for message in (0, 1, 2, outcomes):
        send(theirs, message)
    passed_on = []
    thread = threading.Thread(target=lambda: passed_on.extend(actor.train(())), daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert passed_on[:3] == [0, 1, 2]
    assert same_results(passed_on[3][0], outcomes[0])


def test_threads_are_set_in_the_workers(cluster):
    for node in range(2):
        (event,) = [e for e in run(cluster, CELLS[:1], workers=1) if isinstance(e, Finished)]
        assert event.outcome.threads == 1, node


def test_what_goes_wrong_has_the_status_that_it_has_without_ray(cluster):
    endless = [with_levels(cell, epochs=100_000) for cell in CELLS]
    cells = [
        with_levels(CELLS[0], pooling="nonsense"),
        with_levels(CELLS[0], learning_rate=1e30),
        endless[0],
        endless[1],
        endless[2],
        CELLS[1],
    ]
    finished, treated = {}, set()
    for event in run(cluster, cells, workers=1, timeout=15.0):
        if isinstance(event, Finished):
            finished[event.cell.key] = event.outcome
        elif event.epoch > 0 and event.cell in endless[:2] and event.cell.key not in treated:
            treated.add(event.cell.key)
            (worker,) = workers()
            os.kill(worker.pid, signal.SIGKILL if event.cell is endless[0] else signal.SIGSEGV)
    statuses = [finished[cell.key].status for cell in cells]
    assert statuses == ["error", "diverged", "oom", "error", "timeout", "ok"]
    assert "killed by SIGSEGV" in finished[endless[1].key].message
    assert "the limit is 15 s" in finished[endless[2].key].message
    assert not workers()


def test_a_stopped_worker_is_replaced_when_its_time_is_over(cluster):
    cells = [with_levels(CELLS[0], epochs=100_000), CELLS[1]]
    finished, stopped = {}, []
    for event in run(cluster, cells, workers=1, timeout=8.0):
        if isinstance(event, Finished):
            finished[event.cell.key] = event.outcome.status
        elif event.cell is cells[0] and event.epoch > 0 and not stopped:
            stopped += workers()
            os.kill(stopped[0].pid, signal.SIGSTOP)
    assert [finished[cell.key] for cell in cells] == ["timeout", "ok"]
    assert_gone(stopped)


def test_closing_the_stream_ends_the_workers(cluster):
    events = run(cluster, [with_levels(CELLS[0], epochs=100_000)], workers=1)
    next(events)
    started = workers()
    events.close()
    assert_gone(started)


def test_no_worker_outlives_its_driver(cluster, tmp_path):
    study = write_tiny(tmp_path, TEXT.replace("epochs = 2", "epochs = 100000"))
    arguments = [str(study), "--results", str(tmp_path / "results"), "--workers", "2"]
    cluster_options = ["--backend", "ray", "--ray-address", cluster.address]
    with subprocess.Popen(
        [sys.executable, "-m", "ablations.run", *arguments, *cluster_options],
        stderr=subprocess.DEVNULL,
    ) as driver:
        started = []
        deadline = time.monotonic() + 120
        while len(started) < 2:
            assert driver.poll() is None
            assert time.monotonic() < deadline
            started = workers()
            time.sleep(0.2)
        driver.kill()
    assert_gone(started)


def test_a_run_from_the_command_line_ends_like_any_other(cluster, tmp_path):
    study, results = write_tiny(tmp_path), tmp_path / "results"
    arguments = [str(study), "--results", str(results), "--workers", "2", "--seeds", "2"]
    arguments += ["--backend", "ray", "--ray-address", cluster.address]
    done = subprocess.run(
        [sys.executable, "-m", "ablations.run", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with Store.read(database_path(results, "tiny")) as store:
        assert Counter(store.statuses().values()) == {"ok": 4}
    assert not workers()


@pytest.mark.parametrize(
    ("options", "words"), [({"threads": 2}, "2.0"), ({"device": "cuda"}, "num_gpus")]
)
def test_a_cluster_without_room_for_a_worker_is_told_at_once(cluster, options, words):
    with pytest.raises(ConnectionError, match=f"has room for a worker.*{words}.*1 cores, 0 GPUs"):
        next(run(cluster, CELLS[:1], **options))


def test_no_cluster_at_an_address_is_told():
    from types import SimpleNamespace

    with pytest.raises(ConnectionError, match="no Ray cluster answers at"):
        next(run(SimpleNamespace(address="127.0.0.1:1"), CELLS[:1]))


@pytest.mark.parametrize(
    ("workers", "nodes", "share"),
    [
        (2, [2], 1.0),
        (1, [2], 1.0),
        (3, [2], 0.5),
        (8, [2], 0.25),
        (8, [1, 1], 0.25),
        (9, [4, 4], 0.5),
    ],
)
def test_workers_share_the_gpus_that_there_are(workers, nodes, share):
    from ablations.execution.ray_actors import resources

    machines = [{"CPU": 8.0, "GPU": float(gpus)} for gpus in nodes]
    wanted = resources("cuda", 2, workers, machines)
    assert wanted == {"num_cpus": 2.0, "num_gpus": share}
    assert sum(gpus // share for gpus in nodes) >= min(workers, sum(nodes) / share)
    assert resources("cpu", 2, workers, machines) == {"num_cpus": 2.0}


def test_a_gpu_that_a_machine_only_claims_to_have_is_told(cluster):
    node = cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=STORE_BYTES)
    try:
        finished = by_key(run(cluster, CELLS[:1], device="cuda", workers=1))
    finally:
        cluster.remove_node(node)
    assert finished[CELLS[0].key].status == "error"
    assert "cuda cannot be used" in finished[CELLS[0].key].message


def test_a_node_that_goes_costs_no_cell(cluster):
    """Last of all: the cluster is smaller after it."""
    cells = [with_levels(cell, epochs=400) for cell in CELLS]
    spare = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    finished, started, told = [], [], set()
    for event in run(cluster, cells, workers=3):
        if isinstance(event, Finished):
            finished.append(event)
            continue
        told.add(event.cell.key)
        if not started and len(told) == 3:
            started = workers()
            cluster.remove_node(spare, allow_graceful=False)
    assert len(started) == 3
    assert Counter(event.cell.key for event in finished) == {cell.key: 1 for cell in cells}
    assert {event.outcome.status for event in finished} == {"ok"}
    assert_gone(started)
    assert not workers()
