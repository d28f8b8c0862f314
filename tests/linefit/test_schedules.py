"""The learning rate of every step, beside torch's own schedulers."""

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, SequentialLR

from linefit.protocol import Protocol
from linefit.schedules import learning_rates

STEPS = 4 * 10  # 4 epochs of 10 batches, the last of them smaller


def rates_of(scheduler, optimiser):
    rates = []
    for _ in range(STEPS):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def protocol(**settings):
    return Protocol(train_size=95, batch_size=10, epochs=4, learning_rate=0.003, **settings)


@pytest.fixture
def optimiser():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.003)


def test_constant_is_the_rate_itself():
    np.testing.assert_array_equal(learning_rates(protocol()), [0.003] * STEPS)


def test_cosine_is_torchs(optimiser):
    expected = rates_of(CosineAnnealingLR(optimiser, STEPS), optimiser)
    np.testing.assert_allclose(learning_rates(protocol(schedule="cosine")), expected, rtol=1e-12)


def test_warmup_rises_in_equal_strides_and_cosine_has_the_rest(optimiser):
    rising = 8
    parts = [
        LinearLR(optimiser, 1 / rising, 1, total_iters=rising - 1),
        ConstantLR(optimiser, 1, 0),
    ]
    warmup = rates_of(SequentialLR(optimiser, parts, [rising]), optimiser)[:rising]
    optimiser.param_groups[0]["lr"] = optimiser.param_groups[0]["initial_lr"] = 0.003
    rest = rates_of(CosineAnnealingLR(optimiser, STEPS - rising), optimiser)[: STEPS - rising]
    rates = learning_rates(protocol(schedule="cosine", warmup=0.2))
    np.testing.assert_allclose(rates, warmup + rest, rtol=1e-12)
    assert rates[rising - 1] == rates[rising] == rates.max()
