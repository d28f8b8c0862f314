"""The training loop is the lab's: compared with a plain loop written out, in float64, and dense with delta."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from linefit.architectures import build
from linefit.engines import image_source
from linefit.examples import Examples, training_examples
from linefit.fused import instruction_set
from linefit.images import lab_images
from linefit.protocol import Protocol
from linefit.training import cell_seeds, predict, steps_for, train

CPU = torch.device("cpu")
# The compiled step is there wherever a compiler was when the package was installed.
ENGINES = ["delta", "dense"] + ["fused"] * (instruction_set() is not None)
TRAINING, VALIDATION = lab_images(200), lab_images(60, random_offset=33_333)
PROTOCOL = Protocol(train_size=200, epochs=3, batch_size=64, learning_rate=3e-3)
NETS = [
    ("conv1", "none", "flatten", 6),
    ("conv2", "none", "max", 3),
    ("conv2", "cartesian", "max", 3),
]


def examples(images, engine, dtype):
    return Examples(
        image_source(images.pixels, engine, dtype, CPU), torch.from_numpy(images.params).to(dtype)
    )


def run(levels, engine, dtype=torch.float64, protocol=PROTOCOL, seed=0):
    initial, shuffle = cell_seeds(seed)
    net = build(*levels, seed=initial).to(dtype)
    given = examples(TRAINING, engine, dtype)
    training = train(
        net,
        steps_for(net, protocol, engine),
        lambda _: given,
        examples(VALIDATION, engine, dtype),
        protocol,
        shuffle=torch.Generator().manual_seed(shuffle),
    )
    return net, training


def lab_loop(levels, dtype):
    """The lab's loop as a student writes it, with the order of images that the seed decides."""
    initial, shuffle = cell_seeds(0)
    net = build(*levels, seed=initial).to(dtype)
    generator = torch.Generator().manual_seed(shuffle)
    optimiser = torch.optim.Adam(net.parameters(), lr=PROTOCOL.learning_rate)
    images = torch.from_numpy(TRAINING.pixels)[:, None].to(dtype)
    params = torch.from_numpy(TRAINING.params).to(dtype)
    val_images = torch.from_numpy(VALIDATION.pixels)[:, None].to(dtype)
    val_params = torch.from_numpy(VALIDATION.params).to(dtype)
    train_loss, val_mse = [], []
    for _ in range(PROTOCOL.epochs):
        losses = []
        order = torch.randperm(len(images), generator=generator)
        for start in range(0, len(order), PROTOCOL.batch_size):
            chosen = order[start : start + PROTOCOL.batch_size]
            optimiser.zero_grad()
            loss = F.mse_loss(net(images[chosen]), params[chosen])
            loss.backward()
            optimiser.step()
            losses.append(loss.item() * len(chosen))
        train_loss.append(sum(losses) / len(images))
        with torch.no_grad():
            val_mse.append(F.mse_loss(net(val_images), val_params).item())
    return train_loss, val_mse


@pytest.mark.parametrize("levels", NETS, ids=["simple", "max", "coordconv"])
@pytest.mark.parametrize("engine", ENGINES)
def test_training_is_the_labs_loop(levels, engine):
    expected_loss, expected_mse = lab_loop(levels, torch.float64)
    _, training = run(levels, engine)
    assert training.status == "ok"
    assert training.steps == 3 * 4
    np.testing.assert_allclose(training.train_loss, expected_loss, rtol=1e-9)
    np.testing.assert_allclose(training.val_mse, expected_mse, rtol=1e-9)


PROTOCOLS = {
    "fresh": {"training_set": "fresh", "target": "posterior", "loss": "huber"},
    "adamw": {"optimiser": "adamw", "weight_decay": 0.3, "schedule": "cosine", "warmup": 0.2},
    "average": {"weights": "average", "loss": "l1", "training_set": "per_seed"},
    "best": {"weights": "best", "schedule": "cosine"},
}


@pytest.mark.parametrize("settings", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_engines_agree_whatever_the_protocol(settings):
    protocol = replace(PROTOCOL, **settings)
    found = {}
    for engine in ENGINES:
        net = build(*NETS[2], seed=0).double()
        training = train(
            net,
            steps_for(net, protocol, engine),
            training_examples(protocol, 3, engine, torch.float64, CPU),
            examples(VALIDATION, engine, torch.float64),
            protocol,
            shuffle=torch.Generator().manual_seed(0),
        )
        source = image_source(VALIDATION.pixels, "dense", torch.float64, CPU)
        predictions = predict(net, source, len(VALIDATION)).numpy()
        found[engine] = np.concatenate([training.train_loss, training.val_mse, predictions.ravel()])
    for engine in ENGINES:
        np.testing.assert_allclose(found[engine], found["dense"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_seed_gives_the_same_bits(engine):
    one, other = (run(NETS[2], engine, torch.float32)[1] for _ in range(2))
    np.testing.assert_array_equal(one.train_loss, other.train_loss)
    np.testing.assert_array_equal(one.val_mse, other.val_mse)


def test_predictions_do_not_depend_on_batches_or_on_the_engine():
    net, _ = run(NETS[2], "dense")
    pixels = lab_images(603, random_offset=99_999).pixels
    with torch.no_grad():
        expected = net(torch.from_numpy(pixels)[:, None].double())
    for engine in ENGINES:
        predictions = predict(net, image_source(pixels, engine, torch.float64, CPU), len(pixels))
        torch.testing.assert_close(predictions, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loss_that_is_not_finite_ends_the_training(engine):
    protocol = Protocol(train_size=200, epochs=50, batch_size=64, learning_rate=1e30)
    _, training = run(NETS[1], engine, torch.float32, protocol)
    assert training.status == "diverged"
    assert len(training.train_loss) == len(training.val_mse) < 50


class RandomAndRunning(torch.nn.Module):
    """What training and evaluation do differently: dropout and running statistics."""

    def __init__(self):
        super().__init__()
        self.body = build(*NETS[2], seed=0)
        self.body.head.insert(1, torch.nn.BatchNorm1d(128))
        self.body.head.insert(2, torch.nn.Dropout(0.5))

    def forward(self, images):
        return self.body(images)


@pytest.mark.parametrize("engine", ["delta", "dense"])
def test_predictions_are_made_in_evaluation_mode_and_training_goes_on_in_its_own(engine):
    protocol = Protocol(train_size=200, epochs=2, batch_size=64)
    curves = []
    for _ in range(2):
        net = RandomAndRunning()
        net.body.head[1].eval()  # frozen by its owner
        torch.rand(1)  # the global generator is elsewhere at the second run
        before = torch.get_rng_state()
        made = examples(TRAINING, engine, torch.float32)
        training = train(
            net,
            steps_for(net, protocol, engine),
            lambda _, given=made: given,
            examples(VALIDATION, engine, torch.float32),
            protocol,
            shuffle=torch.Generator().manual_seed(5),
        )
        assert torch.equal(torch.get_rng_state(), before)
        curves.append([*training.train_loss, *training.val_mse])
        assert net.training
        assert not net.body.head[1].training
    assert curves[0] == curves[1]
    source = image_source(VALIDATION.pixels, engine, torch.float32, CPU)
    predictions = predict(net, source, len(VALIDATION))
    assert torch.equal(predictions, predict(net, source, len(VALIDATION)))
    net.eval()
    with torch.no_grad():
        expected = net(torch.from_numpy(VALIDATION.pixels)[:, None].float())
    torch.testing.assert_close(predictions, expected, rtol=1e-4, atol=1e-4)


def test_seeds_of_initialisation_and_shuffling_are_distinct():
    seeds = [seed for cell in range(1000) for seed in cell_seeds(cell)]
    assert len(set(seeds)) == 2000
