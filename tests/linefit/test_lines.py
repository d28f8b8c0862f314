"""Lines in images: segments and distances against a fine sampling of the line's points."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linefit.images import lab_split
from linefit.lines import largest_distance, span

DIM = 40
# Such lines go through no corner and along no edge, where rounding alone decides what is inside.
coefficients = st.tuples(
    st.integers(-320, 320).map(lambda k: k / 16),
    st.integers(-960, 960).map(lambda k: k / 16 + 1 / 37),
)


def sampled(line, dim=DIM):
    """Points of the line inside the image, `(P, 2)`."""
    slope, intercept = line
    x = np.linspace(-0.5, dim - 0.5, 40_001)
    y = slope * x + intercept
    inside = (y >= 0.5) & (y <= dim + 0.5)
    return np.stack([x[inside], y[inside]], axis=1)


@given(coefficients)
def test_a_span_is_where_the_line_is_inside(line):
    points = sampled(line)
    low, high = span(np.array(line), DIM)
    if len(points) < 3:
        return  # a corner that the sampling may miss
    assert low == pytest.approx(points[0, 0], abs=2e-3)
    assert high == pytest.approx(points[-1, 0], abs=2e-3)


@given(coefficients, coefficients)
def test_the_largest_distance_is_that_of_the_points_of_the_line(true, predicted):
    points = sampled(true)
    found = largest_distance(np.array(predicted), np.array(true), DIM)
    if len(points) < 3:
        return
    slope, intercept = predicted
    # the distance of points from the line slope x - y + intercept = 0
    distances = np.abs(slope * points[:, 0] - points[:, 1] + intercept) / np.hypot(slope, 1)
    assert found == pytest.approx(distances.max(), abs=0.05)


def test_lines_that_miss_the_image_or_are_not_finite_have_no_span():
    lines = np.array([[0.0, 60.0], [1.0, -100.0], [np.nan, 1.0], [np.inf, 1.0], [0.0, 20.0]])
    assert np.isnan(span(lines, DIM)).all(axis=1).tolist() == [True] * 4 + [False]


def test_every_line_of_the_lab_is_in_its_image_and_at_distance_zero_of_itself():
    params = lab_split("test").params
    assert np.isfinite(span(params, DIM)).all()
    np.testing.assert_allclose(largest_distance(params, params, DIM), 0, atol=1e-5)
    moved = params + np.array([0, 2], dtype=np.float32)
    np.testing.assert_allclose(
        largest_distance(moved, params, DIM), 2 / np.hypot(1, params[:, 0].astype(float)), rtol=1e-5
    )


def test_seeds_broadcast_over_images():
    params = lab_split("test").params[:7]
    predictions = np.random.default_rng(0).normal(size=(3, 7, 2))
    found = largest_distance(predictions, params, DIM)
    assert found.shape == (3, 7)
    for seed in range(3):
        np.testing.assert_array_equal(found[seed], largest_distance(predictions[seed], params, DIM))
