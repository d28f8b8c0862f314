"""A step as one CUDA graph: recorded once, then replayed without Python and without the host.

What is recorded may read and write only tensors that stay where they are; `Capture` is what a trainer asks for, so
that the same step runs eagerly where there is no CUDA.
"""

from __future__ import annotations

import contextlib
import re
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

Step = Callable[[], None]
Capture = Callable[[Step, Sequence[Tensor]], Step]

WARM_UP = 3  # steps before recording, in which libraries choose their algorithms and take their workspaces
STREAMS = 8  # on which parts of a step may run side by side: each has workspaces of its own
# What CUDA and torch say of a step that cannot be recorded: of waiting for the device, copying to it, drawing numbers.
REFUSED = re.compile("captur|cudaErrorStreamIsolation|cudaErrorStreamImplicit", re.IGNORECASE)


class RecordingError(RuntimeError):
    """A step that cannot be recorded, and why. The process should not use the device any more."""


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
            with (
                _refusals(),
                torch.cuda.graph(
                    graph, self._pool, self._stream, capture_error_mode="thread_local"
                ),
            ):
                step()
            self._graphs.add(graph)
        return graph.replay


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """RecordingError for what cannot be recorded; an exhausted memory stays what it is."""
    stream = torch.cuda.current_stream()
    try:
        yield
    except Exception as error:  # the recording's own end may fail behind what a step has raised
        torch.cuda.set_stream(stream)  # which a recording that fails to end does not put back
        chain: list[BaseException] = [error]
        while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
            chain.append(cause)
        first = str(chain[-1]).partition("\n")[0]
        if any(isinstance(each, torch.OutOfMemoryError) for each in chain) or not any(
            REFUSED.search(str(each)) for each in chain
        ):
            raise
        raise RecordingError(first) from error


class Branches:
    """Streams on which the parts of a step may run side by side: forked from the current one and joined again.

    What a part makes is used by the same part, or by all behind the join. Without CUDA there are no streams.
    """

    def __init__(self, device: torch.device, parts: int) -> None:
        count = min(parts, STREAMS) if device.type == "cuda" else 0
        self._streams = [torch.cuda.Stream(device) for _ in range(count)]  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def fork(self) -> Iterator[Callable[[int], contextlib.AbstractContextManager[object]]]:
        """Within it, `part(i)` is a context for the i-th part; behind it, everything waits for all of them."""
        for stream in self._streams:
            stream.wait_stream(torch.cuda.current_stream())
        yield self._part
        for stream in self._streams:
            torch.cuda.current_stream().wait_stream(stream)

    def _part(self, number: int) -> contextlib.AbstractContextManager[object]:
        if not self._streams:
            return contextlib.nullcontext()
        return torch.cuda.stream(self._streams[number % len(self._streams)])


def put_back(state: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Give every tensor of a state an earlier value, where it stands."""
    for tensor, value in zip(state, values, strict=True):
        tensor.copy_(value)


def capture_for(device: torch.device) -> Capture:
    return CudaGraphs(device) if device.type == "cuda" else eagerly


def take_first_step(optimiser: torch.optim.Optimizer) -> None:
    """A step on the gradients that there are, not to be counted, which makes the state of all parameters."""
    with warnings.catch_warnings():
        # Torch says once of an optimiser made for recording that it steps without one.
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
        optimiser.step()
    for state in optimiser.state.values():
        state["step"].zero_()
