"""What the compiled step takes on, and above all what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from linefit.architectures import LineNet, build
from linefit.fused import recognise
from linefit.levels import POOLINGS
from linefit.pooling import Attention, GridMaximum, Sum


def net(pooling: str = "max") -> LineNet:
    return build("conv2", "cartesian", pooling, 4, dim=9, seed=0)


def replaced(path: str, module: nn.Module) -> LineNet:
    changed = net()
    changed.set_submodule(path, module)
    return changed


def changed(change, pooling: str = "max") -> LineNet:
    made = net(pooling)
    change(made)
    return made


class Loud(nn.ReLU):
    def forward(self, input):
        return 2 * super().forward(input)


class LoudSum(Sum):
    def forward(self, maps):
        return 2 * super().forward(maps)


class OtherNet(LineNet):
    pass


def test_the_registries_nets_are_known():
    for pooling in POOLINGS.keys() - {"none"}:
        program = recognise(net(pooling), 9, 9)
        assert program is not None
        assert program.pool.kind == {"grid2": "grid", "grid4": "grid"}.get(pooling, pooling)
        assert program.channels == [3, 4, 4]
        assert program.constants.shape == (2, 9, 9)
    assert recognise(net("flatten").double(), 9, 9) is not None


UNKNOWN = {
    "another size": lambda: build("conv2", "cartesian", "max", 4, dim=8, seed=0),
    "flatten of another size": lambda: build("conv1", "none", "flatten", 4, dim=8, seed=0),
    "stride": lambda: replaced("convolutions.2", nn.Conv2d(4, 4, 3, padding=1, stride=2)),
    "dilation": lambda: replaced("convolutions.2", nn.Conv2d(4, 4, 3, padding=2, dilation=2)),
    "kernels of two sizes": lambda: replaced("convolutions.2", nn.Conv2d(4, 4, 5, padding=2)),
    "an even kernel": lambda: replaced(
        "convolutions", nn.Sequential(nn.Conv2d(3, 4, 4, padding=2), nn.ReLU())
    ),
    "a large kernel": lambda: replaced(
        "convolutions", nn.Sequential(nn.Conv2d(3, 4, 13, padding=6), nn.ReLU())
    ),
    "no padding": lambda: replaced("convolutions.2", nn.Conv2d(4, 4, 3)),
    "padding by name": lambda: replaced("convolutions.2", nn.Conv2d(4, 4, 3, padding="same")),
    "groups": lambda: replaced("convolutions.2", nn.Conv2d(4, 4, 3, padding=1, groups=2)),
    "circular": lambda: replaced(
        "convolutions.2", nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
    ),
    "no bias": lambda: replaced("convolutions.2", nn.Conv2d(4, 4, 3, padding=1, bias=False)),
    "half": lambda: net().half(),
    "two kinds": lambda: changed(lambda n: n.head.double()),
    "other activation": lambda: replaced("convolutions.3", nn.GELU()),
    "derived activation": lambda: replaced("convolutions.3", Loud()),
    "no last activation": lambda: changed(lambda n: n.convolutions.pop(3)),
    "batch norm": lambda: changed(lambda n: n.convolutions.insert(1, nn.BatchNorm2d(4))),
    "other pooling": lambda: replaced("pooling.0", nn.AdaptiveMaxPool2d(2)),
    "max and index": lambda: replaced("pooling.0", nn.AdaptiveMaxPool2d(1, return_indices=True)),
    "a grid finer than the map": lambda: changed(lambda n: setattr(n.pooling, "k", 10), "grid4"),
    "other positions": lambda: changed(lambda n: n.pooling.positions.add_(1), "spatial_softmax"),
    "attention of other channels": lambda: replaced("pooling", Attention(5)),
    "attention without bias": lambda: changed(
        lambda n: setattr(n.pooling, "score", nn.Conv2d(32, 1, 1, bias=False)), "attention"
    ),
    "attention that is padded": lambda: changed(
        lambda n: setattr(n.pooling.value, "padding", (1, 1)), "attention"
    ),
    "one exponent": lambda: changed(
        lambda n: setattr(n.pooling, "exponent", nn.Parameter(torch.ones(1))), "gem"
    ),
    "a derived pooling": lambda: replaced("pooling", LoudSum()),
    "fewer features": lambda: replaced("pooling", GridMaximum(2)),
    "half a flatten": lambda: replaced("pooling.1", nn.Flatten(2)),
    "deeper head": lambda: changed(lambda n: n.head.append(nn.Linear(2, 2))),
    "three outputs": lambda: replaced("head.2", nn.Linear(128, 3)),
    "odd hidden layer": lambda: changed(
        lambda n: (n.head.__setitem__(0, nn.Linear(4, 20)), n.head.__setitem__(2, nn.Linear(20, 2)))
    ),
    "one more module": lambda: changed(lambda n: n.add_module("extra", nn.Identity())),
    "an attribute": lambda: changed(lambda n: setattr(n, "scale", 2.0)),
    "a method of the instance": lambda: changed(lambda n: setattr(n.pooling, "forward", torch.sin)),
    "a parameter": lambda: changed(
        lambda n: n.register_parameter("gain", nn.Parameter(torch.ones(1)))
    ),
    "frozen": lambda: changed(lambda n: n.convolutions[0].weight.requires_grad_(False)),
    "shared": lambda: changed(lambda n: setattr(n.convolutions[2], "bias", n.convolutions[0].bias)),
    "a hook": lambda: changed(lambda n: n.convolutions.register_forward_hook(lambda *_: None)),
    "a hook before": lambda: changed(
        lambda n: n.head[0].register_forward_pre_hook(lambda *_: None)
    ),
    "a hook backward": lambda: changed(
        lambda n: n.head[0].register_full_backward_hook(lambda *_: None)
    ),
    "parametrised": lambda: changed(
        lambda n: parametrize.register_parametrization(n.head[0], "weight", nn.Identity())
    ),
    "a derived net": lambda: OtherNet("conv2", "cartesian", "max", 4, 9),
    "coordinates that differ": lambda: changed(
        lambda n: setattr(n.coordinates, "channels", torch.full((2, 9, 9), float("nan")))
    ),
    "elsewhere": lambda: net().to("meta"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_refused(name):
    assert recognise(UNKNOWN[name](), 9, 9) is None


@pytest.mark.parametrize("pooling", ["max", "grid2", "spatial_softmax", "gated_attention"])
def test_packing_and_unpacking_change_nothing(pooling):
    source, other = net(pooling), build("conv2", "cartesian", pooling, 4, dim=9, seed=1)
    recognise(other, 9, 9).unpack(recognise(source, 9, 9).pack())
    for found, expected in zip(other.parameters(), source.parameters(), strict=True):
        assert torch.equal(found, expected)


def test_without_a_compiler_the_package_installs(tmp_path, monkeypatch):
    root = Path(__file__).parents[3]
    for name in ("CC", "CXX"):
        monkeypatch.setenv(name, "/bin/false")
    command = [sys.executable, "setup.py", "build", "--build-base", str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*.so"))
