"""What a net with global max pooling looks at: the sites at which its channels have their maxima, image by image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablations.comparison.scored import Estimator, estimators
from ablations.comparison.spelling import number
from ablations.records.results import FloatArray, StudyResults
from ablations.report.plots.gallery import (
    COLUMNS,
    GAP,
    LEAST_SQUARES,
    LEFT,
    PANEL,
    QUANTILES,
    TITLE,
    TRUE,
    draw_image,
    median_seed,
)
from ablations.report.plots.style import (
    BLUE,
    INK,
    ORANGE,
    SMALL,
    THEME,
    VERMILION,
    Style,
    page,
    titled,
)
from linefit.architectures import LineNet
from linefit.known_risk import REFERENCE
from linefit.training import evaluating

POOLING = "max"  # the level whose nets have such sites
NET: Style = {"color": VERMILION, "linewidth": 1.5, "linestyle": (0, (4, 1.5))}
RING: Style = {"facecolors": "none", "edgecolors": BLUE, "linewidths": 1.4, "zorder": 4}
AREA = 16.0  # points^2 of the ring of one channel


@dataclass(frozen=True, kw_only=True)
class Sites:
    """What is drawn of a net: images `(I,)` at quantiles of its error, and where its channels have their maxima."""

    title: str
    split: str
    variant: str
    seed: int
    images: tuple[int, ...]
    pixels: npt.NDArray[np.bool_]  # (I, dim, dim)
    lines: Mapping[str, FloatArray]  # true, net and, where it is there, least_squares: (I, 2)
    errors: FloatArray  # (I,) of the net
    channels: npt.NDArray[np.int64]  # (I, dim, dim) how many have their maximum at a site
    n_channels: int
    off: float  # largest distance of this net's answers to those that are stored

    @property
    def table(self) -> pd.DataFrame:
        """A row an image and site with a channel or more; `x` and `y` in pixels, as on the axes."""
        image, row, column = np.nonzero(self.channels)
        return pd.DataFrame(
            {
                "quantile": np.array(QUANTILES)[image],
                "image": np.array(self.images)[image],
                "x": column,
                "y": self.pixels.shape[1] - row,
                "channels": self.channels[image, row, column],
            }
        )


def seed_of_sites(
    results: StudyResults,
    split: str,
    variant: str,
    seed: int | None = None,
    *,
    known: Mapping[str, Estimator] | None = None,
) -> int:
    """The seed itself if it is one of the variant's that are ok; by default the one with the median MSE.

    Raises ValueError for a variant that the split does not have, for another seed, and for a pooling that is not `max`.
    """
    data = results.split(split)
    variants = {one.name: one for one in data.variants}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is not one of {', '.join(variants)}")
    own = variants[variant]
    if own.levels["pooling"] != POOLING:
        raise ValueError(
            f"variant {variant!r} has pooling {own.levels['pooling']}: sites are those of pooling {POOLING}"
        )
    legal = [int(number) for number in own.seeds[own.ok]]
    if seed is None and legal:
        middle, _ = median_seed((known or estimators(data, "mse"))[variant])
        return int(own.seeds[middle])
    if seed not in legal:
        raise ValueError(
            f"variant {variant!r}: seed {seed} is not one of those that are ok, {legal}"
        )
    return seed


def sites_of(
    results: StudyResults,
    split: str,
    variant: str,
    seed: int,
    net: torch.nn.Module,
    pixels: npt.NDArray[np.bool_],
    *,
    known: Mapping[str, Estimator] | None = None,
) -> Sites:
    """Of the `net` of a cell on images of a split `(M, dim, dim)`, those at fixed quantiles of its stored errors.

    `known`: the split's `estimators` where they are at hand. Raises ValueError as `seed_of_sites` does, and for a net
    that makes no maps.
    """
    data = results.split(split)
    seed = seed_of_sites(results, split, variant, seed, known=known)
    if not isinstance(net, LineNet):
        raise ValueError(
            f"variant {variant!r}: its net makes no maps of which sites could be drawn"
        )
    own = next(one for one in data.variants if one.name == variant)
    at = int(np.flatnonzero(own.seeds == seed)[0])
    errors = (known or estimators(data, "mse"))[variant].errors[at]
    order = np.argsort(errors, kind="stable")
    images = [int(order[round(q * (len(errors) - 1))]) for q in QUANTILES]
    device = next(net.parameters()).device
    with torch.no_grad(), evaluating(net):
        batch = torch.from_numpy(pixels[images])[:, None].to(device, torch.float32)
        maps, answers = net.maps(batch).cpu(), net(batch).cpu().numpy()
    lines = {"true": data.params[images], "net": own.predictions[at][images]}
    if REFERENCE in data.yardsticks:
        lines[REFERENCE] = data.yardsticks[REFERENCE][images]
    return Sites(
        title=results.study.title,
        split=split,
        variant=variant,
        seed=seed,
        images=tuple(images),
        pixels=pixels[images],
        lines=lines,
        errors=errors[images],
        channels=maxima(maps.numpy()),
        n_channels=maps.shape[1],
        off=float(np.abs(answers - own.predictions[at][images]).max()),
    )


def maxima(maps: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """How many channels of maps `(N, C, H, W)` have their maximum at each site, `(N, H, W)`.

    A channel that is the same everywhere, as one that no pixel moves, has none; of equal sites the first counts.
    """
    n, channels, height, width = maps.shape
    flat = maps.reshape(n, channels, -1)
    speaks = flat.max(axis=2) > flat.min(axis=2)
    counts = np.zeros((n, height * width), dtype=np.int64)
    image, channel = np.nonzero(speaks)
    np.add.at(counts, (image, flat.argmax(axis=2)[image, channel]), 1)
    return counts.reshape(n, height, width)


def plot_sites(sites: Sites) -> Figure:
    """The images with the net's line, and a ring at each site where channels have their maxima."""
    rows = -(-len(sites.images) // COLUMNS)
    with mpl.rc_context(THEME):
        canvas = page(
            LEFT + COLUMNS * PANEL + (COLUMNS - 1) * GAP,
            rows * (PANEL + TITLE) + 0.45,
            title=titled(
                sites.title, f"what net {sites.variant} looks at on images of {sites.split}"
            ),
            note=_note(sites),
            legend=_legend(sites),
        )
        for i, (quantile, image) in enumerate(zip(QUANTILES, sites.images, strict=True)):
            row, column = divmod(i, COLUMNS)
            left, top = LEFT + column * (PANEL + GAP), row * (PANEL + TITLE) + TITLE
            axes = canvas.axes(left, top, PANEL, PANEL)
            styles = {"true": TRUE, "net": NET, REFERENCE: LEAST_SQUARES}
            draw_image(
                axes,
                sites.pixels[i],
                [(line[i], styles[name]) for name, line in sites.lines.items()],
            )
            _rings(axes, sites.channels[i])
            places, speaking = int((sites.channels[i] > 0).sum()), int(sites.channels[i].sum())
            axes.set_title(
                f"image {image}, {quantile:.0%} quantile: MSE {number(float(sites.errors[i]))}\n"
                f"{speaking} of {sites.n_channels} channels at {places} sites",
                size=SMALL,
                loc="left",
                pad=3,
            )
            last = i + COLUMNS >= len(sites.images)
            axes.tick_params(labelsize=SMALL, labelleft=column == 0, labelbottom=last)
            axes.set_xlabel("x (pixels)" if last else "")
            axes.set_ylabel("y (pixels)" if column == 0 else "")
        return canvas.figure


def _rings(axes: Axes, channels: npt.NDArray[np.int64]) -> None:
    row, column = np.nonzero(channels)
    axes.scatter(column, len(channels) - row, s=AREA * channels[row, column], **RING)


def _legend(sites: Sites) -> list[Line2D]:
    square: Style = {"color": ORANGE, "markeredgecolor": INK, "markersize": 4}
    ring: Style = {"color": "none", "markeredgecolor": BLUE, "markeredgewidth": 1.4}
    entries = [
        Line2D([], [], label="lit pixel", marker="s", linestyle="", **square),
        Line2D([], [], label="true line", **TRUE),
        Line2D([], [], label=f"{sites.variant}, seed {sites.seed}", **NET),
    ]
    if REFERENCE in sites.lines:
        entries.append(Line2D([], [], label="least squares", **LEAST_SQUARES))
    for channels in (1, 5):
        label = f"maximum of {channels} channel{'s' if channels > 1 else ''}"
        size = (AREA * channels) ** 0.5
        entries.append(
            Line2D([], [], label=label, marker="o", linestyle="", markersize=size, **ring)
        )
    return entries


def _note(sites: Sites) -> str:
    return (
        "The pool passes on one value of each channel: the largest over all sites of its map. Rings stand at these"
        " sites, their area is the number of channels; a channel that is the same everywhere has no ring. A map has"
        f" {sites.channels.shape[1]}x{sites.channels.shape[2]} sites, each of which sees the pixels around it. The"
        f" images are those at quantiles of this net's error on {sites.split}, the worst last. Weights are"
        " not kept: the net was trained again from its cell's configuration and seed, and its answers on these"
        f" images differ from the stored ones by at most {number(sites.off)}. x = column, y = dim - row."
    )
