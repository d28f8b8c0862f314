"""Whether the training steps of any module can be recorded and replayed, found out by a few of them.

A recording repeats its operations with the same arguments on the tensors that were there. So a step must never wait
for a value, draw no random numbers, and keep nothing between steps but what stands in parameters and buffers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from linefit.engines import random_state_kept
from linefit.packs.recognition import UnpackableError

# What reads a value on the host, or gives a result whose shape is data: on CUDA each of them waits for the device.
WAITING = {
    "_local_scalar_dense",
    "is_nonzero",
    "equal",
    "allclose",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "bincount",
    "repeat_interleave",
    "histc",
}
COPIES = {"_to_copy", "copy_"}
VALUES = (bool, int, float, complex, str, torch.dtype, torch.device)
# They draw nothing without dropout, and the random state tells whether they did.
SELDOM_RANDOM = "attention"
PARTS_OF_MODULES = {"_parameters", "_buffers", "_modules", "training"}


class Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every operation that reaches the device, its arguments and the shapes of what it gives."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace: list[tuple[str, tuple[tuple[int, ...], ...], tuple[str, ...]]] = []
        self.waiting: list[str] = []
        self.random: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        given, made = tree_leaves((args, kwargs)), tree_leaves(result)
        shapes = tuple(tuple(each.shape) for each in made if isinstance(each, Tensor))
        values = [repr(each) for each in given if isinstance(each, VALUES)]
        if name == "lift_fresh":  # a constant that Python makes is recorded as it is
            values += [repr(t) for t in made if isinstance(t, Tensor) and t.device.type == "cpu"]
        self.trace.append((str(func), shapes, tuple(values)))
        if _waits(name, args, kwargs, given, made):
            self.waiting.append(str(func))
        if torch.Tag.nondeterministic_seeded in func.tags and SELDOM_RANDOM not in name:
            self.random.append(str(func))
        return result


def _waits(
    name: str,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    given: Sequence[object],
    made: Sequence[object],
) -> bool:
    if name == "repeat_interleave" and kwargs.get("output_size") is not None:
        return False
    if name in COPIES:
        devices = {each.device.type for each in (*given, *made) if isinstance(each, Tensor)}
        return len(devices) > 1
    indices = args[1] if name in ("index", "index_put", "index_put_") else []
    masked = any(index is not None and index.dtype == torch.bool for index in indices)
    return name in WAITING or masked


def assure_recordable(
    net: nn.Module, step: Callable[[nn.Module, Tensor], object], batches: Sequence[Tensor]
) -> None:
    """Raise UnpackableError, with the reason, where the training steps of a net cannot be recorded.

    `step` makes the gradients of a net, here a copy, for a batch of indices. There are at least three of one size: the
    first step may make tables that later ones find.
    """
    net = copy.deepcopy(net)
    device = next(net.parameters()).device
    recordings, held = [], []
    with random_state_kept(device):
        for indices in batches:
            random = _random_state(device)
            with Recording() as recording:
                step(net, indices)
            recordings.append(recording)
            held.append(_held(net))
            if recording.random or not all(map(torch.equal, random, _random_state(device))):
                raise UnpackableError("a step draws random numbers: " + ", ".join(recording.random))
            if recording.waiting:
                raise UnpackableError(
                    "a step waits for the device: " + ", ".join(recording.waiting)
                )
    if held[-1] != held[-2]:
        names = [name for name in held[-1] if held[-1][name] != held[-2].get(name)]
        raise UnpackableError("a step changes what the net keeps: " + ", ".join(names))
    if recordings[-1].trace != recordings[-2].trace:
        raise UnpackableError("a step depends on its images or on earlier steps")


def _random_state(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def _held(net: nn.Module) -> dict[str, object]:
    """What a net keeps, by name: tensors of its own as where they stand, attributes as what they show."""
    found: dict[str, object] = {
        name: (id(tensor), tensor.data_ptr())
        for name, tensor in (*net.named_parameters(), *net.named_buffers())
    }
    for path, module in net.named_modules():
        for name, value in vars(module).items():
            if name in PARTS_OF_MODULES:
                continue
            tensors = [each for each in tree_leaves(value) if isinstance(each, Tensor)]
            shown = [(id(each), each._version) for each in tensors]
            found[f"{path}.{name}".lstrip(".")] = shown if tensors else repr(value)
    return found
