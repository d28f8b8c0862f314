"""What is asked of `torch.cuda` when a step is recorded, on a stand-in that refuses what CUDA and its allocator do."""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from linefit.packs.graphs import STREAMS, WARM_UP, Branches, CudaGraphs, RecordingError


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
        self.waits: list[tuple[FakeStream, FakeStream]] = []  # who waited for whom

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
        try:
            with self.stream(stream):
                yield
        finally:
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
        self.cuda.waits.append((self, other))


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
        "set_stream": lambda stream: setattr(stand_in, "current", stream),
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


def test_parts_of_a_step_fork_from_its_stream_and_join_it(cuda: StandIn) -> None:
    """So that a recording holds them, and what comes behind sees all that they made."""
    branches = Branches(torch.device("cuda"), 2 * STREAMS)
    used = []
    with branches.fork() as part:
        forked = list(cuda.waits)
        for number in range(2 * STREAMS):
            with part(number):
                used.append(cuda.current)
    assert len(set(used)) == STREAMS
    assert used[:STREAMS] == used[STREAMS:]
    assert forked == [(stream, cuda.default) for stream in used[:STREAMS]]
    assert cuda.waits[STREAMS:] == [(cuda.default, stream) for stream in used[:STREAMS]]
    assert cuda.current is cuda.default


def test_a_step_of_few_parts_takes_few_streams(cuda: StandIn) -> None:
    with Branches(torch.device("cuda"), 2).fork():
        assert len(cuda.waits) == 2
    with Branches(torch.device("cpu"), 2).fork() as part, part(0):
        assert len(cuda.waits) == 4


CAPTURING = RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (CAPTURING, RecordingError),
        (
            RuntimeError("Cannot copy between CPU and CUDA tensors during CUDA graph capture"),
            RecordingError,
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError),
        (RuntimeError("CUDA error: unspecified launch failure"), RuntimeError),
        (ZeroDivisionError("of the net's own"), ZeroDivisionError),
    ],
    ids=str,
)
def test_what_cannot_be_recorded_is_told_from_what_fails(
    cuda: StandIn, error: Exception, raised: type[Exception]
) -> None:
    def step() -> None:
        if cuda.recording is not None:
            raise error

    with pytest.raises(raised) as found:
        CudaGraphs(torch.device("cuda"))(step, [])
    assert found.type is raised
    assert str(found.value) == str(error).partition("\n")[0]


def test_an_exhausted_memory_is_no_refusal_where_the_recording_fails_to_end(
    cuda: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with CUDA: what the recording's end raises hides what a step has raised."""

    @contextlib.contextmanager
    def graph(*arguments: Any, **more: Any) -> Iterator[None]:
        cuda.recording, cuda.current = FakeGraph(), FakeStream(cuda)
        try:
            yield
        finally:
            raise CAPTURING

    def step() -> None:
        if cuda.recording is not None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "graph", graph)
    with pytest.raises(RuntimeError, match="capturing") as found:
        CudaGraphs(torch.device("cuda"))(step, [])
    assert not isinstance(found.value, RecordingError)
    assert isinstance(found.value.__context__, torch.OutOfMemoryError)
    assert cuda.current is cuda.default
