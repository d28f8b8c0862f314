"""CNNs assembled from (architecture, coordinates, pooling, width): the lab's three nets and their relatives.

`ARCHITECTURES` names convolutional stacks; `build` adds coordinates in front, pooling and the lab's head behind.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from linefit.coordinates import COORDINATES, ConcatCoordinates
from linefit.images import LAB_DIM
from linefit.pooling import POOLINGS

HIDDEN = 128  # units of the lab's fully connected layer


def convolutions(depth: int) -> Callable[[int, int], nn.Sequential]:
    """`depth` times 3x3 convolution and ReLU, as `(in_channels, width) -> nn.Sequential`."""

    def stack(in_channels: int, width: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for channels in [in_channels, *[width] * (depth - 1)]:
            layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU()]
        return nn.Sequential(*layers)

    return stack


ARCHITECTURES: dict[str, Callable[[int, int], nn.Sequential]] = {
    "conv1": convolutions(1),
    "conv2": convolutions(2),
    "conv3": convolutions(3),
    "conv4": convolutions(4),
}


class LineNet(nn.Module):
    """Regress `(slope, intercept)` `(N, 2)` from images `(N, 1, dim, dim)`."""

    def __init__(
        self, architecture: str, coordinates: str, pooling: str, width: int, dim: int
    ) -> None:
        super().__init__()
        for factor, level, legal in (
            ("architecture", architecture, ARCHITECTURES),
            ("coordinates", coordinates, COORDINATES),
            ("pooling", pooling, POOLINGS),
        ):
            if level not in legal:
                raise ValueError(f"{factor} {level!r} is not one of {', '.join(legal)}")
        if width < 1:
            raise ValueError(f"width {width} is not a positive number of channels")
        in_channels = 1 + len(COORDINATES[coordinates](dim))
        self.coordinates = (
            nn.Identity() if coordinates == "none" else ConcatCoordinates(coordinates, dim)
        )
        self.convolutions = ARCHITECTURES[architecture](in_channels, width)
        self.pooling = POOLINGS[pooling].layers()
        self.head = nn.Sequential(
            nn.Linear(POOLINGS[pooling].features(width, dim), HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, 2),
        )

    def forward(self, images: Tensor) -> Tensor:
        prediction: Tensor = self.head(self.pooling(self.convolutions(self.coordinates(images))))
        return prediction


def build(
    architecture: str, coordinates: str, pooling: str, width: int, *, dim: int = LAB_DIM, seed: int
) -> LineNet:
    """A net with torch's default initialisation, drawn from `seed` alone; the global RNG is left as it was.

    Raises ValueError for a level that is in no registry, naming the factor and the legal levels.
    """
    # nn.Module constructors draw from the global generator and take no other: it is lent and put back.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return LineNet(architecture, coordinates, pooling, width, dim)
