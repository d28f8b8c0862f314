"""The compiled step against dense autograd in float64, and against the engine of delta maps in float32."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linefit import engines
from linefit.architectures import build
from linefit.engines import engine_for, image_source
from linefit.examples import Examples
from linefit.fused import FusedImages, FusedTrainer, fused_predictions, recognise
from linefit.fused import engine as fused_engine
from linefit.fused.library import instruction_sets
from linefit.images import lab_images
from linefit.levels import ARCHITECTURES, COORDINATES, PADDINGS, PLACEMENTS, POOLINGS, problems
from linefit.protocol import Protocol
from linefit.training import predict, steps_for, train

SETS = instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="no compiler when linefit was installed")
CPU = torch.device("cpu")
DIM = 11
TRAINED = [
    ("conv1", "none", "max"),
    ("conv1", "cartesian", "flatten"),
    ("conv2", "cartesian", "max"),
    ("conv2", "none", "average"),
    ("conv2", "none", "flatten"),
    ("conv3", "cartesian", "average"),
    ("conv3", "none", "max"),
    ("conv4", "cartesian", "max"),
    ("conv4", "none", "flatten"),
    ("conv2", "cartesian", "sum"),
    ("conv1", "cartesian", "max_average"),
    ("conv2", "none", "grid2"),
    ("conv3", "cartesian", "grid4"),
    ("conv2", "none", "logsumexp"),
    ("conv1", "none", "gem"),
    ("conv2", "cartesian", "gem(exponent=20)"),
    ("conv2", "cartesian", "softpool"),
    ("conv2", "none", "spatial_softmax"),
    ("conv1", "cartesian", "spatial_softmax"),
    ("conv2", "cartesian", "attention"),
    ("conv2", "none", "attention(hidden=5)"),
    ("conv1", "none", "gated_attention"),
    ("large_kernel", "none", "max"),
    ("large_kernel", "cartesian", "average"),
    ("large_kernel(kernel=7)", "none", "flatten"),
    ("large_kernel(kernel=11)", "cartesian", "max"),
]
# A softmax is blind to what all its scores have in common: the gradient is rounding, which Adam makes steps of.
BLIND = "pooling.score.bias"


def random_images(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    """Of every density: empty and full ones among them, and one twice."""
    rng = np.random.default_rng(seed)
    pixels = rng.random((count, dim, dim)) < np.linspace(0, 0.3, count)[:, None, None]
    pixels[0], pixels[-1], pixels[1] = False, True, pixels[2]
    return pixels


def targets_for(pixels: np.ndarray) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return 3 * torch.randn(len(pixels), 2, generator=generator, dtype=torch.float64)


def dense_losses(
    net: nn.Module, optimiser: torch.optim.Optimizer, loss, pixels, targets, batches, rates
) -> float:
    images = torch.from_numpy(pixels)[:, None].to(targets.dtype)
    total = 0.0
    for indices, rate in zip(batches, rates, strict=True):
        optimiser.param_groups[0]["lr"] = rate
        optimiser.zero_grad()
        value = loss(net(images[indices]), targets[indices])
        value.backward()
        optimiser.step()
        total += value.item() * len(indices)
    return total


def assert_same_parameters(net: nn.Module, expected: nn.Module, tolerance: float) -> None:
    for (name, found), want in zip(net.named_parameters(), expected.parameters(), strict=True):
        if name == BLIND:
            continue
        torch.testing.assert_close(
            found,
            want,
            rtol=tolerance,
            atol=tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )


@pytest.mark.parametrize("choice", SETS)
@pytest.mark.parametrize("width", [3, 8, 20])
@pytest.mark.parametrize("levels", TRAINED, ids="-".join)
def test_training_is_dense_training_in_float64(levels, width, choice):
    pixels = random_images(20)
    targets = targets_for(pixels)
    net = build(*levels, width, dim=DIM, seed=1).double()
    reference = copy.deepcopy(net)
    adam = torch.optim.Adam(reference.parameters())
    program = recognise(net, DIM, DIM)
    trainer = FusedTrainer(program, choice=choice)
    images = FusedImages(pixels, torch.float64)
    for epoch in range(3):
        order = torch.randperm(20, generator=torch.Generator().manual_seed(epoch))
        batches, rates = order.split(8), np.array([1e-3, 2e-3, 5e-4])
        found = trainer.take(images, targets, batches, rates)
        expected = dense_losses(reference, adam, F.mse_loss, pixels, targets, batches, rates)
        assert found == pytest.approx(expected, rel=1e-12)
    # Adam divides by the gradient's size: what is rounding there may be a larger share of the step.
    assert_same_parameters(net, reference, 1e-9)
    predictions = fused_predictions(program, images, 20, choice)
    with torch.no_grad():
        expected_predictions = reference(torch.from_numpy(pixels)[:, None].double())
    torch.testing.assert_close(predictions, expected_predictions, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("levels", TRAINED, ids="-".join)
def test_gradients_are_those_of_autograd(levels):
    """Adam's first moment after one step is a tenth of the gradient."""
    pixels = random_images(16, seed=3)
    targets = targets_for(pixels)
    net = build(*levels, 5, dim=DIM, seed=2).double()
    reference = copy.deepcopy(net)
    F.mse_loss(reference(torch.from_numpy(pixels)[:, None].double()), targets).backward()
    program = recognise(net, DIM, DIM)
    trainer = FusedTrainer(program)
    trainer.take(FusedImages(pixels, torch.float64), targets, [torch.arange(16)], np.zeros(1))
    moments = copy.deepcopy(net)
    recognise(moments, DIM, DIM).unpack(trainer.mean)
    if trainer.large:
        moments.head[0].weight.data = trainer.large[0].t()
    for (name, found), parameter in zip(
        moments.named_parameters(), reference.parameters(), strict=True
    ):
        scale = parameter.grad.abs().max().item() if name != BLIND else 1
        torch.testing.assert_close(
            10 * found.detach(), parameter.grad, rtol=1e-12, atol=1e-12 * scale
        )


@pytest.mark.parametrize("dim", [4, 7, 16, 64])
@pytest.mark.parametrize(
    "levels",
    [
        ("conv1", "none", "grid4"),
        ("conv2", "cartesian", "spatial_softmax"),
        ("conv2", "none", "attention"),
    ],
    ids="-".join,
)
def test_images_of_other_sizes_are_trained_as_densely(levels, dim):
    pixels = random_images(6, seed=4, dim=dim)
    targets = targets_for(pixels)
    net = build(*levels, 5, dim=dim, seed=1).double()
    reference = copy.deepcopy(net)
    adam = torch.optim.Adam(reference.parameters())
    batches, rates = torch.arange(6).split(3), np.array([1e-3, 2e-3])
    trainer = FusedTrainer(recognise(net, dim, dim))
    found = trainer.take(FusedImages(pixels, torch.float64), targets, batches, rates)
    expected = dense_losses(reference, adam, F.mse_loss, pixels, targets, batches, rates)
    assert found == pytest.approx(expected, rel=1e-12)
    assert_same_parameters(net, reference, 1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1, 30, 1000])
@pytest.mark.parametrize(
    "pooling", ["logsumexp", "softpool", "spatial_softmax", "gem(exponent=90)", "attention"]
)
def test_a_softmax_that_single_sites_dominate_is_as_exact(pooling, factor, dtype):
    """Also where an image hides the best sites of the empty one, and where images' scores are far apart."""
    net = build("conv2", "cartesian", pooling, 8, dim=DIM, seed=3)
    with torch.no_grad():
        net.convolutions[2].weight *= factor
        if pooling == "attention":
            net.pooling.score.weight *= factor
    pixels = random_images(24, seed=6)
    targets = targets_for(pixels)
    program = recognise(net.to(dtype), DIM, DIM)
    reference = copy.deepcopy(net).double()
    predictions = reference(torch.from_numpy(pixels)[:, None].double())
    F.mse_loss(predictions, targets).backward()
    trainer, images = FusedTrainer(program), FusedImages(pixels, dtype)
    found = fused_predictions(program, images, 24)
    trainer.take(images, targets, [torch.arange(24)], np.zeros(1))
    moments = copy.deepcopy(net)
    recognise(moments, DIM, DIM).unpack(trainer.mean)
    # Scores of a thousand are rounded to a thousandth of the type's precision, and only then exponentiated.
    tolerance = factor * (1e-5 if dtype == torch.float32 else 1e-13)
    of_outputs = predictions.detach()
    scale = of_outputs.abs().max().item()
    torch.testing.assert_close(found.double(), of_outputs, rtol=0, atol=tolerance * scale)
    # Of the whole net: where a single site has it all, the gradients of scores cancel.
    scale = max(parameter.grad.abs().max().item() for parameter in reference.parameters())
    for mean, parameter in zip(moments.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(
            10 * mean.detach().double(), parameter.grad, rtol=0, atol=tolerance * scale
        )


@pytest.mark.parametrize(("loss", "function"), [("huber", F.huber_loss), ("l1", F.l1_loss)])
@pytest.mark.parametrize("levels", [("conv2", "cartesian", "max"), ("conv1", "none", "flatten")])
def test_other_losses_and_weight_decay(levels, loss, function):
    pixels = random_images(20)
    targets = targets_for(pixels)
    net = build(*levels, 4, dim=DIM, seed=1).double()
    reference = copy.deepcopy(net)
    adamw = torch.optim.AdamW(reference.parameters(), weight_decay=0.3)
    trainer = FusedTrainer(recognise(net, DIM, DIM), loss, weight_decay=0.3)
    batches, rates = torch.arange(20).split(7), np.array([1e-2, 5e-3, 1e-3])
    found = trainer.take(FusedImages(pixels, torch.float64), targets, batches, rates)
    expected = dense_losses(reference, adamw, function, pixels, targets, batches, rates)
    assert found == pytest.approx(expected, rel=1e-12)
    assert_same_parameters(net, reference, 1e-9)


@pytest.mark.parametrize(
    "levels",
    [
        ("conv1", "none", "flatten"),
        ("conv2", "none", "max"),
        ("conv2", "cartesian", "max"),
        ("conv2", "cartesian", "grid2"),
        ("conv2", "cartesian", "gem"),
        ("conv1", "cartesian", "logsumexp"),
        ("conv2", "none", "spatial_softmax"),
        ("conv2", "cartesian", "gated_attention"),
        ("large_kernel", "none", "average"),
    ],
)
def test_first_epoch_follows_delta_maps_in_float32(levels):
    data = lab_images(1000)
    protocol = Protocol(train_size=1000, epochs=1)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(3))
    targets = torch.from_numpy(data.params)
    curves = {}
    for engine in ("fused", "delta"):
        net = build(*levels, 16, seed=3)
        steps = steps_for(net, protocol, engine)
        examples = Examples(image_source(data.pixels, engine, torch.float32, CPU), targets)
        curves[engine] = [float(steps.take(examples, [batch])) for batch in order.split(128)]
    np.testing.assert_allclose(curves["fused"], curves["delta"], rtol=1e-5)


def near_the_labs() -> list[dict[str, str]]:
    """Every level of every factor of a net, beside the lab's levels of the others."""
    levels = [
        {"architecture": architecture, "coordinates": coordinates, "pooling": pooling}
        for architecture in ARCHITECTURES
        for coordinates in COORDINATES
        for pooling in POOLINGS
        if architecture == "conv2" or (coordinates, pooling) in LAB_POSITIONS
    ]
    lab = {"architecture": "conv2", "coordinates": "cartesian", "pooling": "max"}
    levels += [{**lab, "placement": placement} for placement in PLACEMENTS]
    levels += [{**lab, "padding": padding} for padding in PADDINGS]
    rest = {"width": 4, "placement": "first", "head": "mlp", "padding": "zeros"}
    return [found for found in levels if not problems({**rest, **found})]


LAB_POSITIONS = [("none", "flatten"), ("cartesian", "max"), ("cartesian", "none")]


@pytest.mark.parametrize("levels", near_the_labs(), ids=lambda levels: "-".join(levels.values()))
def test_whatever_is_recognised_predicts_as_it_does_densely(levels):
    """A level that looks like a known one but computes something else would be found out here."""
    net = build(**levels, width=4, dim=DIM, seed=0).double()
    program = recognise(net, DIM, DIM)
    if program is None:
        assert levels not in [
            {"architecture": a, "coordinates": c, "pooling": p} for a, c, p in TRAINED
        ]
        return
    pixels = random_images(12, seed=1)
    found = fused_predictions(program, FusedImages(pixels, torch.float64), 12)
    with torch.no_grad():
        expected = net(torch.from_numpy(pixels)[:, None].double())
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("levels", TRAINED[1:4], ids="-".join)
def test_the_same_steps_give_the_same_bits_in_one_call_or_in_several(levels):
    pixels = random_images(30)
    targets = targets_for(pixels).float()
    nets = []
    for pieces in (1, 3):
        net = build(*levels, 8, dim=DIM, seed=1)
        trainer = FusedTrainer(recognise(net, DIM, DIM))
        images = FusedImages(pixels, torch.float32)
        batches, rates = torch.arange(30).split(5), np.full(6, 1e-3)
        for part in np.array_split(np.arange(6), pieces):
            trainer.take(images, targets, [batches[i] for i in part], rates[part])
        nets.append(net)
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("levels", TRAINED[:4], ids="-".join)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("parameter", [0, -4, -1])
def test_a_weight_that_is_not_finite_gives_what_it_gives_densely(levels, value, parameter):
    net = build(*levels, 4, dim=DIM, seed=1).double()
    with torch.no_grad():
        list(net.parameters())[parameter].view(-1)[0] = value
    pixels = random_images(12)
    with torch.no_grad():
        expected = net(torch.from_numpy(pixels)[:, None].double())
    found = fused_predictions(recognise(net, DIM, DIM), FusedImages(pixels, torch.float64), 12)
    # A finite prediction must be right; one that is not may be infinite here and NaN there.
    assert torch.equal(found.isfinite().all(), expected.isfinite().all())
    if expected.isfinite().all():
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("levels", [("conv2", "none", "max"), ("conv1", "none", "flatten")])
def test_training_diverges_where_it_does_on_delta_maps(levels):
    data = lab_images(100)
    targets = torch.from_numpy(data.params)
    protocol = Protocol(train_size=100, epochs=30, batch_size=64, learning_rate=1e30)
    runs = []
    for engine in ("fused", "delta"):
        net = build(*levels, 4, seed=0)
        examples = Examples(image_source(data.pixels, engine, torch.float32, CPU), targets)
        shuffle = torch.Generator().manual_seed(0)
        steps = steps_for(net, protocol, engine)
        runs.append(train(net, steps, lambda _, e=examples: e, examples, protocol, shuffle=shuffle))
    assert [run.status for run in runs] == ["diverged", "diverged"]
    assert len(runs[0].train_loss) == len(runs[1].train_loss)


def test_images_and_indices_that_do_not_fit_are_refused():
    net = build("conv2", "cartesian", "max", 4, dim=DIM, seed=0)
    trainer = FusedTrainer(recognise(net, DIM, DIM))
    images = FusedImages(random_images(5), torch.float32)
    for index in (-1, 5):
        with pytest.raises(IndexError, match="5 images"):
            trainer.take(images, torch.zeros(5, 2), [torch.tensor([0, index])], np.ones(1))
    with pytest.raises(IndexError, match="4 images"):
        trainer.take(images, torch.zeros(4, 2), [torch.tensor([4])], np.ones(1))
    with pytest.raises(ValueError, match="12x12"):
        fused_predictions(
            trainer.program, FusedImages(np.zeros((1, 12, 12), bool), torch.float32), 1
        )


def test_a_library_that_lays_parameters_out_otherwise_is_refused(monkeypatch):
    program = recognise(build("conv1", "none", "max", 4, dim=DIM, seed=0), DIM, DIM)
    monkeypatch.setattr(type(program), "pack", lambda self: torch.zeros(3))
    with pytest.raises(ImportError, match="other sources"):
        FusedTrainer(program)


def test_streamed_images_are_predicted_as_kept_ones(monkeypatch):
    monkeypatch.setattr(engines, "FUSED_PIECE", 7)
    net = build("conv2", "cartesian", "max", 8, dim=DIM, seed=1)
    pixels = random_images(20)
    kept, streamed = (
        predict(net, source(pixels, "fused", torch.float32, CPU), 18)
        for source in (image_source, engines.StreamedImages)
    )
    assert kept.shape == (18, 2)
    torch.testing.assert_close(kept, streamed, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("levels", TRAINED[1:8:2] + TRAINED[13:14], ids="-".join)
def test_predictions_are_the_same_however_many_are_made_at_a_time(monkeypatch, levels):
    """Batches of one call share their background, whether or not memory has to grow between them."""
    net = build(*levels, 8, dim=DIM, seed=1).double()
    pixels = random_images(40)
    pixels[:10] &= random_images(10, seed=1)  # fewer pixels: less memory
    expected = net(torch.from_numpy(pixels)[:, None].double()).detach()
    for size in (1, 7, 40):
        monkeypatch.setattr(fused_engine, "PREDICTION_BATCH", size)
        monkeypatch.setattr(fused_engine, "FLATTEN_PREDICTION_BATCH", size)
        found = fused_predictions(recognise(net, DIM, DIM), FusedImages(pixels, torch.float64), 40)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_harness_takes_it_for_the_labs_nets():
    for levels in (("conv1", "none", "flatten"), ("conv2", "none", "max")):
        net = build(*levels, 48, seed=0)
        assert engine_for(net, lab_images(1).pixels, "auto", torch.float32, CPU) == ("fused", "")
