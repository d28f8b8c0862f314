"""Which weights a net is evaluated with, beside weights recorded after every step."""

from typing import get_args

import numpy as np
import pytest
import torch

from linefit.architectures import build
from linefit.images import lab_images
from linefit.protocol import Protocol, Weights
from linefit.training import EagerSteps, train
from linefit.weights import WEIGHTS
from tests.linefit.test_training import VALIDATION, examples

CPU = torch.device("cpu")
IMAGES = lab_images(100)


class RecordedSteps(EagerSteps):
    """Steps that keep the weights after each of them."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.after, self.sizes = [], []

    def take(self, some, batches):
        total = 0.0
        self.sizes.append(len(batches))
        for batch in batches:
            total += super().take(some, [batch])
            self.after.append([p.detach().clone() for p in self.net.parameters()])
        return total


def trained(weights, levels=("conv1", "none", "max", 3), epochs=7):
    protocol = Protocol(
        train_size=100, epochs=epochs, batch_size=16, learning_rate=0.05, weights=weights
    )
    net = build(*levels, seed=0).double()
    steps = RecordedSteps(net, protocol, "delta")
    training_examples = examples(IMAGES, "delta", torch.float64)
    run = train(
        net,
        steps,
        lambda _: training_examples,
        examples(VALIDATION, "delta", torch.float64),
        protocol,
        shuffle=torch.Generator().manual_seed(1),
    )
    return net, steps, run


def assert_weights(net, expected):
    for found, value in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(found.detach(), value, rtol=1e-12, atol=1e-14)


def test_last():
    net, steps, _ = trained("last")
    assert_weights(net, steps.after[-1])
    assert steps.sizes == [7] * 7  # whole epochs at once


def test_best_on_val():
    net, steps, run = trained("best")
    best = int(np.argmin(run.val_mse))
    assert best < 6, "the test needs an epoch that is better than the last"
    assert_weights(net, steps.after[7 * best + 6])


@pytest.mark.parametrize(("epochs", "averaged"), [(7, 5), (1, 1), (15, 10)])
def test_average_is_the_mean_over_the_last_tenth_of_the_steps(epochs, averaged):
    net, steps, _ = trained("average", epochs=epochs)
    last = steps.after[-averaged:]
    assert_weights(net, [torch.stack(values).mean(0) for values in zip(*last, strict=True)])


def test_a_large_weight_keeps_its_layout():
    """The optimiser stores it input-major, and what is put back must not change that."""
    _, steps, _ = trained("best", ("conv1", "none", "flatten", 6), epochs=2)
    assert steps.optimiser.large[0].parameter.stride()[0] == 1


def test_curves_are_those_of_the_weights_in_training():
    curves = [trained(weights)[2] for weights in ("last", "best", "average")]
    for run in curves[1:]:
        np.testing.assert_array_equal(run.val_mse, curves[0].val_mse)
        np.testing.assert_array_equal(run.train_loss, curves[0].train_loss)


def test_every_choice_of_the_protocol_is_there():
    assert set(WEIGHTS) == set(get_args(Weights))
