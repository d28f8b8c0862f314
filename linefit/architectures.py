"""Nets assembled from the levels of their factors: the lab's three nets and their relatives, and the user's own.

An architecture is a function or class that makes an `nn.Module`. One that takes `in_channels` makes features: maps
`(N, C, H, W)` that are pooled, or a vector `(N, F)`; coordinates stand before it, pooling and head behind (`LineNet`).
One that does not is a net of its own, from images to slope and intercept. Its other arguments say what it takes:

- `width`: the number of channels; `dim`: the image's side
- `convolution`: makes its convolutions, with the padding and the coordinates of the study (`linefit.convolutions`)
- `coordinates`, of a net of its own: the module `(N, 1, dim, dim) -> (N, out_channels, dim, dim)`
- `pooling`, of a net of its own: a function from the number of channels to the module `(N, C, dim, dim) ->
  (N, out_features)`

The registry is `linefit.levels.ARCHITECTURES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from linefit.convolutions import Convolutions, trial
from linefit.coordinates import coordinates_module
from linefit.definitions import construct, definition
from linefit.heads import Categorical, LeastSquares
from linefit.images import LAB_DIM
from linefit.levels import (
    DEFAULTS,
    PADDINGS,
    PLACEMENTS,
    REGISTRIES,
    problems,
    reference_of,
    resolve,
)

HIDDEN = 128  # units of the lab's fully connected layer


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
            dim=dim,
            convolution=Convolutions(coordinates, placement, padding, dim, dim),
        )
        # An attribute of the module that the architecture makes: unlit sites are then no part of its maps.
        self.lit_only: bool = getattr(self.convolutions, "lit_only", False)
        maps = trial(nn.Sequential(self.coordinates, self.convolutions), 1, dim, dim)
        if len(maps) != 4 and not (len(maps) == 2 and pooling == "none"):
            legal = "maps (N, C, H, W), or with pooling none a vector (N, F)"
            raise ValueError(f"architecture {architecture}: expected {legal}, got {tuple(maps)}")
        sizes = dict(zip(("channels", "height", "width"), maps[1:], strict=False))
        self.pooling: nn.Module = make_level("pooling", pooling, **sizes)
        vector = trial(self.pooling, *maps[1:])
        if len(vector) != 2 and head != "least_squares":
            raise ValueError(f"pooling {pooling}: expected a vector (N, F), got {tuple(vector)}")
        self.head: nn.Module = make_level("head", head, features=vector[1], **sizes)

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
) -> nn.Module:
    """A net with torch's default initialisation, drawn from `seed` alone; the global RNG is left as it was.

    Raises ValueError for a level that is in no registry, naming the factor and the legal levels, and for levels
    that do not go together.
    """
    whole = "in_channels" not in definition(reference_of("architecture", architecture)).takes
    # nn.Module constructors draw from the global generator and take no other: it is lent and put back.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if whole:
            return net_of_its_own(architecture, coordinates, pooling, width, dim)
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


def net_at(net: nn.Module, levels: Mapping[str, Any], dim: int) -> nn.Module:
    """The net of these levels for images `(N, 1, dim, dim)`, with the parameters of `net`, where and as those are.

    Raises RuntimeError where it has others at that size.
    """
    made = build(**levels, dim=dim, seed=0).to(next(net.parameters()))
    made.load_state_dict(net.state_dict())
    return made


def net_of_its_own(
    architecture: str, coordinates: str, pooling: str, width: int, dim: int
) -> nn.Module:
    """A net that an architecture makes by itself, given what of the other factors it takes."""
    levels = {
        "architecture": architecture,
        "coordinates": coordinates,
        "pooling": pooling,
        "width": width,
    }
    _check(DEFAULTS | levels)

    def make_pooling(channels: int) -> nn.Module:
        module: nn.Module = make_level("pooling", pooling, channels=channels, height=dim, width=dim)
        module.out_features = trial(module, channels, dim, dim)[1]  # type: ignore[assignment]
        return module

    encoding = coordinates_module(coordinates, dim, dim)
    encoding.out_channels = trial(encoding, 1, dim, dim)[1]  # type: ignore[assignment]
    net: nn.Module = make_level(
        "architecture",
        architecture,
        width=width,
        dim=dim,
        coordinates=encoding,
        pooling=make_pooling,
    )
    return net


def make_level(factor: str, level: str, **context: Any) -> Any:
    """What a level makes of those of the arguments in `context` that it takes."""
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
