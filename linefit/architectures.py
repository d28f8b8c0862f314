"""Nets assembled from the levels of their factors: the lab's three nets and their relatives.

An architecture is a function or class that makes an `nn.Module`. One that takes `in_channels` makes features: maps
`(N, C, H, W)` that are pooled, or a vector `(N, F)`; coordinates stand before it, pooling and head behind. One that
does not is a net of its own, from images to slope and intercept. The registry is `linefit.levels.ARCHITECTURES`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from linefit.coordinates import coordinates_module
from linefit.definitions import construct
from linefit.heads import Categorical, LeastSquares
from linefit.images import LAB_DIM
from linefit.legal import Between
from linefit.levels import PADDINGS, PLACEMENTS, REGISTRIES, problems, resolve

HIDDEN = 128  # units of the lab's fully connected layer


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


class LineNet(nn.Module):
    """Regress `(slope, intercept)` `(N, 2)` from images `(N, 1, dim, dim)`.

    Raises ValueError for levels that do not exist or do not go together, with every reason.
    """

    def __init__(
        self,
        architecture: str,
        coordinates: str,
        pooling: str,
        width: int,
        dim: int,
        *,
        placement: str = "first",
        head: str = "mlp",
        padding: str = "zeros",
    ) -> None:
        super().__init__()
        _check(
            {
                "architecture": architecture,
                "coordinates": coordinates,
                "pooling": pooling,
                "width": width,
                "placement": placement,
                "head": head,
                "padding": padding,
            }
        )
        first = coordinates if placement == "first" else "none"
        self.coordinates = coordinates_module(first, dim, dim)
        self.convolutions: nn.Module = make_level(
            "architecture",
            architecture,
            in_channels=trial(self.coordinates, 1, dim, dim)[1],
            width=width,
            convolution=Convolutions(coordinates, placement, padding, dim, dim),
        )
        # An attribute of the module that the architecture makes: unlit sites are then no part of its maps.
        self.lit_only: bool = getattr(self.convolutions, "lit_only", False)
        maps = trial(nn.Sequential(self.coordinates, self.convolutions), 1, dim, dim)
        sizes = dict(zip(("channels", "height", "width"), maps[1:], strict=False))
        self.pooling: nn.Module = make_level("pooling", pooling, **sizes)
        features = trial(self.pooling, *maps[1:])[1]
        self.head: nn.Module = make_level("head", head, features=features, **sizes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.maps(images)
        vector = self.pooling(maps)
        if isinstance(self.head, LeastSquares):
            return self.head(vector, maps, images)
        prediction: Tensor = self.head(vector)
        return prediction

    def maps(self, images: Tensor) -> Tensor:
        """What pooling is given: maps `(N, C, H, W)`, or a vector from an architecture that pools by itself."""
        maps: Tensor = self.convolutions(self.coordinates(images))
        return maps * images if self.lit_only else maps

    def logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of the categorical head, see `Categorical.logits`. Raises TypeError for another head."""
        if not isinstance(self.head, Categorical):
            raise TypeError(f"head {type(self.head).__name__} has no logits, Categorical has")
        return self.head.logits(self.pooling(self.maps(images)))


def build(
    architecture: str,
    coordinates: str,
    pooling: str,
    width: int,
    *,
    placement: str = "first",
    head: str = "mlp",
    padding: str = "zeros",
    dim: int = LAB_DIM,
    seed: int,
) -> LineNet:
    """A net with torch's default initialisation, drawn from `seed` alone; the global RNG is left as it was.

    Raises ValueError for a level that is in no registry, naming the factor and the legal levels, and for levels
    that do not go together.
    """
    # nn.Module constructors draw from the global generator and take no other: it is lent and put back.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return LineNet(
            architecture,
            coordinates,
            pooling,
            width,
            dim,
            placement=placement,
            head=head,
            padding=padding,
        )


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


def make_level(factor: str, level: str, **context: Any) -> Any:
    reference, parameters = resolve(factor, level)
    return construct(reference, parameters, context)


def _check(levels: dict[str, Any]) -> None:
    for factor in REGISTRIES:
        resolve(factor, levels[factor])
    for factor, legal in (("placement", PLACEMENTS), ("padding", PADDINGS)):
        if levels[factor] not in legal:
            raise ValueError(f"{factor} {levels[factor]!r} is not one of {', '.join(legal)}")
    if levels["width"] < 1:
        raise ValueError(f"width {levels['width']} is not a positive number of channels")
    reasons = problems(levels)
    if reasons:
        raise ValueError("; ".join(reasons))
