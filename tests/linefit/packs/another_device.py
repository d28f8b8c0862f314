"""Epochs and predictions of packs on a device that is not the CPU, on tensors without values: a script for a process
of its own, as torch is given the device for good. It fails where tensors of two devices meet, and prints for each net
what moves between host and device in an epoch, and then in a step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from linefit.packs import Pack, PackExamples, PackImages, recognise
from tests.linefit.packs.cells import BATCH, DIM, NETS, data, nets_of


class Transfers(TorchDispatchMode):
    """Counts operations on tensors of more than one device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        values = tree_leaves((args, kwargs, result))
        self.count += len({v.device.type for v in values if isinstance(v, Tensor)}) > 1
        return result


def main() -> None:
    _setup_privateuseone_for_python_backend("other")
    # Torch's optimiser with a rate that is a tensor has no form for tensors without values; it gives nothing back.
    library = torch.library.Library("aten", "IMPL")
    library.impl("_fused_adam_.tensor_lr", lambda *_, **__: None, "Meta")
    device, size = torch.device("other:0"), 4 * BATCH + 3
    for levels in NETS:
        split, nets = data(size), nets_of(levels, range(2), torch.float32)
        shape, steps = recognise(nets[0], DIM), []

        def capture(step: Callable[[], None], state: object) -> Callable[[], None]:
            step()  # as in warming up: the tables of the data set are made by the first step of all

            def counted() -> None:
                with Transfers() as transfers:
                    step()
                steps.append(transfers.count)  # noqa: B023  (called before the next net)

            return counted

        with FakeTensorMode(allow_non_fake_inputs=True):
            images = PackImages(split.pixels, shape.convolutions, device)
            training = PackExamples(images, torch.empty(size, 2, device=device))
            pack = Pack(nets, shape, [1e-3, 1e-2], training, BATCH, capture=capture)
            pack.epoch(pack.plan(np.arange(size)[None]))
            plan = pack.plan(np.arange(size)[None])
            with Transfers() as of_an_epoch:
                pack.epoch(plan)
            predictions, exhausted = pack.predict(images)
            assert {predictions.device, exhausted.device, pack.loss.device} == {device}
        print("-".join(levels), of_an_epoch.count, sorted(set(steps)))


if __name__ == "__main__":
    main()
