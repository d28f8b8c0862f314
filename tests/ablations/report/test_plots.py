"""Figures show the data that they are given, stay legible from one variant to sixty, and are the same in every run."""

import re
from dataclasses import replace
from itertools import combinations, pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from ablations.comparison.metrics import variant_errors, yardstick_errors
from ablations.comparison.spelling import number
from ablations.comparison.study_comparison import compare_study
from ablations.report.inline import inline_figure
from ablations.report.plots import (
    figure_names,
    of_split,
    plot_cost,
    plot_gallery,
    plot_learning_curves,
    plot_mse,
    plot_slope_intercept,
    plot_where,
    write_figures,
)
from ablations.report.plots.against import BIN, MOST, SHARE, against_of, plot_against
from ablations.report.plots.beats import beats_of, percent, plot_beats
from ablations.report.plots.cost import pareto_front
from ablations.report.plots.facets import facets_of, plot_facets
from ablations.report.plots.gallery import clip_line
from ablations.report.plots.medians import median_curves
from ablations.report.plots.mse import mse_data, stack_flags
from ablations.report.plots.profiles import plot_profiles, profiles_of
from ablations.report.plots.style import (
    BLUE,
    PURPLE,
    THEME,
    save,
    shorten,
    text_inches,
    titled,
    wrap,
)
from ablations.report.plots.summary import summarise
from ablations.report.plots.svg import finished
from ablations.report.plots.where import BINS, FEWEST, groups, where_data
from ablations.statistics import crossed_mean
from linefit.images import lab_images
from tests.ablations.synthetic import RANDOM_OFFSET, YARDSTICKS, synthetic_results

FAILURES = {(0, 1): "diverged", (1, 0): "diverged", (1, 1): "oom", (1, 2): "error"}


@pytest.fixture(scope="module")
def pixels():
    return lab_images(60, random_offset=RANDOM_OFFSET).pixels


def texts(figure):
    """Every piece of text that is drawn, with its box in pixels."""
    figure.canvas.draw()
    found = [
        *figure.texts,
        *(t for box in figure.legends for t in box.get_texts()),
    ]
    for axes in figure.axes:
        found += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            found += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    return [
        (t.get_text(), t.get_window_extent()) for t in found if t.get_visible() and t.get_text()
    ]


def assert_legible(figure):
    """No two texts overlap, and none leaves the figure."""
    words, boxes = zip(*texts(figure), strict=True)
    extents = np.array([box.extents for box in boxes])
    low, high = extents[:, :2], extents[:, 2:]
    inside = (low >= 0).all(axis=1) & (high <= figure.canvas.get_width_height()).all(axis=1)
    assert inside.all(), f"{words[np.argmin(inside)]!r} leaves the figure"
    overlap = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    heights = (high - low)[:, 1]
    # Boxes of neighbouring lines of text may touch: descenders and leading are in them.
    lower = 0.25 * np.minimum(heights[:, None], heights)
    bad = np.argwhere(np.triu((overlap[..., 0] >= 1) & (overlap[..., 1] >= lower), k=1))
    assert not len(bad), f"{words[bad[0][0]]!r} on {words[bad[0][1]]!r}"


@pytest.mark.parametrize(
    ("n_variants", "n_seeds", "failures"),
    [
        (1, 1, {}),
        (1, 1, {(0, 0): "diverged"}),
        (2, 2, {}),
        (2, 2, FAILURES),
        (3, 3, {}),
        (12, 5, FAILURES),
        (60, 10, FAILURES),
    ],
)
def test_no_text_is_hidden_or_cut(n_variants, n_seeds, failures, pixels):
    results = synthetic_results(n_variants, n_seeds, 60, epochs=4, failures=failures)
    assert_legible(plot_mse(results, "test"))
    assert_legible(plot_slope_intercept(results, "test"))
    assert_legible(plot_learning_curves(results))
    assert_legible(plot_gallery(results, "test", pixels))
    assert_legible(plot_cost(results, "test"))
    assert_legible(plot_where(results, "test", pixels))
    assert_legible(plot_beats(beats_of(results, "test")))
    assert_legible(plot_against(against_of(results, "test")))
    assert_legible(plot_profiles(profiles_of(results, "test")))


def test_a_title_in_any_script_is_text_and_no_warning(tmp_path):
    """Nor is one with dollar signs a formula; glyphs that no font here has are boxes."""
    results = synthetic_results(2, 3, 60, epochs=2)
    title = r"線の傾き 🙂 $x_1$ $\nosuch{x}$"
    paths = save(
        plot_mse(replace(results, study=replace(results.study, title=title)), "test"),
        tmp_path / "mse",
    )
    assert title in paths[1].read_text(encoding="utf-8")


def test_long_names_stay_whole():
    results = synthetic_results(3, 3, 60)
    split = results.splits["test"]
    names = {
        variant.name: variant.name + "-with-a-very-long-level" * 4 for variant in split.variants
    }
    variants = tuple(replace(variant, name=names[variant.name]) for variant in split.variants)
    results = replace(
        results,
        study=replace(
            results.study, title="A title that is much longer than any figure is wide: " * 4
        ),
        splits={"test": replace(split, variants=variants)},
        cells=results.cells.replace({"variant": names}),
        curves=results.curves.replace({"variant": names}),
    )
    figure = plot_mse(results, "test")
    assert_legible(figure)
    shown = "".join("".join(text for text, _ in texts(figure)).split())
    assert all(name in shown for name in names.values())  # broken into lines, but whole
    assert_legible(plot_learning_curves(results))


@given(st.lists(st.tuples(st.floats(0, 300), st.floats(10, 150)), max_size=12))
def test_no_label_of_a_yardstick_is_crossed(flags):
    positions, widths = [x for x, _ in flags], [w for _, w in flags]
    rows = stack_flags(positions, widths)
    for i, j in combinations(range(len(flags)), 2):
        apart = positions[i] + widths[i] < positions[j] or positions[j] + widths[j] < positions[i]
        assert apart or rows[i] != rows[j]
        for label, line in ((i, j), (j, i)):
            # The line ends half-way up its own row, so it passes through every row below.
            through = rows[line] > rows[label]
            start, end = positions[label], positions[label] + widths[label]
            assert not (through and start < positions[line] <= end)


def seeds_drawn(axes):
    points = next(c for c in axes.collections if to_hex(c.get_facecolor()[0]) == BLUE)
    return np.sort(np.asarray(points.get_offsets())[:, 0])


def markers(axes, marker):
    return [line for line in axes.lines if line.get_marker() == marker]


def test_every_seed_is_a_point_and_every_mean_has_its_crossed_interval():
    results = synthetic_results(4, 5, 80)
    axes = plot_mse(results, "test").axes[0]
    split = results.splits["test"]
    errors = [variant_errors(split, variant) for variant in split.variants]
    np.testing.assert_allclose(seeds_drawn(axes), np.sort(np.ravel([e.mean(1) for e in errors])))
    bars = {tuple(np.round(line.get_xdata(), 9)) for line in axes.lines}
    diamonds = [line.get_xdata()[0] for line in markers(axes, "D")]
    np.testing.assert_allclose(diamonds, [e.mean() for e in errors])
    for interval in map(crossed_mean, errors):
        assert (round(interval.low, 9), round(interval.high, 9)) in bars


def test_the_axis_is_logarithmic_and_shows_unit_split_and_number_of_images():
    results = synthetic_results(3, 3, 80)
    for figure in (plot_mse(results, "test"), plot_slope_intercept(results, "test")):
        assert all(axes.get_xscale() == "log" for axes in figure.axes)
        assert all("split test, 80 images" in axes.get_xlabel() for axes in figure.axes)
    slope, intercept = plot_slope_intercept(results, "test").axes
    assert "no unit" in slope.get_xlabel()
    assert "pixels²" in intercept.get_xlabel()


def test_every_yardstick_is_labelled_with_its_mse():
    results = synthetic_results(3, 3, 80)
    shown = [text for text, _ in texts(plot_mse(results, "test"))]
    for name in [*YARDSTICKS, "constant"]:
        mse = number(yardstick_errors(results.splits["test"], name).mean())
        start = name.replace("_", " ").split()[0]
        assert any(mse in text and start[1:5] in text for text in shown), name


def test_fewer_than_three_seeds_get_points_and_no_interval():
    axes = plot_mse(synthetic_results(3, 2, 80), "test").axes[0]
    assert len(seeds_drawn(axes)) == 6
    assert not markers(axes, "D")


def test_failed_seeds_are_marked_counted_and_scored_as_the_constant_predictor():
    results = synthetic_results(2, 5, 80, failures={(1, 0): "diverged", (1, 4): "oom"})
    axes = plot_mse(results, "test").axes[0]
    split = results.splits["test"]
    constant = yardstick_errors(split, "constant")
    (cross,) = markers(axes, "x")
    assert cross.get_xdata()[0] == pytest.approx(constant.mean())
    assert "2" in [text.get_text() for text in axes.texts]
    assert [label.get_text().split()[-1] for label in axes.get_yticklabels()] == ["5/5", "3/5"]
    errors = variant_errors(split, split.variants[1])
    scored = (np.nansum(errors.mean(axis=1)) + 2 * constant.mean()) / 5
    means = [line.get_xdata()[0] for line in markers(axes, "D")]
    assert means[1:] == pytest.approx([scored, errors[split.variants[1].ok].mean()])


def test_slope_and_intercept_go_into_axes_that_are_there():
    results = synthetic_results(3, 3, 80)
    figure = mpl.figure.Figure(figsize=(9, 3))
    slope, intercept = axes = figure.subplots(1, 2)
    assert plot_slope_intercept(results, "test", ax=axes) is figure
    alone = plot_slope_intercept(results, "test").axes
    for mine, other in zip((slope, intercept), alone, strict=True):
        assert mine.get_xlabel() == other.get_xlabel()
        np.testing.assert_array_equal(seeds_drawn(mine), seeds_drawn(other))
    names = [label.get_text() for label in slope.get_yticklabels()]
    assert names == [label.get_text() for label in alone[0].get_yticklabels()]
    assert not any(label.get_text() for label in intercept.get_yticklabels())
    with pytest.raises(ValueError, match="ax holds 1 axes, one for the slope and one"):
        plot_slope_intercept(results, "test", ax=[slope])


def test_names_and_means_tell_their_numbers_under_the_pointer(tmp_path):
    results = synthetic_results(2, 3, 60)
    _, path = save(plot_mse(results, "test"), tmp_path / "mse")
    svg = path.read_text(encoding="utf-8")
    first = summarise(results.splits["test"], "mse")[0]
    assert svg.count(f"<title>{first.words}</title>") == 2  # its name and its diamond
    assert "3 of 3 seeds ok" in first.words
    ids = re.findall(r'id="([^"]*)"', svg)
    assert len(ids) == len(set(ids))
    assert not [name for name in ids if re.search(r"\s", name)]


def corners(svg):
    """The end of every command of every path."""
    found = []
    for path in re.findall(r' d="([^"]*)"', svg):
        x = y = 0.0
        for letter, numbers in re.findall(r"([MLQCHVz])([^MLQCHVz]*)", path):
            values = [float(number) for number in numbers.split()]
            x, y = {"H": [*values, y], "V": [x, *values], "z": [x, y]}.get(letter, values[-2:])
            found.append((x, y))
    return np.array(found)


def test_a_short_svg_has_every_glyph_and_point_where_matplotlib_put_it(tmp_path):
    figure = plot_where(synthetic_results(2, 3, 60), "test")
    with mpl.rc_context(THEME):
        figure.savefig(tmp_path / "long.svg", metadata={"Date": None})
    long = (tmp_path / "long.svg").read_text(encoding="utf-8")
    short = finished(long)
    assert len(short) < 0.8 * len(long)
    letters = re.compile(r'<use xlink:href="#[^"]+"(?: transform="translate\((\S+) (\S+)\)")?/>')
    placed = re.compile(r'<use xlink:href="#g\d+"(?: x="([^"]+)")?(?: y="([^"]+)")?/>')
    before, after = (
        np.array(
            [[float(place or 0) for place in found.groups()] for found in pattern.finditer(svg)]
        )
        for pattern, svg in ((letters, long), (placed, short))
    )
    np.testing.assert_allclose(after, before, atol=0.051)
    before, after = (corners(svg) for svg in (long, short))
    np.testing.assert_allclose(after, before, atol=0.0101)
    ids = re.findall(r'\bid="([^"]+)"', short)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', short)) <= set(ids)


def test_letters_of_points_that_lie_together_are_one_label():
    results = synthetic_results(3, 3, 60)
    split = results.splits["test"]
    same = tuple(replace(v, predictions=split.variants[0].predictions) for v in split.variants)
    cells = results.cells.assign(seconds=10.0)
    equal = replace(results, cells=cells, splits={"test": replace(split, variants=same)})
    for axes in plot_cost(equal, "test").axes:
        assert [text.get_text() for text in axes.texts] == ["ABC"]


def test_many_very_long_names_keep_rows_narrow_and_stand_whole_under_the_pointer(tmp_path):
    results = synthetic_results(40, 2, 60, epochs=2)
    split = results.splits["test"]
    variants = tuple(
        replace(v, name=f"{v.name}{'-with-a-very-long-level' * 6}-{i}")
        for i, v in enumerate(split.variants)
    )
    long = replace(results, splits={"test": replace(split, variants=variants)})
    figure = plot_mse(long, "test")
    assert_legible(figure)
    assert (figure.get_size_inches() < 14).all()
    _, path = save(figure, tmp_path / "mse")
    svg = path.read_text(encoding="utf-8")
    assert all(f"<title>{variant.name}: " in svg for variant in variants)


def test_published_values_stand_on_the_test_split_only():
    results = synthetic_results(3, 3, 80, splits=("test", "test_large"))
    stars = {
        split: [s.get_xdata()[0] for s in markers(plot_mse(results, split).axes[0], "*")]
        for split in results.splits
    }
    assert stars == {"test": [16.5643], "test_large": []}
    (star,) = markers(plot_mse(results, "test").axes[0], "*")
    assert to_hex(star.get_color()) == PURPLE


def test_a_median_curve_never_improves_by_losing_seeds():
    losses = np.array([[4.0, 3.0, 2.0], [5.0, 4.0, 3.0], [9.0, np.nan, np.nan], [9.0, 9.0, np.inf]])
    results = synthetic_results(2, 4, 60, epochs=3)
    first = results.study.variants[0].name
    curves = results.curves.copy()
    curves.loc[curves["variant"] == first, "val_mse"] = losses.ravel()
    ended = (curves["variant"] == first) & (curves["seed"] == 2) & (curves["epoch"] == 3)
    found = median_curves(replace(results, curves=curves[~ended]))
    np.testing.assert_array_equal(found.of(first, "val_mse"), [7.0, 6.5, np.nan])
    lost = replace(results, curves=curves[~ended & (curves["seed"] < 2)])
    np.testing.assert_array_equal(median_curves(lost).of(first, "val_mse"), [np.nan] * 3)


def test_median_curves_are_those_of_pandas_where_no_cell_fails():
    """Also where variants have different numbers of seeds."""
    results = synthetic_results(3, 5, 60, epochs=4)
    kept = [
        table[(table["variant"] != results.study.variants[1].name) | (table["seed"] < 2)]
        for table in (results.cells, results.curves)
    ]
    found = median_curves(replace(results, cells=kept[0], curves=kept[1]))
    expected = kept[1].groupby(["variant", "epoch"])[["train_loss", "val_mse"]].median()
    table = found.table().set_index(["variant", "epoch"]).loc[expected.index]
    np.testing.assert_allclose(table[["median_train_loss", "median_val_mse"]], expected)
    assert list(found.n_seeds) == [5, 2, 5]
    everything = kept[1].groupby("epoch")["val_mse"].median()
    np.testing.assert_allclose(found.over(np.ones(3, bool), "val_mse"), everything)
    for name in found.variants:
        np.testing.assert_allclose(
            found.of(name, "val_mse"), expected.loc[name, "val_mse"].to_numpy()
        )


def test_learning_curves_end_failed_cells_with_a_mark():
    results = synthetic_results(3, 5, 60, epochs=6, failures=FAILURES)
    panels = plot_learning_curves(results).axes
    assert [len(markers(axes, "x")) for axes in panels] == [1, 3, 0]
    assert len({axes.get_ylim() for axes in panels}) == 1
    assert all(axes.get_yscale() == "log" for axes in panels)


def test_learning_curves_stay_readable_when_a_loss_explodes_or_there_are_none():
    results = synthetic_results(2, 3, 60, failures={(0, 0): "diverged"})
    curves = results.curves.copy()
    last = curves.index[(curves["variant"] == curves["variant"][0]) & (curves["seed"] == 0)][-1]
    curves.loc[last, "val_mse"] = 1e30
    axes = plot_learning_curves(replace(results, curves=curves)).axes[0]
    assert axes.get_ylim()[1] < 1e4
    assert_legible(plot_learning_curves(replace(results, curves=curves[:0])))


lines = st.tuples(st.floats(-20, 20), st.floats(-400, 400))


@given(lines, st.integers(3, 50))
def test_a_clipped_line_is_the_part_of_the_line_in_the_image(line, dim):
    slope, intercept = line
    edges = np.array([-0.5, dim - 0.5]), np.array([0.5, dim + 0.5])
    corners = [y - slope * x - intercept for x in edges[0] for y in edges[1]]
    part = clip_line(np.array(line), dim)
    # A line meets a box if and only if the corners lie on both sides of it.
    if min(corners) > 1e-6 or max(corners) < -1e-6:
        assert part is None
    elif min(corners) < -1e-6 and max(corners) > 1e-6:
        assert part is not None
        (x, y), scale = part, 1 + abs(slope) * dim + abs(intercept)
        np.testing.assert_allclose(y, slope * x + intercept, atol=1e-9 * scale)
        assert (x >= edges[0][0] - 1e-9).all()
        assert (x <= edges[0][1] + 1e-9).all()
        assert (y >= edges[1][0] - 1e-9 * scale).all()
        assert (y <= edges[1][1] + 1e-9 * scale).all()
        on_edge = [
            np.isclose(v, e, atol=1e-6).any(axis=1)
            for v, e in ((part.T[:, :1], edges[0]), (part.T[:, 1:], edges[1]))
        ]
        assert np.logical_or(*on_edge).all()


def test_a_line_that_is_not_finite_is_not_drawn():
    assert clip_line(np.array([np.nan, 1.0]), 40) is None
    assert clip_line(np.array([1.0, np.inf]), 40) is None


def test_gallery_shows_lit_pixels_where_the_true_line_runs(pixels):
    results = synthetic_results(2, 3, 60)
    for axes in plot_gallery(results, "test", pixels).axes:
        image = int(axes.get_title(loc="left").split()[1].rstrip(","))
        slope, intercept = results.splits["test"].params[image]
        x, y = np.asarray(axes.collections[0].get_offsets()).T
        assert len(x) == pixels[image].sum()
        assert np.abs(y - (slope * x + intercept)).max() <= 0.5 + 1e-3
        assert axes.get_xlim() == (-0.5, 39.5)
        assert axes.get_ylim() == (0.5, 40.5)


def test_gallery_takes_the_seed_with_the_median_mse_and_says_so(pixels):
    results = synthetic_results(1, 5, 60, failures={(0, 2): "diverged"})
    split = results.splits["test"]
    mse = dict(enumerate(variant_errors(split, split.variants[0]).mean(axis=1)))
    by_mse = sorted((k for k in mse if k != 2), key=mse.__getitem__)
    figure = plot_gallery(results, "test", pixels)
    assert f"seed A {by_mse[1]}" in " ".join(" ".join(t for t, _ in texts(figure)).split())


def test_gallery_says_which_lines_lie_outside_the_image(pixels):
    results = synthetic_results(4, 3, 60)
    split = results.splits["test"]
    away = np.full((3, 60, 2), [0.0, 1000.0], dtype=np.float32)
    lost = tuple(replace(variant, predictions=away) for variant in split.variants)
    figure = plot_gallery(
        replace(results, splits={"test": replace(split, variants=lost)}), "test", pixels
    )
    assert all("ABCD outside" in axes.get_title(loc="left") for axes in figure.axes)
    assert_legible(figure)


def test_gallery_spreads_over_many_variants_from_best_to_worst(pixels):
    results = synthetic_results(12, 3, 60)
    split = results.splits["test"]
    middle = {v.name: np.median(variant_errors(split, v).mean(axis=1)) for v in split.variants}
    shown = [t for t, _ in texts(plot_gallery(results, "test", pixels)) if t[:3] in ("A: ", "D: ")]
    assert shown == [f"A: {min(middle, key=middle.get)}", f"D: {max(middle, key=middle.get)}"]


def test_wrong_arguments_are_named(pixels):
    results = synthetic_results(2, 3, 60)
    with pytest.raises(ValueError, match="split 'val' is not one of test"):
        plot_mse(results, "val")
    with pytest.raises(ValueError, match=r"pixels \(59, 40, 40\) are not the 60 images"):
        plot_gallery(results, "test", pixels[:59])
    with pytest.raises(ValueError, match=r"variants.*conv9.*at most 4"):
        plot_gallery(results, "test", pixels, variants=["conv9"])


def test_figures_are_the_same_bytes_in_every_run_and_leave_no_state(tmp_path, pixels):
    plt.switch_backend(
        "agg"
    )  # matplotlib would otherwise choose one when it is first asked for figures
    settings = mpl.rcParams.copy()
    results = synthetic_results(3, 3, 60, failures={(0, 0): "diverged"})
    first, second = (
        write_figures(results, tmp_path / run, {"test": pixels}) for run in ("first", "second")
    )
    assert [path.name for path in first] == [
        f"{name}.{suffix}"
        for name in figure_names(results)
        if name.split("_")[0] not in OF_GRIDS
        for suffix in ("png", "svg", "csv")
    ]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert not any(b"<dc:date>" in path.read_bytes() for path in first)
    assert not plt.get_fignums()
    assert mpl.rcParams == settings


@pytest.mark.slow
def test_the_figures_of_a_hundred_variants_take_less_than_5_mb_of_a_page(tmp_path):
    results = synthetic_results(100, 3, 500, splits=("test", "test_large"))
    images = lab_images(500, random_offset=RANDOM_OFFSET).pixels
    paths = write_figures(results, tmp_path, {"test": images})
    drawn = [inline_figure(path) for path in paths if path.suffix == ".svg"]
    assert len(drawn) > 15
    assert sum(len(figure.svg) for figure in drawn) < 5e6


def test_no_gallery_without_pixels(tmp_path):
    names = {path.stem for path in write_figures(synthetic_results(1, 1, 60), tmp_path)}
    drawn = ("mse", "slope_intercept", "where", "against", "beats", "profiles", "cost")
    assert names == {*(f"{kind}_test" for kind in drawn), "learning_curves"}


OF_GRIDS = ("facets", "effects", "heatmap", "importance")
GRID = {
    "architecture": ("conv1", "conv2"),
    "coordinates": ("none", "cartesian", "learned"),
    "pooling": ("max", "average"),
    "width": (16, 8),
}


def test_a_balanced_grid_has_effects_a_heatmap_and_importance(tmp_path):
    results = synthetic_results(0, 3, 60, epochs=2, grid=GRID)
    comparison = compare_study(results, split="test")
    drawn = {kind: (f, d) for kind, f, d in of_split(results, "test", None, comparison)}
    for kind in OF_GRIDS:
        assert_legible(drawn[kind][0])
    effects, table = drawn["effects"]
    (points,) = markers(effects.axes[0], "D")
    np.testing.assert_allclose(points.get_xdata(), table["ratio"])
    assert list(table.loc[table["factor"] == "width", "level"]) == [8, 16]
    heatmap, table = drawn["heatmap"]
    numbers = [text.get_text() for text in heatmap.axes[0].texts if text.get_text()[0].isdigit()]
    assert numbers == [number(x) for x in table["ratio_to_least_squares"]]
    own = comparison.table[comparison.table["kind"] == "variant"]
    assert np.exp(np.log(table["ratio_to_least_squares"]).mean()) == pytest.approx(
        np.exp(np.log(own["ratio"]).mean())
    )


def test_facets_hold_every_variant_once_in_the_panel_of_its_level():
    results = synthetic_results(0, 3, 60, epochs=2, grid=GRID, failures={(0, 1): "oom"})
    facets = facets_of(results, "test")
    assert facets.across in GRID
    figure = plot_facets(facets)
    split = results.splits["test"]
    at = {variant.name: variant.levels for variant in split.variants}
    constant = yardstick_errors(split, "constant")
    errors = {}
    for variant in split.variants:
        own = variant_errors(split, variant)
        errors[variant.name] = np.where(np.isnan(own), constant, own).mean()
    assert len(figure.axes) == len(GRID[facets.across])
    drawn = 0
    for axes, level in zip(figure.axes, facets.columns, strict=True):
        own = {name for name in errors if str(at[name][facets.across]) == level}
        means = [line.get_xdata()[0] for line in markers(axes, "D")]
        assert sorted(means) == pytest.approx(sorted(errors[name] for name in own))
        drawn += len(means)
        rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        for name in own:
            row = facets.rows.loc[name]
            for factor in facets.down:
                assert str(at[name][factor]) in f"{row['group']}, {row['label']}"
            assert row["label"] in rows
    assert drawn == len(errors)
    table = facets.table.set_index("estimator")
    means = table[table["what"] == "mean"]
    assert means["value"].to_dict() == pytest.approx(errors)
    assert list(means[facets.across]) == [str(at[name][facets.across]) for name in means.index]


def test_what_a_study_has_too_little_of_is_not_drawn_and_goes_away(tmp_path):
    write_figures(synthetic_results(0, 3, 60, epochs=2, grid=GRID), tmp_path)
    assert (tmp_path / "effects_test.svg").is_file()
    write_figures(synthetic_results(3, 3, 60, epochs=2), tmp_path)
    assert not list(tmp_path.glob("effects*"))
    assert not list(tmp_path.glob("heatmap*"))


def test_of_many_variants_the_best_and_worst_are_drawn_and_a_sentence_says_so():
    results = synthetic_results(110, 2, 60, epochs=2)
    figure = plot_mse(results, "test")
    shown = " ".join(" ".join(t for t, _ in texts(figure)).split())
    assert "Of 110 variants the 30 best and the 15 worst are drawn" in shown
    assert "the other 65 stand in the table and in compare_test.csv" in shown
    rows = [label.get_text().split()[0] for label in figure.axes[-1].get_yticklabels()]
    split = results.splits["test"]
    order = sorted(split.variants, key=lambda v: variant_errors(split, v).mean())
    assert rows == [v.name for v in [*order[:30], *order[-15:]]]
    table = mse_data(results, "test")
    assert list(dict.fromkeys(table.loc[table["what"] == "mean", "estimator"])) == rows


@given(st.text(alphabet="abcdefgh -", min_size=1, max_size=200), st.floats(1, 8))
def test_wrapped_text_fits_and_keeps_its_words(text, inches):
    wrapped = wrap(text, inches)
    assert "".join(wrapped.split()) == "".join(text.split())
    assert all(text_inches(line) <= inches for line in wrapped.splitlines())


points = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12)


@given(points)
def test_the_front_is_what_no_point_dominates(pairs):
    costs, errors = np.array(pairs, dtype=float).T
    front = pareto_front(costs, errors)

    def dominated(point):
        return any(p != point and p[0] <= point[0] and p[1] <= point[1] for p in pairs)

    assert {pairs[i] for i in front} == {p for p in pairs if not dominated(p)}
    assert (np.diff(costs[front]) > 0).all()


def test_what_has_no_cost_is_not_on_the_front():
    assert list(pareto_front(np.array([np.nan, 2.0]), np.array([0.1, 5.0]))) == [1]


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=200))
def test_groups_hold_every_image_once_and_never_part_equal_values(values):
    values = np.array(values, dtype=float)
    group = groups(values)
    assert len(group) == len(values)
    assert len(np.unique(group)) <= BINS
    bounds = [(values[group == g].min(), values[group == g].max()) for g in np.unique(group)]
    assert all(one[1] < other[0] for one, other in pairwise(bounds))


def test_where_draws_the_error_of_each_group_with_its_crossed_interval():
    results = synthetic_results(1, 3, 60)
    split = results.splits["test"]
    axes = plot_where(results, "test").axes[0]
    steep = np.abs(split.params[:, 0].astype(float))
    group, errors = groups(steep), variant_errors(split, split.variants[0])
    present = np.unique(group)
    own = [errors[:, group == g] for g in present]
    np.testing.assert_allclose(
        axes.lines[0].get_xdata(), [np.median(steep[group == g]) for g in present]
    )
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [e.mean() for e in own])
    assert len(axes.lines) == 2
    table = where_data(results, "test")
    table = table[(table["property"] == "|slope|") & (table["estimator"] == split.variants[0].name)]
    expected = [crossed_mean(e) for e in own]
    enough = np.array([e.shape[1] >= FEWEST for e in own])
    assert enough.sum() > 5
    for end in ("low", "high"):
        wanted = np.where(enough, [getattr(e, end) for e in expected], np.nan)
        np.testing.assert_allclose(table[end], wanted)


def test_the_matrix_holds_the_share_of_pairs_of_seeds_and_images_that_the_row_wins():
    results = synthetic_results(3, 4, 60, failures={(1, 2): "oom"})
    beats = beats_of(results, "test")
    constant = yardstick_errors(results.splits["test"], "constant")
    errors = {"least_squares": yardstick_errors(results.splits["test"], "least_squares")[None]}
    for variant in results.splits["test"].variants:
        own = variant_errors(results.splits["test"], variant)
        errors[variant.name] = np.where(np.isnan(own), constant, own)
    for row in beats.table.to_dict("records"):
        a, b = errors[row["estimator"]][:, None], errors[row["against"]][None]
        assert row["p_beats"] == pytest.approx(((a < b) + 0.5 * (a == b)).mean())
        assert row["low"] <= row["p_beats"] <= row["high"]
        assert (row["seeds"], row["images"]) == (len(a) if len(a) > 1 else 0, 60)
    shown = [text.get_text() for text in plot_beats(beats).axes[0].texts]
    assert shown[::2] == [percent(p) for p in beats.table["p_beats"]]
    ends = beats.table[["low", "high"]].to_numpy()
    assert shown[1::2] == [f"[{percent(low)}, {percent(high)}]" for low, high in ends]


def test_of_many_variants_the_matrix_and_the_densities_have_the_best():
    results = synthetic_results(40, 2, 60, epochs=2)
    split = results.splits["test"]
    best = sorted(split.variants, key=lambda v: variant_errors(split, v).mean())[:MOST]
    names = tuple(variant.name for variant in best)
    beats, against = beats_of(results, "test"), against_of(results, "test")
    assert beats.names == (*names, "least_squares")
    assert against.names == names
    for figure in (plot_beats(beats), plot_against(against)):
        assert_legible(figure)
        words = " ".join(" ".join(text for text, _ in texts(figure)).split())
        assert "Of 40 variants the 12" in words


def test_a_density_counts_every_pair_of_a_seed_and_an_image_where_it_lies():
    results = synthetic_results(2, 3, 80)
    split = results.splits["test"]
    table = against_of(results, "test").table
    reference = yardstick_errors(split, "least_squares")
    for variant in split.variants:
        own = table[table["estimator"] == variant.name]
        errors = variant_errors(split, variant)
        share = own[own["what"] == SHARE].iloc[0]
        assert share["value"] == pytest.approx((errors < reference).mean())
        bins = own[own["what"] == BIN]
        assert bins["value"].sum() == pytest.approx(1)
        x, y = np.broadcast_to(reference, errors.shape).ravel(), errors.ravel()
        inner = bins[
            bins["least_squares_from"].between(*np.quantile(x, [0.1, 0.9]))
            & bins["net_from"].between(*np.quantile(y, [0.1, 0.9]))
        ]
        assert len(inner) > 20
        for row in inner.to_dict("records"):
            across = (row["least_squares_from"] <= x) & (x < row["least_squares_to"])
            inside = across & (row["net_from"] <= y) & (y < row["net_to"])
            assert row["value"] == pytest.approx(inside.mean())


def test_the_shapes_of_a_density_cover_the_bins_of_the_table():
    against = against_of(synthetic_results(1, 3, 80), "test")
    axes = plot_against(against).axes[0]
    bins = against.table[against.table["what"] == BIN]
    middle = np.sqrt(
        bins[["least_squares_from", "net_from"]].to_numpy()
        * bins[["least_squares_to", "net_to"]].to_numpy()
    )
    shapes = [patch.get_path() for patch in axes.patches]
    inside = np.array([shape.contains_points(middle) for shape in shapes if len(shape.vertices)])
    np.testing.assert_array_equal(inside.sum(axis=0), 1)


def test_profiles_are_the_shares_below_each_threshold_and_lie_in_their_bands():
    results = synthetic_results(3, 5, 120)
    split = results.splits["test"]
    profiles = profiles_of(results, "test")
    for variant in split.variants:
        own = profiles.table[profiles.table["estimator"] == variant.name]
        below = variant_errors(split, variant)[..., None] < own["threshold"].to_numpy()
        np.testing.assert_allclose(own["share_below"], below.mean(axis=(0, 1)))
        assert (own["low"] <= own["share_below"]).all()
        assert (own["share_below"] <= own["high"]).all()
        assert (own["high"] - own["low"]).max() > 0.05
    lines = plot_profiles(profiles).axes[0].lines
    for line, name in zip(lines, [*profiles.bold, *profiles.yardsticks], strict=True):
        own = profiles.table[profiles.table["estimator"] == name]
        np.testing.assert_array_equal(line.get_xydata(), own[["threshold", "share_below"]])


def test_profiles_of_many_variants_have_a_thin_line_each():
    results = synthetic_results(110, 2, 60, epochs=2)
    profiles = profiles_of(results, "test")
    assert (len(profiles.bold), len(profiles.thin)) == (4, 96)
    figure = plot_profiles(profiles)
    assert_legible(figure)
    assert len(figure.axes[0].collections[0].get_segments()) == 96
    words = " ".join(" ".join(text for text, _ in texts(figure)).split())
    assert "Of 110 variants 4 are coloured" in words


def test_a_title_that_ends_a_sentence_is_followed_by_another():
    assert titled("Lines", "MSE on test") == "Lines: MSE on test"
    assert titled("Which pool?", "learning curves") == "Which pool? Learning curves"


@given(st.text(alphabet="abcdefgh -", max_size=200), st.floats(0.5, 8))
def test_a_shortened_name_fits_and_keeps_its_ends(text, inches):
    short = shorten(text, inches)
    assert text_inches(short) <= inches
    if short != text:
        start, end = short.split("…")
        assert text.startswith(start)
        assert text.endswith(end)
