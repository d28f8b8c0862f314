"""Architectures made of convolutions: `(in_channels, width, convolution) -> nn.Module`, from maps to maps.

The convolutions themselves are made by `Convolutions`, which knows the padding and the placement of coordinates.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from linefit.coordinates import coordinates_module
from linefit.legal import Between


class Convolutions:
    """Makes the convolutions of a net, each with the padding and the coordinates that the net's factors ask for."""

    def __init__(
        self, coordinates: str, placement: str, padding: str, height: int, width: int
    ) -> None:
        self.coordinates, self.placement, self.padding = coordinates, placement, padding
        self.height, self.width = height, width  # of the next convolution's input

    def __call__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        last: bool = False,
    ) -> nn.Module:
        """A convolution of odd size; `last` says that it is the net's last one."""
        position: nn.Module = nn.Identity()
        if self.placement == "every" or (self.placement == "last" and last):
            position = coordinates_module(self.coordinates, self.height, self.width)
            in_channels = trial(position, in_channels, self.height, self.width)[1]
        margin = 0 if self.padding == "none" else kernel_size // 2
        convolution = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=margin,
            padding_mode="zeros" if self.padding == "none" else self.padding,  # type: ignore[arg-type]
        )
        self.height, self.width = (
            (side + 2 * margin - kernel_size) // stride + 1 for side in (self.height, self.width)
        )
        if self.height < 1 or self.width < 1:
            raise ValueError(f"padding {self.padding} leaves no map of so small an image")
        if isinstance(position, nn.Identity):
            return convolution
        return nn.Sequential(position, convolution)


def conv1(in_channels: int, width: int, convolution: Convolutions) -> nn.Sequential:
    """One 3x3 convolution and ReLU: the lab's simple net."""
    return _stack([in_channels], width, convolution)


def conv2(in_channels: int, width: int, convolution: Convolutions) -> nn.Sequential:
    """Two 3x3 convolutions, each with ReLU: the lab's other two nets."""
    return _stack([in_channels, width], width, convolution)


def conv3(in_channels: int, width: int, convolution: Convolutions) -> nn.Sequential:
    """Three 3x3 convolutions, each with ReLU."""
    return _stack([in_channels, width, width], width, convolution)


def conv4(in_channels: int, width: int, convolution: Convolutions) -> nn.Sequential:
    """Four 3x3 convolutions, each with ReLU."""
    return _stack([in_channels, width, width, width], width, convolution)


def large_kernel(
    in_channels: int, width: int, convolution: Convolutions, *, kernel: Literal[5, 7, 9, 11] = 5
) -> nn.Sequential:
    """Two convolutions of 5x5, or of `kernel` x `kernel`, each with ReLU: a wider view at the same depth."""
    return _stack([in_channels, width], width, convolution, kernel)


class Residual(nn.Module):
    """`ReLU(x + convolution(ReLU(convolution(x))))`, both 3x3, at constant width."""

    def __init__(self, width: int, convolution: Convolutions, last: bool) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            convolution(width, width), nn.ReLU(), convolution(width, width, last=last)
        )

    def forward(self, maps: Tensor) -> Tensor:
        return torch.relu(maps + self.branch(maps))


def residual(
    in_channels: int,
    width: int,
    convolution: Convolutions,
    *,
    blocks: Annotated[int, Between(1, 16)] = 2,
) -> nn.Sequential:
    """A 3x3 convolution with ReLU, then two residual blocks of two 3x3 convolutions each, without normalisation.

    Source: He et al., "Deep residual learning for image recognition", 2016.
    """
    layers: list[nn.Module] = [convolution(in_channels, width), nn.ReLU()]
    layers += [Residual(width, convolution, block == blocks - 1) for block in range(blocks)]
    return nn.Sequential(*layers)


def strided(in_channels: int, width: int, convolution: Convolutions) -> nn.Sequential:
    """Three 3x3 convolutions of stride 2, each with ReLU, of `width`, 2 and 4 times it: maps of an eighth of the side.

    Source: Springenberg et al., "Striving for simplicity", 2015.
    """
    layers: list[nn.Module] = []
    channels = [in_channels, width, 2 * width, 4 * width]
    for i in range(3):
        layers += [convolution(*channels[i : i + 2], stride=2, last=i == 2), nn.ReLU()]
    return nn.Sequential(*layers)


@torch.no_grad()
def trial(module: nn.Module, channels: int, *size: int) -> torch.Size:
    """The shape of what a module makes of one empty map `(1, channels, *size)`."""
    training = module.training
    shape: torch.Size = module.eval()(torch.zeros(1, channels, *size)).shape
    module.train(training)
    return shape


def _stack(
    channels: list[int], width: int, convolution: Convolutions, kernel: int = 3
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, in_channels in enumerate(channels):
        last = i == len(channels) - 1
        layers += [convolution(in_channels, width, kernel, last=last), nn.ReLU()]
    return nn.Sequential(*layers)
