"""A step asks the host nothing and has no shape that depends on data: what a CUDA graph needs, proven without CUDA."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

from linefit.packs import Pack, PackExamples, PackImages, recognise
from linefit.packs.recordable import Recording
from tests.linefit.packs.cells import BATCH, CPU, DIM, NETS, Levels, data, nets_of, pack_of

SIZE = 4 * BATCH


class PerStep:
    """A capture that records each step."""

    def __init__(self) -> None:
        self.steps: list[Recording] = []

    def __call__(self, step: Callable[[], None], state: object) -> Callable[[], None]:
        def recorded() -> None:
            with Recording() as recording:
                step()
            self.steps.append(recording)

        return recorded


@pytest.mark.parametrize("cells_share_order", [True, False])
@pytest.mark.parametrize("levels", NETS, ids="-".join)
def test_steps_are_one_fixed_sequence_without_the_host(
    levels: Levels, cells_share_order: bool
) -> None:
    """All steps of two epochs, whatever images they get, are the same operations on the same shapes."""
    capture = PerStep()
    pack = pack_of(
        nets_of(levels, range(3), torch.float32), data(SIZE), torch.float32, None, capture
    )
    order = np.arange(SIZE)[None].repeat(1 if cells_share_order else 3, 0)
    pack.epoch(pack.plan(order))
    pack.epoch(pack.plan(order[:, ::-1].copy()))
    first = capture.steps[1]  # the tables of the data set are made in the first step of all
    assert len(capture.steps) == 8
    for recording in capture.steps[1:]:
        assert recording.waiting == []
        assert recording.trace == first.trace
    assert len(first.trace) > 50


def test_the_recording_sees_what_waits() -> None:
    values = torch.arange(4.0)
    for waits in (
        lambda: values.sum().item(),
        lambda: bool((values > 1).any()),
        lambda: values[values > 1],
        lambda: values.nonzero(),
        lambda: torch.repeat_interleave(values.long()),
    ):
        with Recording() as recording:
            waits()
        assert recording.waiting


@pytest.mark.parametrize("levels", NETS, ids="-".join)
def test_an_epoch_runs_on_tensors_without_values(levels: Levels) -> None:
    """Fake tensors have shapes and no data: an epoch and predictions that finish on them depended on none."""
    split, nets = data(SIZE + 3), nets_of(levels, range(2), torch.float32)
    shape = recognise(nets[0], DIM)
    with FakeTensorMode(allow_non_fake_inputs=True):
        images = PackImages(split.pixels, shape.convolutions, CPU)
        training = PackExamples(images, torch.empty(len(split), 2))
        pack = Pack(nets, shape, [1e-3, 1e-2], training, BATCH)
        pack.epoch(pack.plan(np.arange(len(split))[None]))
        predictions, exhausted = pack.predict(images)
        assert pack.loss.shape == exhausted.shape == (2,)
        assert predictions.shape == (2, len(split), 2)
        with pytest.raises(DynamicOutputShapeException):
            pack.loss.nonzero()


def test_on_another_device_all_tensors_are_there_and_only_orders_come_from_the_host() -> None:
    """An epoch's orders of whole batches and of the remainder are the only things that move; no step moves any."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.linefit.packs.another_device"], capture_output=True, text=True
    )
    assert ran.stdout.splitlines() == [f"{'-'.join(levels)} 2 [0]" for levels in NETS], ran.stderr
