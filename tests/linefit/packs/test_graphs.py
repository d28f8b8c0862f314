"""What is asked of `torch.cuda` when a step is recorded, on a stand-in that refuses what CUDA and its allocator do."""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from linefit.packs.graphs import WARM_UP, CudaGraphs


class StandIn:
    """A device without one: which stream is current, and the pools of memory that graphs have."""

    def __init__(self) -> None:
        self.default = FakeStream(self)
        self.current = self.default
        self.handles = itertools.count()
        self.users: dict[int, int] = {}  # of each pool that ever had a graph, its living graphs
        self.workspaces: set[FakeStream] = set()
        self.recording: FakeGraph | None = None
        self.trace: list[str] = []

    @contextlib.contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    @contextlib.contextmanager
    def graph(
        self, graph: FakeGraph, pool: int, stream: FakeStream, capture_error_mode: str
    ) -> Iterator[None]:
        # c10's allocator: a pool that has lost its last graph is dead for good.
        assert pool not in self.users or self.users[pool] > 0, "use_count > 0"
        self.users[pool] = self.users.get(pool, 0) + 1
        weakref.finalize(graph, self.release, pool)
        self.recording = graph
        with self.stream(stream):
            yield
        self.recording = None

    def release(self, pool: int) -> None:
        self.users[pool] -= 1

    def product(self) -> None:
        """What a library does that keeps a workspace for each stream, taken when it is first used."""
        assert self.current in self.workspaces or self.recording is None, "a workspace in a pool"
        self.workspaces.add(self.current)
        self.trace.append("recorded" if self.recording else "run")


class FakeStream:
    def __init__(self, cuda: StandIn) -> None:
        self.cuda = cuda

    def wait_stream(self, other: FakeStream) -> None:
        self.cuda.trace.append("wait")


class FakeGraph:
    def replay(self) -> None: ...


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    replaced: dict[str, Callable[..., Any]] = {
        "Stream": lambda device: FakeStream(stand_in),
        "current_stream": lambda: stand_in.current,
        "device": lambda device: contextlib.nullcontext(),
        "graph_pool_handle": lambda: next(stand_in.handles),
        "CUDAGraph": FakeGraph,
        "stream": stand_in.stream,
        "graph": stand_in.graph,
    }
    for name, value in replaced.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return stand_in


def test_a_step_is_warmed_up_where_it_is_recorded_and_leaves_no_trace(cuda: StandIn) -> None:
    value = torch.ones(2)

    def step() -> None:
        cuda.product()
        value.add_(1)

    record = CudaGraphs(torch.device("cuda"))
    replay = record(step, [value])
    assert cuda.trace == ["wait", *["run"] * WARM_UP, "wait", "recorded"]
    assert cuda.default not in cuda.workspaces
    # Recording runs nothing on CUDA; here it took the one step that a graph would hold.
    assert value.tolist() == [2, 2]
    replay()


def test_graphs_that_live_together_share_memory(cuda: StandIn) -> None:
    record = CudaGraphs(torch.device("cuda"))
    replays = [record(cuda.product, []) for _ in range(3)]
    assert cuda.users == {0: 3}
    del replays


def test_a_step_may_be_recorded_anew_when_all_recordings_are_gone(cuda: StandIn) -> None:
    record = CudaGraphs(torch.device("cuda"))
    replay = record(cuda.product, [])
    del replay
    assert cuda.users == {0: 0}
    again = record(cuda.product, [])
    assert cuda.users == {0: 0, 1: 1}
    del again
