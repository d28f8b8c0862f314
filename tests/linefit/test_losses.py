"""Losses against loops in NumPy; cross-entropy takes a net's logits."""

from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from linefit.losses import LOSSES
from linefit.protocol import Loss

RNG = np.random.default_rng(0)
PREDICTED, TARGETS = RNG.normal(0, 2, (7, 2)), RNG.normal(0, 2, (7, 2))


def huber(error):
    return error**2 / 2 if abs(error) <= 1 else abs(error) - 0.5


@pytest.mark.parametrize(
    ("loss", "of_error"), [("mse", np.square), ("l1", np.abs), ("huber", huber)]
)
def test_losses_of_a_prediction(loss, of_error):
    expected = np.mean([of_error(e) for e in (PREDICTED - TARGETS).ravel()])
    images, targets = torch.from_numpy(PREDICTED), torch.from_numpy(TARGETS)
    assert LOSSES[loss](nn.Identity(), images, targets).item() == pytest.approx(expected, rel=1e-12)


class TwoDistributions(nn.Module):
    def logits(self, images):
        return images[:, :3], images[:, 3:]


def test_cross_entropy_is_that_of_slopes_plus_that_of_intercepts():
    logits = RNG.normal(0, 1, (5, 7))
    targets = np.concatenate([RNG.dirichlet(np.ones(3), 5), RNG.dirichlet(np.ones(4), 5)], axis=1)
    expected = 0.0
    for image in range(5):
        for part in (slice(0, 3), slice(3, 7)):
            probabilities = np.exp(logits[image, part]) / np.exp(logits[image, part]).sum()
            expected -= (targets[image, part] * np.log(probabilities)).sum() / 5
    found = LOSSES["cross_entropy"](
        TwoDistributions(), torch.from_numpy(logits), torch.from_numpy(targets)
    )
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_every_loss_of_the_protocol_is_there():
    assert set(LOSSES) == set(get_args(Loss))
