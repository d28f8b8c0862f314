"""Bytes that a step's operations read and write, from which its share of the memory's rate is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.training_step import Case
from linefit.images import LineImages
from linefit.packs import Pack, PackExamples, PackImages, recognise

CELLS = 2  # of the pack whose step is counted: all its cells cost the same
FREE = {"_unsafe_view", "detach", "empty", "empty_like", "new_empty", "lift_fresh"}
OVERWRITING = {"copy_", "zero_", "fill_"}
SELECTING = {
    "index_select",
    "gather",
    "index",
}  # as many values of a table as there are in the result


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts each operand that an operation reads and each result that it writes, once; views cost nothing.

    Of a table that is read by indices, the rows that they name. Caches may spare some of it: it is what the operations
    ask for, not what memory delivers.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.bytes += _moved(func, args, kwargs, result)
        return result


def _moved(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int:
    name, schema = func.overloadpacket.__name__, func._schema
    views = [r for r in schema.returns if r.alias_info is not None and not r.alias_info.is_write]
    if views or name in FREE:
        return 0
    given = dict(zip((a.name for a in schema.arguments), args, strict=False)) | kwargs
    changed = {
        a.name for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write
    }
    if name.startswith("_fused_adam"):
        changed -= {"grads"}  # which it only scales where it is told by how much
    written = sum(_size(given[each]) for each in changed if each in given)
    if not changed:
        written = _size(result)
    if name == "scatter_":
        return _size(given["index"]) + 2 * _size(given["src"])
    unread = {a.name for a in schema.arguments if a.kwarg_only and a.name in changed}
    if name in OVERWRITING:
        unread |= changed
    if name in SELECTING:
        return 2 * _size(result) + sum(_size(x) for key, x in given.items() if key != "self")
    if name.startswith("_embedding_bag"):
        rows = given["indices"].numel() * given["weight"].shape[1] * given["weight"].itemsize
        others = sum(_size(x) for key, x in given.items() if key != "weight")
        return int(rows + others + _size(result[0]))
    return written + sum(_size(x) for key, x in given.items() if key not in unread)


def _size(values: Any) -> int:
    """Bytes of all tensors; an expanded one is as large as what it repeats."""
    return sum(
        min(t.numel() * t.itemsize, t.untyped_storage().nbytes())
        for t in tree_leaves(values)
        if isinstance(t, Tensor)
    )


def step_bytes(case: Case, data: LineImages, batch: int) -> float:
    """Bytes that a cell's part of a step of a pack asks for, with plain kernels, each cell in an order of its own."""
    nets = [case.net(seed) for seed in range(CELLS)]
    shape = recognise(nets[0], data.pixels.shape[1])
    steps = 2
    order = np.random.default_rng(0).permuted(np.tile(np.arange(len(data)), (CELLS, 1)), axis=1)[
        :, : steps * batch
    ]
    with FakeTensorMode(allow_non_fake_inputs=True):  # it takes sizes alone
        images = PackImages(data.pixels, shape.convolutions, torch.device("cpu"))
        examples = PackExamples(images, torch.empty(len(data), 2))
        pack = Pack(nets, shape, [1e-3] * CELLS, examples, batch)
        pack.epoch(pack.plan(order))  # tables of the net are made in the first step
        plan = pack.plan(order)
        with Traffic() as traffic:
            pack.epoch(plan)
    return float(traffic.bytes / steps / CELLS)
