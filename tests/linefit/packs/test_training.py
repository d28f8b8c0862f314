"""What comes of a cell does not depend on its pack; what goes wrong in one stays there."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linefit.deltamap import DeltaImages
from linefit.examples import Examples
from linefit.images import LineImages
from linefit.packs import (
    HostExamples,
    predict,
    train_pack,
    unpackable_setting,
    unrecordable_setting,
)
from linefit.packs import pack as pack_module
from linefit.packs.graphs import put_back
from linefit.packs.rates import schedule_of
from linefit.packs.sites import Batch, Rows
from linefit.protocol import Protocol
from linefit.training import EagerSteps, Training, train
from linefit.training import predict as predict_single
from tests.linefit.packs.cells import (
    BATCH,
    NETS,
    Levels,
    data,
    generators,
    nets_of,
    pack_examples,
    pack_of,
    single_cell,
)

F64 = torch.float64
SIZE = 5 * BATCH + 3  # the last batch is smaller
TRAIN, VAL = data(SIZE), data(20, 33_333)


def trained(
    levels: Levels,
    seeds: Sequence[int],
    dtype: torch.dtype,
    epochs: int = 2,
    rates: Sequence[float] | None = None,
    shuffles: Sequence[int] | None = None,
    spoil: Callable[[list[nn.Module]], None] = lambda nets: None,
) -> tuple[list[nn.Module], list[Training]]:
    nets = nets_of(levels, seeds, dtype)
    spoil(nets)
    pack = pack_of(nets, TRAIN, dtype, rates)
    validation = pack_examples(VAL, nets[0], dtype)
    runs = train_pack(
        pack, validation, SIZE, epochs, generators(seeds if shuffles is None else shuffles)
    )
    pack.write_to(nets)
    return nets, runs


def assert_same(found: Training, expected: Training, rtol: float) -> None:
    assert (found.status, found.steps) == (expected.status, expected.steps)
    np.testing.assert_allclose(found.train_loss, expected.train_loss, rtol)
    np.testing.assert_allclose(found.val_mse, expected.val_mse, rtol)


@pytest.mark.parametrize(("dtype", "rtol"), [(F64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("levels", NETS, ids="-".join)
def test_cells_of_a_pack_train_as_single_cells(
    levels: Levels, dtype: torch.dtype, rtol: float
) -> None:
    """An epoch with the lab's learning rate; other seeds, so other weights and other orders.

    Behind a flattened map float32 is looser: Adam makes whole steps of gradients that are nothing but rounding.
    """
    if levels[2] == "flatten":
        rtol *= 10
    seeds, rates = [3, 4, 5], [1e-3] * 3
    nets, runs = trained(levels, seeds, dtype, epochs=1, rates=rates)
    for seed, net, run in zip(seeds, nets, runs, strict=True):
        alone = nets_of(levels, [seed], dtype)[0]
        assert_same(run, single_cell(alone, TRAIN, VAL, 1, seed, 1e-3), rtol)
        for found, expected in zip(net.parameters(), alone.parameters(), strict=True):
            if dtype == F64:
                torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("levels", NETS, ids="-".join)
def test_a_cell_does_not_depend_on_its_pack(levels: Levels) -> None:
    _, together = trained(levels, [0, 1, 2], torch.float32, epochs=1)
    _, turned = trained(levels, [2, 0], torch.float32, epochs=1)
    _, alone = trained(levels, [2], torch.float32, epochs=1)
    assert_same(together[2], alone[0], 1e-6)
    assert_same(turned[0], alone[0], 1e-6)
    assert_same(turned[1], together[0], 1e-6)


def test_cells_of_one_order_share_it_and_have_rates_of_their_own() -> None:
    levels, rates = NETS[2], [1e-3, 1e-3, 1e-2]
    _, runs = trained(levels, [0, 1, 2], F64, rates=rates, shuffles=[7])
    for seed, rate, run in zip(range(3), rates, runs, strict=True):
        net = nets_of(levels, [seed], F64)[0]
        assert_same(run, single_cell(net, TRAIN, VAL, 2, 7, rate), 1e-11)


@pytest.mark.parametrize("levels", NETS, ids="-".join)
def test_cells_of_one_seed_share_its_order(levels: Levels) -> None:
    """Two orders of four cells, in no order; each cell as it is alone."""
    order_of, seeds = [0, 1, 1, 0], [7, 8]
    nets = nets_of(levels, range(4), F64)
    pack = pack_of(nets, TRAIN, F64, order_of=order_of)
    runs = train_pack(pack, pack_examples(VAL, nets[0], F64), SIZE, 2, generators(seeds))
    for cell, (order, run) in enumerate(zip(order_of, runs, strict=True)):
        (net,) = nets_of(levels, [cell], F64)
        assert_same(run, single_cell(net, TRAIN, VAL, 2, seeds[order]), 1e-11)


@pytest.mark.parametrize("levels", NETS[1:4], ids="-".join)
def test_rates_that_rise_and_fall_are_those_of_single_cells(
    levels: Levels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an epoch is taken again, and where recording it takes steps beforehand."""
    monkeypatch.setattr(pack_module, "FIRST_CANDIDATES", 1)
    rates, seeds = [1e-3, 1e-3, 1e-2], [0, 1, 2]
    protocols = [Protocol(SIZE, 3, BATCH, rate, schedule="cosine", warmup=0.2) for rate in rates]
    nets = nets_of(levels, seeds, F64)
    schedule = schedule_of(protocols[0])
    pack = pack_of(nets, TRAIN, F64, rates, Recorder(), schedule=schedule)
    runs = train_pack(pack, pack_examples(VAL, nets[0], F64), SIZE, 3, generators(seeds))
    for seed, protocol, run in zip(seeds, protocols, runs, strict=True):
        (net,) = nets_of(levels, [seed], F64)
        assert_same(run, single_cell(net, TRAIN, VAL, 3, seed, protocol=protocol), 1e-11)


@pytest.mark.parametrize("levels", NETS, ids="-".join)
def test_tables_that_cells_share_are_made_once(
    levels: Levels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each table of a step is made for two orders, not for six cells, and once."""
    made: list[int] = []

    class Counted(Batch):
        def rows(self, depth: int) -> Rows:
            known, found = depth in self._rows, super().rows(depth)
            made.extend([] if known else [len(found.site)])
            return found

        def sources(self, layer: int) -> Tensor:
            found = super().sources(layer)
            made.append(len(found))
            return found

    monkeypatch.setattr(pack_module, "Batch", Counted)
    pack = pack_of(nets_of(levels, range(6), F64), TRAIN, F64, order_of=[0, 0, 0, 1, 1, 1])
    pack.epoch(pack.plan(np.stack([np.arange(BATCH)] * 2)))
    convolutions = len(pack.shape.convolutions)
    assert made == [2] * (2 * convolutions + 1)


@pytest.mark.parametrize("levels", NETS, ids="-".join)
def test_fresh_images_of_each_order_take_the_place_of_those_before(levels: Levels) -> None:
    """As epochs on these images, cell by cell; a recorded step finds them where it looks for them."""
    seeds, rate = [0, 1], 1e-3

    def drawn(epoch: int, seed: int) -> LineImages:
        return data(SIZE, 1000 * epoch + 10_000 * seed)

    def fresh(epoch: int) -> HostExamples:
        each = [drawn(epoch, seed) for seed in seeds]
        pixels, params = ([getattr(own, name) for own in each] for name in ("pixels", "params"))
        return HostExamples(np.concatenate(pixels), np.concatenate(params))

    first = fresh(1)
    nets = nets_of(levels, range(3), F64)
    pack = pack_of(
        nets,
        LineImages(first.pixels, first.targets),
        F64,
        [rate] * 3,
        Recorder(),
        order_of=[0, 1, 0],
    )
    validation, epochs = pack_examples(VAL, nets[0], F64), 4
    runs = train_pack(
        pack, validation, SIZE, epochs, generators(seeds), own_images=True, fresh=fresh
    )
    for cell, (order, run) in enumerate(zip([0, 1, 0], runs, strict=True)):
        (net,) = nets_of(levels, [cell], F64)

        def own(epoch: int, seed: int = seeds[order]) -> Examples:
            images = drawn(epoch, seed)
            return Examples(
                DeltaImages(images.pixels, F64), torch.from_numpy(images.params).to(F64)
            )

        protocol, shuffle = Protocol(SIZE, epochs, BATCH, rate), generators([seeds[order]])[0]
        val = Examples(DeltaImages(VAL.pixels, F64), torch.from_numpy(VAL.params).to(F64))
        steps = EagerSteps(net, protocol, "delta")
        assert_same(run, train(net, steps, own, val, protocol, shuffle=shuffle), 1e-10)


def test_a_pack_is_gone_with_its_last_reference() -> None:
    """And its memory with it: no cycle waits for Python to look for it, while the next pack needs the room."""
    gc.disable()
    try:
        nets = nets_of(NETS[1], [0], F64)
        pack = pack_of(nets, TRAIN, F64, capture=lambda step, state: lambda: None)
        pack.epoch(pack.plan(np.arange(SIZE)[None]))
        gone = weakref.ref(pack)
        del pack
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("levels", "bad"),
    [*[(levels, torch.nan) for levels in NETS], (NETS[2], torch.inf), (NETS[2], 1e300)],
)
def test_a_diverged_cell_neither_stops_nor_touches_its_neighbours(
    levels: Levels, bad: float
) -> None:
    def spoil(nets: list[nn.Module]) -> None:
        for parameter in nets[1].parameters():
            parameter.data.view(-1)[0] = bad

    _, healthy = trained(levels, [0, 1, 2], F64)
    _, runs = trained(levels, [0, 1, 2], F64, spoil=spoil)
    assert [run.status for run in runs] == ["ok", "diverged", "ok"]
    assert len(runs[1].train_loss) == 1
    assert runs[1].steps == 6
    for cell in (0, 2):
        assert_same(runs[cell], healthy[cell], 1e-13)


def test_a_pack_of_diverged_cells_ends() -> None:
    def spoil(nets: list[nn.Module]) -> None:
        for net in nets:
            net.head[0].bias.data.fill_(torch.nan)

    epochs = []
    nets = nets_of(NETS[1], [0, 1], F64)
    spoil(nets)
    pack = pack_of(nets, TRAIN, F64)
    validation = pack_examples(VAL, nets[0], F64)
    runs = train_pack(pack, validation, SIZE, 5, generators([0, 1]), epochs.append)
    assert [run.status for run in runs] == ["diverged"] * 2
    assert epochs == [1]


def test_an_epoch_that_lacked_candidates_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there had been enough of them from the start."""
    levels = ("conv2", "cartesian", "max")
    _, expected = trained(levels, [0, 1], F64, epochs=3)
    monkeypatch.setattr(pack_module, "FIRST_CANDIDATES", 1)
    nets = nets_of(levels, [0, 1], F64)
    pack = pack_of(nets, TRAIN, F64)
    runs = train_pack(pack, pack_examples(VAL, nets[0], F64), SIZE, 3, generators([0, 1]))
    assert pack.candidates > 1
    for run, other in zip(runs, expected, strict=True):
        assert_same(run, other, 0)


def test_predictions_are_the_nets_own_in_batches_of_any_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for levels in NETS:
        nets = nets_of(levels, [0, 1], F64)
        pack = pack_of(nets, TRAIN, F64)
        images = pack_examples(VAL, nets[0], F64).images
        whole = predict(pack, images)
        monkeypatch.setattr(pack_module, "PREDICTION_BYTES", 1 << 20)
        pieces = predict(pack, images)
        torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=1e-12)
        for net, found in zip(nets, whole, strict=True):
            expected = predict_single(net, DeltaImages(VAL.pixels, F64), len(VAL))
            torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("levels", NETS[:2], ids="-".join)
def test_epochs_prepared_ahead_are_those_prepared_in_turn(levels: Levels) -> None:
    """To the bit."""
    nets, runs = trained(levels, [0, 1], torch.float32, epochs=3)
    others = nets_of(levels, [0, 1], torch.float32)
    pack, shuffles = pack_of(others, TRAIN, torch.float32), generators([0, 1])
    losses = []
    for _ in range(3):
        orders = np.stack([torch.randperm(SIZE, generator=each).numpy() for each in shuffles])
        pack.epoch(pack.plan(orders))
        losses.append((pack.loss / SIZE).tolist())
    pack.write_to(others)
    assert np.stack([run.train_loss for run in runs], 1).tolist() == losses
    for net, other in zip(nets, others, strict=True):
        assert all(map(torch.equal, net.parameters(), other.parameters()))


class Recorder:
    """Captures as CUDA does: steps of warming up that are undone, then a step that later calls repeat."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, step: Callable[[], None], state: Sequence[Tensor]) -> Callable[[], None]:
        self.captures += 1
        before = [tensor.clone() for tensor in state]
        addresses = [tensor.data_ptr() for tensor in state]
        for _ in range(3):
            step()
        put_back(state, before)
        assert [tensor.data_ptr() for tensor in state] == addresses

        def replay() -> None:
            self.replays += 1
            step()

        return replay


def test_warming_up_for_a_capture_leaves_no_trace() -> None:
    for levels in NETS[:3]:
        _, expected = trained(levels, [0, 1], F64, epochs=3)
        nets, recorder = nets_of(levels, [0, 1], F64), Recorder()
        pack = pack_of(nets, TRAIN, F64, capture=recorder)
        runs = train_pack(pack, pack_examples(VAL, nets[0], F64), SIZE, 3, generators([0, 1]))
        for run, other in zip(runs, expected, strict=True):
            assert_same(run, other, 1e-13)
        assert recorder.replays >= 3 * 6
        assert recorder.captures < 6


def test_a_batch_that_needs_more_room_is_captured_anew() -> None:
    recorder = Recorder()
    nets = nets_of(NETS[1], [0], F64)
    pack = pack_of(nets, TRAIN, F64, capture=recorder)
    counts = pack.training.images.host.counts[2]
    scarce, dense = np.argsort(counts)[:BATCH][None], np.argsort(-counts)[:BATCH][None]
    pack.epoch(pack.plan(scarce))
    assert recorder.captures == 1
    pack.epoch(pack.plan(dense))
    assert recorder.captures == 2
    pack.epoch(pack.plan(scarce))
    assert recorder.captures == 2


def test_a_remainder_is_captured_once() -> None:
    """Its one batch is small and differs much: it has room for the largest images of all."""
    recorder = Recorder()
    nets = nets_of(NETS[1], [0], F64)
    pack = pack_of(nets, TRAIN, F64, capture=recorder)
    by_size = np.argsort(pack.training.images.host.counts[2])
    for last in (by_size[:3], by_size[-3:], by_size[:3]):
        pack.epoch(pack.plan(last[None]))
    assert recorder.captures == 1


def test_a_longer_epoch_than_the_first_has_room_too() -> None:
    order = np.arange(SIZE)[None]
    packs = [pack_of(nets_of(NETS[1], [0], F64), TRAIN, F64) for _ in range(2)]
    for count in (BATCH, 2 * BATCH, SIZE):
        packs[0].epoch(packs[0].plan(order[:, :count]))
        for first in range(0, count, BATCH):
            packs[1].epoch(packs[1].plan(order[:, first : min(first + BATCH, count)]))
    for one, other in zip(*(pack.parameters for pack in packs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_only_the_protocol_that_packs_know_is_packable() -> None:
    assert unpackable_setting(Protocol(epochs=3, learning_rate=1e-2)) is None
    assert unpackable_setting(Protocol(training_set="fresh", target="posterior")) is None
    assert unpackable_setting(Protocol(engine="dense")) == "engine = 'dense'"
    assert unpackable_setting(Protocol(loss="l1")) == "loss = 'l1'"
    assert unrecordable_setting(Protocol(loss="l1", optimiser="adamw", engine="dense")) is None
    assert unrecordable_setting(Protocol(weights="best")) == "weights = 'best'"
