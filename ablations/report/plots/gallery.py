"""The lab's own kind of picture: images with lit points, the true line, and the lines of nets and least squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablations.comparison.scored import Estimator, estimators
from ablations.comparison.spelling import number
from ablations.records.results import FloatArray, SplitResults, StudyResults
from ablations.report.plots.ranking import spread
from ablations.report.plots.style import (
    INK,
    MUTED,
    NETS,
    ORANGE,
    SMALL,
    THEME,
    TRACK,
    Style,
    page,
    titled,
)
from linefit.lines import span

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)  # of the nets' mean error over images
MAX_NETS = 4
COLUMNS = 4
PANEL = 2.1  # inches
TITLE = 0.36  # inches above a panel
LEFT, GAP = 0.45, 0.12  # inches left of the panels and between them
TRUE: Style = {"color": TRACK, "linewidth": 5.0, "solid_capstyle": "butt"}
LEAST_SQUARES: Style = {"color": INK, "linewidth": 1.0, "linestyle": "solid"}


@dataclass(frozen=True)
class Net:
    """The seed of a variant whose MSE is the median one."""

    variant: str
    seed: int
    predictions: npt.NDArray[np.float32]  # (M, 2)
    errors: FloatArray  # (M,)


def plot_gallery(
    results: StudyResults,
    split: str,
    pixels: npt.NDArray[np.bool_],
    *,
    variants: Sequence[str] | None = None,
    known: Mapping[str, Estimator] | None = None,
) -> Figure:
    """Images of an evaluation split with the lines that estimators put through them.

    `pixels` is `(M, dim, dim)`, the images of the split. `variants` (at most four, by default spread evenly from the
    best to the worst MSE) are each shown by the seed with the median MSE. The images are those at fixed quantiles of
    the error averaged over these nets, so anyone gets the same ones. `known`: the split's `estimators` where they are
    at hand. Raises ValueError for other pixels, splits and variants.
    """
    data = results.split(split)
    if pixels.ndim != 3 or len(pixels) != len(data.params):
        raise ValueError(
            f"pixels {pixels.shape} are not the {len(data.params)} images of split {split!r}: (M, dim, dim) is needed"
        )
    nets = _choose(data, variants, known or estimators(data, "mse"))
    errors, images = _images(nets, len(data.params))
    least_squares = data.yardsticks.get("least_squares")
    rows = -(-len(images) // COLUMNS)
    with mpl.rc_context(THEME):
        canvas = page(
            LEFT + COLUMNS * PANEL + (COLUMNS - 1) * GAP,
            rows * (PANEL + TITLE) + 0.45,
            title=titled(results.study.title, f"lines through images of split {split}"),
            note=_note(results, split, nets, variants is None and len(nets) < len(data.variants)),
            legend=_legend(nets, least_squares is not None),
        )
        for i, (quantile, image) in enumerate(zip(QUANTILES, images, strict=True)):
            row, column = divmod(i, COLUMNS)
            axes = canvas.axes(
                LEFT + column * (PANEL + GAP), row * (PANEL + TITLE) + TITLE, PANEL, PANEL
            )
            lines: list[tuple[FloatArray, Style]] = [(data.params[image], TRUE)]
            lines += [
                (net.predictions[image], {"color": colour, "linestyle": dashes, "linewidth": 1.5})
                for net, (colour, dashes) in zip(nets, NETS, strict=False)
            ]
            if least_squares is not None:
                lines.append((least_squares[image], LEAST_SQUARES))
            draw_image(axes, pixels[image], lines)
            outside = [
                letter
                for letter, net in zip("ABCD", nets, strict=False)
                if clip_line(net.predictions[image], pixels.shape[-1]) is None
            ]
            missing = f"; {''.join(outside)} outside" if outside else ""
            slope, intercept = data.params[image] + 0.0  # no -0.00
            line = f"m = {slope:.2f}, c = {intercept:.0f}; MSE {number(errors[image])}"
            axes.set_title(
                f"image {image}, {quantile:.0%} quantile{missing}\n{line}",
                size=SMALL,
                loc="left",
                pad=3,
            )
            axes.tick_params(
                labelsize=SMALL, labelleft=column == 0, labelbottom=i + COLUMNS >= len(images)
            )
            if column == 0:
                axes.set_ylabel("y (pixels)")
            if i + COLUMNS >= len(images):
                axes.set_xlabel("x (pixels)")
        return canvas.figure


def gallery_data(
    results: StudyResults, split: str, *, known: Mapping[str, Estimator] | None = None
) -> pd.DataFrame:
    """The lines that `plot_gallery` draws, a row an image and estimator; `true` is the line that the pixels are of."""
    data = results.split(split)
    nets = _choose(data, None, known or estimators(data, "mse"))
    answers = {"true": data.params.astype(np.float64)}
    answers |= {net.variant: net.predictions.astype(np.float64) for net in nets}
    if "least_squares" in data.yardsticks:
        answers["least_squares"] = data.yardsticks["least_squares"]
    seeds = {net.variant: net.seed for net in nets}
    rows = [
        {
            "quantile": quantile,
            "image": image,
            "estimator": name,
            "seed": seeds.get(name, pd.NA),
            "slope": float(lines[image, 0]),
            "intercept": float(lines[image, 1]),
        }
        for quantile, image in zip(QUANTILES, _images(nets, len(data.params))[1], strict=True)
        for name, lines in answers.items()
    ]
    return pd.DataFrame(rows).astype({"seed": "Int64"})


def _images(nets: Sequence[Net], n_images: int) -> tuple[FloatArray, list[int]]:
    """The nets' mean error of each image `(M,)`, and the images at its quantiles."""
    errors = np.mean([net.errors for net in nets], axis=0) if nets else np.zeros(n_images)
    order = np.argsort(errors, kind="stable")
    return errors, [int(order[round(q * (n_images - 1))]) for q in QUANTILES]


def clip_line(line: FloatArray, dim: int) -> FloatArray | None:
    """The part of `y = m x + c` inside an image, as `[[x0, x1], [y0, y1]]`; None where there is none.

    Pixels have their centres at x = 0 .. dim - 1 and y = 1 .. dim (y = dim - row); the edges are half a pixel out.
    A line that is not finite has no part in any image.
    """
    x = span(line, dim)
    if np.isnan(x).any():
        return None
    slope, intercept = (float(value) for value in line)
    return np.array([x, slope * x + intercept])


def _choose(
    split: SplitResults, names: Sequence[str] | None, known: Mapping[str, Estimator]
) -> list[Net]:
    variants = {variant.name: variant for variant in split.variants if variant.ok.any()}
    if names is not None:
        unknown = [name for name in names if name not in variants]
        if unknown or len(names) > MAX_NETS:
            raise ValueError(
                f"variants {list(names)}: at most {MAX_NETS} of {', '.join(variants)} (those with a seed that is ok)"
            )
    else:
        middle = {name: median_seed(known[name])[1] for name in variants}
        names = list(variants)
        if len(names) > MAX_NETS:
            names = spread(sorted(names, key=middle.__getitem__), MAX_NETS)
    nets = []
    for name in names:
        variant, (seed, _) = variants[name], median_seed(known[name])
        errors = known[name].errors[seed]
        nets.append(Net(name, int(variant.seeds[seed]), variant.predictions[seed], errors))
    return nets


def median_seed(variant: Estimator) -> tuple[int, float]:
    """Position and MSE of the seed with the median MSE of those that are ok, of an even number the lower middle one."""
    ok = np.flatnonzero(variant.ok)
    mse = variant.errors[ok].mean(axis=1)
    middle = np.argsort(mse, kind="stable")[(len(ok) - 1) // 2]
    return int(ok[middle]), float(mse[middle])


def draw_image(
    axes: Axes, pixels: npt.NDArray[np.bool_], lines: Sequence[tuple[FloatArray, Style]]
) -> None:
    """An image `(dim, dim)` with the parts of lines that lie in it."""
    dim = len(pixels)
    for line, style in lines:
        segment = clip_line(line, dim)
        if segment is not None:
            axes.plot(*segment, **style)
    row, column = np.nonzero(pixels)
    side = PANEL * 72 / dim  # points a pixel
    sns.scatterplot(
        x=column,
        y=dim - row,
        ax=axes,
        marker="s",
        s=side**2,
        color=ORANGE,
        edgecolor=INK,
        linewidth=0.4,
        zorder=3,
    )
    axes.set(xlim=(-0.5, dim - 0.5), ylim=(0.5, dim + 0.5), xlabel="", ylabel="")
    axes.grid(visible=False)
    ticks = np.arange(0, dim + 1, 10)
    axes.set_xticks(ticks[ticks < dim])
    axes.set_yticks(ticks[ticks > 0])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(MUTED)


def _legend(nets: Sequence[Net], least_squares: bool) -> list[Line2D]:
    entries: list[Line2D] = [
        Line2D(
            [],
            [],
            label="lit pixel",
            marker="s",
            linestyle="",
            color=ORANGE,
            markeredgecolor=INK,
            markersize=4,
        ),
        Line2D([], [], label="true line", **TRUE),
    ]
    if least_squares:
        entries.append(Line2D([], [], label="least squares", **LEAST_SQUARES))
    entries += [
        Line2D(
            [], [], label=f"{letter}: {net.variant}", color=colour, linestyle=dashes, linewidth=1.5
        )
        for letter, net, (colour, dashes) in zip("ABCD", nets, NETS, strict=False)
    ]
    return entries


def _note(results: StudyResults, split: str, nets: Sequence[Net], chosen: bool) -> str:
    seeds = ", ".join(f"{letter} {net.seed}" for letter, net in zip("ABCD", nets, strict=False))
    parts = [
        "x = column, y = dim - row. MSE is that of (slope, intercept), averaged over the nets shown;"
        f" the images are those at its quantiles over the {len(results.splits[split].params)} images of the split."
    ]
    if nets:
        parts.append(
            f"A net is the variant's seed with the median {split} MSE, of an even number the lower middle one"
            f" (seed {seeds})."
        )
    if chosen:
        parts.append(
            f"Of {len(results.splits[split].variants)} variants, these are spread evenly from best to worst MSE."
        )
    return " ".join(parts)
