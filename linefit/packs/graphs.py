"""A step as one CUDA graph: recorded once, then replayed without Python and without the host.

What is recorded may read and write only tensors that stay where they are; `Capture` is what a trainer asks for, so
that the same step runs eagerly where there is no CUDA.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Step = Callable[[], None]
Capture = Callable[[Step, Sequence[Tensor]], Step]

WARM_UP = 3  # steps before recording, in which libraries choose their algorithms and take their workspaces


def eagerly(step: Step, state: Sequence[Tensor]) -> Step:  # noqa: ARG001  (an eager step changes no state beforehand)
    """No capture at all: the step itself."""
    return step


class CudaGraphs:
    """Records steps on one device. Graphs that live together share memory, as only one of them runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        # One stream for warming up and recording: libraries keep a workspace a stream, which must not be taken while
        # recording, from memory that would then never be free again.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool: torch.cuda._POOL_HANDLE | None = None
        self._graphs: weakref.WeakSet[torch.cuda.CUDAGraph] = weakref.WeakSet()

    def __call__(self, step: Step, state: Sequence[Tensor]) -> Step:
        """The replay of `step`. Warming up takes steps: `state`, all that a step changes, is put back behind them."""
        with torch.cuda.device(self.device):
            before = [tensor.clone() for tensor in state]
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UP):
                    step()
            torch.cuda.current_stream().wait_stream(self._stream)
            put_back(state, before)
            del before
            # A pool dies with the last of its graphs, and its handle is then refused.
            if self._pool is None or not self._graphs:
                self._pool = torch.cuda.graph_pool_handle()
            graph = torch.cuda.CUDAGraph()
            # Other threads may go on using the device while this one records.
            with torch.cuda.graph(
                graph, self._pool, self._stream, capture_error_mode="thread_local"
            ):
                step()
            self._graphs.add(graph)
        return graph.replay


def put_back(state: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Give every tensor of a state an earlier value, where it stands."""
    for tensor, value in zip(state, values, strict=True):
        tensor.copy_(value)


def capture_for(device: torch.device) -> Capture:
    return CudaGraphs(device) if device.type == "cuda" else eagerly
