"""Global maxima of delta maps where finding the arg-max first, without autograd, could go wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from linefit.deltamap import DeltaImages
from linefit.deltamap.kernels import KERNELS
from linefit.images import lab_images
from linefit.pooling import MaxAverage

DIM = 12
PIXELS = lab_images(6, dim=DIM).pixels
DENSE = torch.from_numpy(PIXELS)[:, None].double()
WEIGHT = torch.linspace(-1, 1, 36, dtype=torch.float64).view(4, 1, 3, 3).sin()


@pytest.mark.parametrize("kernels", ["torch", "numba"])
def test_maximum_where_all_of_the_best_background_is_covered(
    kernels: Literal["torch", "numba"],
) -> None:
    ramp = torch.arange(DIM * DIM, dtype=torch.float64).view(1, 1, DIM, DIM)
    pixels = np.zeros((2, DIM, DIM), dtype=bool)
    pixels[0, DIM - 4 :] = True  # hides the 60 largest sites
    pixels[1, ::3, ::3] = True  # hides every site
    weight = torch.zeros(1, 2, 3, 3, dtype=torch.float64)
    weight[0, 0, 1, 1] = 1
    weight[0, 1] = -1000
    images = DeltaImages(pixels, torch.float64, kernels=kernels).batch([0, 1])
    found = F.conv2d(torch.cat([ramp.expand(2, -1, -1, -1), images], 1), weight, padding=1).amax(
        (2, 3)
    )
    dense = torch.from_numpy(pixels)[:, None].double()
    expected = F.conv2d(torch.cat([ramp.expand(2, -1, -1, -1), dense], 1), weight, padding=1).amax(
        (2, 3)
    )
    assert found.tolist() == expected.tolist()
    assert found[0].item() == (DIM - 5) * DIM - 1


@pytest.mark.parametrize("kernels", ["torch", "numba"])
@pytest.mark.parametrize(
    "activation",
    [
        lambda x: F.softplus(x, threshold=0),  # steps down at 0
        lambda x: F.leaky_relu(x, np.float32(-0.5)),
    ],
    ids=["softplus", "leaky relu"],
)
def test_maximum_behind_an_activation_that_decreases_somewhere(
    activation: Callable[[Any], Any], kernels: Literal["torch", "numba"]
) -> None:
    images = DeltaImages(PIXELS, torch.float64, kernels=kernels).batch(range(len(PIXELS)))
    weight = 0.1 * WEIGHT
    found = activation(F.conv2d(images, weight, padding=1)).amax((2, 3))
    expected = activation(F.conv2d(DENSE, weight, padding=1)).amax((2, 3))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernels", ["torch", "numba"])
@pytest.mark.parametrize("frozen", ["convolution", "activation"])
def test_maximum_of_what_was_computed_without_gradients_has_none(
    frozen: str, kernels: Literal["torch", "numba"]
) -> None:
    images = DeltaImages(PIXELS, torch.float64, kernels=kernels).batch(range(len(PIXELS)))
    weight = WEIGHT.clone().requires_grad_()
    with torch.set_grad_enabled(frozen != "convolution"):
        features = F.conv2d(images, weight, padding=1)
    with torch.set_grad_enabled(frozen != "activation"):
        features = F.relu(features)
    assert not features.amax((2, 3)).requires_grad


@pytest.mark.parametrize("kernels", ["torch", "numba"])
@pytest.mark.parametrize("convolved", [False, True])
@pytest.mark.parametrize("where", ["rows", "background"])
def test_maximum_does_not_hide_nan(
    where: str, convolved: bool, kernels: Literal["torch", "numba"]
) -> None:
    pixels = np.zeros((2, DIM, DIM), dtype=bool)
    pixels[:, 3, 3] = True
    dense = torch.from_numpy(pixels)[:, None].double()
    images = DeltaImages(pixels, torch.float64, kernels=kernels).batch([0, 1])

    def values(x: Any) -> Any:
        if where == "rows":
            x = (1 - x).log() - (1 - x).log()  # -inf minus -inf at the lit pixel, 0 elsewhere
        else:
            hole = torch.zeros(1, DIM, DIM, dtype=torch.float64)
            hole[0, 8, 8] = torch.nan
            x = x + hole
        return F.conv2d(x, WEIGHT, padding=1) if convolved else x

    assert values(dense).amax((2, 3)).isnan().all()
    assert values(images).amax((2, 3)).isnan().all()


def test_a_maximum_shares_the_evaluation_that_another_pool_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        kernel = getattr(KERNELS["numba"], name)
        return lambda *args: (asked.append(name), kernel(*args))[1]

    names = ("convolved_rows", "convolved_maximum")
    kernels = dataclasses.replace(KERNELS["numba"], **{name: counted(name) for name in names})
    monkeypatch.setitem(KERNELS, "numba", kernels)
    pooling = MaxAverage()
    images = DeltaImages(PIXELS, torch.float64).batch(range(len(PIXELS)))
    found = pooling(F.relu(F.conv2d(images, WEIGHT, padding=1)))
    assert asked == ["convolved_rows"]
    torch.testing.assert_close(found, pooling(F.relu(F.conv2d(DENSE, WEIGHT, padding=1))))
