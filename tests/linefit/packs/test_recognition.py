"""Every net that packs know is recognised, and whatever differs from one is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from linefit.architectures import LineNet, build
from linefit.packs import UnpackableError, recognise
from tests.linefit.packs.cells import DIM, NETS, Levels


def lab_net() -> LineNet:
    return build("conv2", "cartesian", "max", 4, dim=DIM, seed=0)


@pytest.mark.parametrize("levels", NETS, ids="-".join)
def test_shape_of_a_net(levels: Levels) -> None:
    architecture, coordinates, pooling = levels
    shape = recognise(build(*levels, 4, dim=DIM, seed=0), DIM)
    assert shape.pooling == pooling
    assert len(shape.convolutions) == int(architecture[-1])
    assert shape.channels[0] == (3 if coordinates == "cartesian" else 1)
    assert shape == recognise(build(*levels, 4, dim=DIM, seed=1), DIM)
    assert shape != recognise(build(*levels, 5, dim=DIM, seed=0), DIM)


class Doubled(LineNet):
    """The same modules, used in another way."""

    def forward(self, images: Tensor) -> Tensor:
        return 2 * super().forward(images)


def replaced(part: str, module: nn.Module) -> Callable[[], nn.Module]:
    def net() -> nn.Module:
        changed = lab_net()
        changed.set_submodule(part, module)
        return changed

    return net


def of_class(kind: type[LineNet]) -> Callable[[], nn.Module]:
    return lambda: kind("conv2", "cartesian", "max", 4, DIM)


def with_extra_parameter() -> nn.Module:
    net = lab_net()
    net.scale = nn.Parameter(torch.ones(1))
    return net


OTHER_NETS: dict[str, Callable[[], nn.Module]] = {
    "another forward": of_class(Doubled),
    "one parameter more": with_extra_parameter,
    "another net": lambda: nn.Sequential(nn.Flatten(), nn.Linear(DIM * DIM, 2)),
    "stride": replaced("convolutions.2", nn.Conv2d(4, 4, 3, stride=2, padding=1)),
    "no padding": replaced("convolutions.2", nn.Conv2d(4, 4, 3)),
    "groups": replaced("convolutions.2", nn.Conv2d(4, 4, 3, padding=1, groups=2)),
    "no bias": replaced("convolutions.2", nn.Conv2d(4, 4, 3, padding=1, bias=False)),
    "even kernel": replaced("convolutions.2", nn.Conv2d(4, 4, 4, padding="same")),
    "circular": replaced("convolutions.2", nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")),
    "activation": replaced("convolutions.3", nn.GELU()),
    "normalisation": replaced("convolutions.3", nn.BatchNorm2d(4)),
    "pooling": replaced("pooling.0", nn.MaxPool2d(DIM)),
    "pool size": replaced("pooling.0", nn.AdaptiveMaxPool2d((1, 2))),
    "head": replaced("head.1", nn.Tanh()),
    "dropout": replaced("head", nn.Sequential(*lab_net().head, nn.Dropout())),
    "front": replaced("coordinates", nn.Sequential(lab_net().coordinates, nn.ReLU())),
}


@pytest.mark.parametrize("name", OTHER_NETS)
def test_any_other_net_is_not_packable(name: str) -> None:
    with pytest.raises(UnpackableError):
        recognise(OTHER_NETS[name](), DIM)


def test_a_hook_that_changes_values_is_noticed() -> None:
    net = lab_net()

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output + 1

    net.convolutions[0].register_forward_hook(hook)
    with pytest.raises(UnpackableError, match="something else"):
        recognise(net, DIM)
