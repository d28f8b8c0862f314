"""One epoch of each of the lab's nets the lab's own way: every image made in Python when it is asked for, plain
eager NCHW steps, then the validation loss. What the suite's own way is to be measured against, end to end.

An epoch is 40 steps and takes up to a minute: without `--benchmark-enable` only a single step of each is taken.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from linefit.architectures import build
from linefit.images import SPLITS
from tests.linefit.lab_generator import line_image

NETS = {
    "simple": ("conv1", "none", "flatten", 48),
    "global-max-pooling": ("conv2", "none", "max", 48),
    "coordconv": ("conv2", "cartesian", "max", 48),
}


class LabDataset(Dataset):
    def __init__(self, split, size=None):
        self.split = SPLITS[split]
        self.size = size or self.split.size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        pixels, params = line_image(40, index + self.split.random_offset)
        return pixels[None].float(), params


@pytest.mark.benchmark(group="one epoch the lab's own way")
@pytest.mark.parametrize("name", NETS)
def test_lab_epoch(benchmark, name):
    size = 128 if benchmark.disabled else None
    net = build(*NETS[name], seed=0)
    optimiser = torch.optim.Adam(net.parameters())
    training = DataLoader(LabDataset("train", size), batch_size=128, shuffle=True)
    validation = DataLoader(LabDataset("val", size), batch_size=128)
    losses = []

    def epoch():
        for images, params in training:
            optimiser.zero_grad()
            loss = F.mse_loss(net(images), params)
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            losses.append(
                sum(float(F.mse_loss(net(images), params)) for images, params in validation)
            )

    benchmark.pedantic(epoch, rounds=1)
    assert losses
    assert losses[-1] > 0
