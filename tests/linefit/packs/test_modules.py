"""Packs of modules: cells of any net, each as if it were alone, and what cannot be recorded is found out beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linefit.architectures import build
from linefit.deltamap import DeltaImages
from linefit.engines import Batches, DenseImages
from linefit.examples import Examples
from linefit.images import LineImages
from linefit.packs import (
    BatchExamples,
    HostExamples,
    ModulePack,
    ResidentImages,
    UnpackableError,
    train_pack,
)
from linefit.packs.graphs import Capture
from linefit.packs.recordable import assure_recordable
from linefit.protocol import Protocol
from linefit.training import EagerSteps, Training, train
from tests.linefit.packs.cells import BATCH, CPU, DIM, data, generators
from tests.linefit.packs.test_static import PerStep
from tests.linefit.packs.test_training import Recorder, assert_same

F64 = torch.float64
SIZE = 3 * BATCH + 3  # the last batch is smaller
TRAIN, VAL = data(SIZE), data(20, 33_333)
MakeNet = Callable[[int], nn.Module]


class OfTheUsers(nn.Module):
    """Batch normalisation, a stride and a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, stride=2)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.gelu(self.norm(self.first(images)))
        return self.head((maps + self.second(maps)).mean((2, 3)))


def of_the_users(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return OfTheUsers()


def of_levels(architecture: str, pooling: str, **levels: str) -> MakeNet:
    return lambda seed: build(architecture, "cartesian", pooling, 4, dim=DIM, seed=seed, **levels)


NETS: dict[str, tuple[MakeNet, str]] = {
    "strided": (of_levels("strided", "max"), "dense"),
    "the user's": (of_the_users, "dense"),
    "softpool": (of_levels("conv2", "softpool"), "delta"),
    "residual": (of_levels("residual", "max"), "dense"),
}


def images_of(split: LineImages, engine: str, dtype: torch.dtype) -> Batches:
    if engine == "delta":
        return DeltaImages(split.pixels, dtype, padded=True)
    return ResidentImages(split.pixels, dtype, CPU)


def examples(split: LineImages, engine: str, dtype: torch.dtype) -> BatchExamples:
    return BatchExamples(images_of(split, engine, dtype), torch.from_numpy(split.params).to(dtype))


def nets_of(make: MakeNet, seeds: Sequence[int], dtype: torch.dtype) -> list[nn.Module]:
    return [make(seed).to(dtype).to(memory_format=torch.channels_last) for seed in seeds]


def in_a_pack(
    nets: Sequence[nn.Module],
    engine: str,
    protocol: Protocol,
    seeds: Sequence[int],
    rates: Sequence[float] | None = None,
    capture: Capture | None = None,
    order_of: Sequence[int] | None = None,
) -> list[Training]:
    dtype = next(nets[0].parameters()).dtype
    rates = rates or [protocol.learning_rate] * len(nets)
    pack = ModulePack(nets, protocol, rates, examples(TRAIN, engine, dtype), capture, order_of)
    validation = examples(VAL, engine, dtype)
    return train_pack(pack, validation, SIZE, protocol.epochs, generators(seeds))


def alone(
    net: nn.Module, engine: str, protocol: Protocol, seed: int, training: LineImages = TRAIN
) -> Training:
    dtype = next(net.parameters()).dtype

    def of(split: LineImages) -> Examples:
        images: Batches = (
            DeltaImages(split.pixels, dtype)
            if engine == "delta"
            else DenseImages(split.pixels, dtype, CPU)
        )
        return Examples(images, torch.from_numpy(split.params).to(dtype))

    steps = EagerSteps(net, protocol, "delta" if engine == "delta" else "dense")
    own = of(training)
    shuffle = torch.Generator().manual_seed(seed)
    return train(net, steps, lambda _: own, of(VAL), protocol, shuffle=shuffle)


@pytest.mark.parametrize(("dtype", "rtol"), [(F64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("name", NETS)
def test_cells_of_a_pack_train_as_single_cells(name: str, dtype: torch.dtype, rtol: float) -> None:
    """Other seeds, so other weights, orders and running statistics."""
    (make, engine), seeds = NETS[name], [3, 4, 5]
    protocol = Protocol(SIZE, 2 if dtype == F64 else 1, BATCH)
    nets, others = (nets_of(make, seeds, dtype) for _ in range(2))
    runs = in_a_pack(nets, engine, protocol, seeds)
    for seed, net, other, run in zip(seeds, nets, others, runs, strict=True):
        assert_same(run, alone(other, engine, protocol, seed), rtol)
        if dtype == F64:
            for found, expected in zip(
                (*net.parameters(), *net.buffers()),
                (*other.parameters(), *other.buffers()),
                strict=True,
            ):
                torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "l1"},
        {"loss": "huber"},
        {"optimiser": "adamw", "weight_decay": 0.1, "schedule": "cosine", "warmup": 0.2},
    ],
    ids=str,
)
def test_losses_and_optimisers_are_those_of_single_cells(settings: dict[str, str]) -> None:
    make, engine = NETS["the user's"]
    protocol = Protocol(SIZE, 2, BATCH, **settings)  # type: ignore[arg-type]
    nets, others = (nets_of(make, [0, 1], F64) for _ in range(2))
    runs = in_a_pack(nets, engine, protocol, [0, 1])
    for seed, net, other, run in zip((0, 1), nets, others, runs, strict=True):
        assert_same(run, alone(other, engine, protocol, seed), 1e-12)
        for found, expected in zip(net.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_cells_of_one_order_and_rates_of_their_own() -> None:
    make, engine = NETS["strided"]
    rates, seeds, order_of = [1e-2, 1e-3, 1e-2], [7, 8], [0, 1, 0]
    runs = in_a_pack(
        nets_of(make, range(3), F64), engine, Protocol(SIZE, 2, BATCH), seeds, rates,
        order_of=order_of,
    )  # fmt: skip
    for cell, (rate, order, run) in enumerate(zip(rates, order_of, runs, strict=True)):
        (net,) = nets_of(make, [cell], F64)
        assert_same(run, alone(net, engine, Protocol(SIZE, 2, BATCH, rate), seeds[order]), 1e-12)


@pytest.mark.parametrize("name", NETS)
def test_a_diverged_cell_neither_stops_nor_touches_its_neighbours(name: str) -> None:
    (make, engine), protocol = NETS[name], Protocol(SIZE, 2, BATCH)
    healthy = in_a_pack(nets_of(make, range(3), F64), engine, protocol, range(3))
    nets = nets_of(make, range(3), F64)
    for parameter in nets[1].parameters():
        parameter.data.fill_(torch.nan)
    runs = in_a_pack(nets, engine, protocol, range(3))
    assert [run.status for run in runs] == ["ok", "diverged", "ok"]
    for cell in (0, 2):
        assert_same(runs[cell], healthy[cell], 0)


@pytest.mark.parametrize("name", NETS)
def test_warming_up_for_a_capture_leaves_no_trace(name: str) -> None:
    """Neither in weights and moments nor in running statistics; the recording stays where it is for all epochs."""
    (make, engine), protocol = NETS[name], Protocol(SIZE, 3, BATCH)
    nets, others = (nets_of(make, range(2), F64) for _ in range(2))
    recorder = Recorder()
    runs = in_a_pack(nets, engine, protocol, range(2), capture=recorder)
    expected = in_a_pack(others, engine, protocol, range(2))
    for run, other in zip(runs, expected, strict=True):
        assert_same(run, other, 0)
    for net, twin in zip(nets, others, strict=True):
        assert all(map(torch.equal, net.buffers(), twin.buffers()))
    assert recorder.captures == 2  # whole batches and the remainder
    assert recorder.replays == 3 * 4


@pytest.mark.parametrize("name", NETS)
def test_steps_are_one_fixed_sequence_without_the_host(name: str) -> None:
    capture = PerStep()
    make, engine = NETS[name]
    in_a_pack(
        nets_of(make, range(2), torch.float32),
        engine,
        Protocol(SIZE, 2, BATCH),
        range(2),
        capture=capture,
    )
    steps = capture.steps[:3] + capture.steps[4:7]  # of whole batches
    for recording in steps:
        assert recording.waiting == recording.random == []
        assert recording.trace == steps[0].trace


def test_fresh_images_take_the_place_of_those_before() -> None:
    """Each cell on the images of its own seed, new ones in each epoch."""
    make, engine = NETS["strided"]
    protocol, seeds = Protocol(SIZE, 3, BATCH), [0, 1]

    def drawn(epoch: int, seed: int) -> LineImages:
        return data(SIZE, 1000 * epoch + 10_000 * seed)

    def fresh(epoch: int) -> HostExamples:
        each = [drawn(epoch, seed) for seed in seeds]
        pixels, params = ([getattr(own, name) for own in each] for name in ("pixels", "params"))
        return HostExamples(np.concatenate(pixels), np.concatenate(params))

    first = fresh(1)
    training = BatchExamples(
        ResidentImages(first.pixels, F64, CPU), torch.from_numpy(first.targets).to(F64)
    )
    nets, recorder = nets_of(make, seeds, F64), Recorder()
    pack = ModulePack(nets, protocol, [1e-3] * 2, training, recorder)
    runs = train_pack(
        pack, examples(VAL, engine, F64), SIZE, 3, generators(seeds), own_images=True, fresh=fresh
    )
    assert recorder.captures == 2
    for seed, run in zip(seeds, runs, strict=True):
        (net,) = nets_of(make, [seed], F64)
        steps, shuffle = EagerSteps(net, protocol, "dense"), generators([seed])[0]

        def own(epoch: int, seed: int = seed) -> Examples:
            images = drawn(epoch, seed)
            return Examples(
                DenseImages(images.pixels, F64, CPU), torch.from_numpy(images.params).to(F64)
            )

        val = Examples(DenseImages(VAL.pixels, F64, CPU), torch.from_numpy(VAL.params).to(F64))
        assert_same(run, train(net, steps, own, val, protocol, shuffle=shuffle), 1e-12)


class Unrecordable(nn.Module):
    """A linear net that does something else beside."""

    def __init__(self, beside: Callable[[Unrecordable, Tensor], Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(DIM * DIM, 2)
        self.register_buffer("mean", torch.zeros(2))
        self.beside, self.calls, self.last = beside, 0, None

    def forward(self, images: Tensor) -> Tensor:
        return self.beside(self, self.linear(images.flatten(1)))


def counts(net: Unrecordable, lines: Tensor) -> Tensor:
    net.calls += 1
    return lines * net.calls


def counts_in_silence(net: Unrecordable, lines: Tensor) -> Tensor:
    net.calls += 1
    return lines


def keeps(net: Unrecordable, lines: Tensor) -> Tensor:
    net.last = lines.detach()
    return lines


def replaces_a_buffer(net: Unrecordable, lines: Tensor) -> Tensor:
    net.mean = 0.9 * net.mean + 0.1 * lines.detach().mean(0)
    return lines - net.mean


def depends_on_values(net: Unrecordable, lines: Tensor) -> Tensor:
    return lines * 2 if lines.sum() > 0 else lines


def own_generator(net: Unrecordable, lines: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return lines * torch.rand(2, generator=generator)


REFUSED: dict[str, tuple[Callable[[Unrecordable, Tensor], Tensor], str]] = {
    "dropout": (lambda _, lines: F.dropout(lines, 0.5), "draws random numbers"),
    "noise": (lambda _, lines: lines + torch.randn_like(lines), "draws random numbers"),
    "its own generator": (own_generator, "draws random numbers"),
    "item": (lambda _, lines: lines * lines.detach().max().item(), "waits for the device"),
    "condition": (depends_on_values, "waits for the device"),
    "mask": (lambda _, lines: lines * lines[lines > 0].mean(), "waits for the device"),
    "counter": (counts, "changes what the net keeps: calls"),
    "silent counter": (counts_in_silence, "changes what the net keeps: calls"),
    "tensor kept": (keeps, "changes what the net keeps: last"),
    "buffer replaced": (replaces_a_buffer, "changes what the net keeps: mean"),
    "numpy's numbers": (
        lambda _, lines: lines * torch.tensor(np.random.default_rng().random()),
        "depends on its images or on earlier steps",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_recorded_is_refused_with_the_reason(name: str) -> None:
    beside, reason = REFUSED[name]
    state = torch.get_rng_state()
    nets = nets_of(lambda _: Unrecordable(beside), range(2), torch.float32)
    after = torch.get_rng_state()
    with pytest.raises(UnpackableError, match=reason):
        in_a_pack(nets, "dense", Protocol(SIZE, 1, BATCH), range(2))
    assert torch.equal(torch.get_rng_state(), after)
    torch.set_rng_state(state)
    assert nets[0].calls == 0  # a copy was tried


def test_what_can_be_recorded_is_not_refused() -> None:
    """Constants of Python's, buffers that change in place, dropout that drops nothing, indices by tensors."""

    def harmless(net: Unrecordable, lines: Tensor) -> Tensor:
        net.mean.mul_(0.9).add_(lines.detach().mean(0), alpha=0.1)
        order = torch.arange(2, device=lines.device)
        return F.dropout(lines, 0.0)[:, order] * torch.tensor(0.5) - net.mean

    (net,) = nets_of(lambda _: Unrecordable(harmless), [0], torch.float32)
    batches = [torch.arange(8) + 8 * turn for turn in range(3)]
    images = ResidentImages(TRAIN.pixels, torch.float32, CPU)
    assure_recordable(
        net, lambda net, indices: net(images.batch(indices)).sum().backward(), batches
    )


def test_predictions_are_made_in_evaluation_mode() -> None:
    nets = nets_of(of_the_users, range(2), F64)
    pack = ModulePack(nets, Protocol(SIZE, 1, BATCH), [1e-3] * 2, examples(TRAIN, "dense", F64))
    found = pack.predict(images_of(VAL, "dense", F64), len(VAL))
    assert all(net.training for net in nets)
    dense = torch.from_numpy(VAL.pixels)[:, None].to(F64)
    for net, own in zip(nets, found, strict=True):
        torch.testing.assert_close(own, net.eval()(dense).detach(), rtol=1e-12, atol=1e-12)
