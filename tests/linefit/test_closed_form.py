from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import statsmodels.api as sm
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from linefit import closed_form
from linefit.closed_form import (
    chebyshev,
    constant,
    huber,
    least_absolute_deviations,
    least_squares,
    lit_points,
    theil_sen,
    total_least_squares,
)
from linefit.images import LineImages, lab_images, lab_split

ESTIMATORS = [
    least_squares,
    total_least_squares,
    theil_sen,
    huber,
    least_absolute_deviations,
    chebyshev,
]
by_name = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.__name__)

# Any pixels with two lit columns, not those of a line only: several pixels a column, outliers, ties.
images = (
    st.tuples(st.integers(1, 9), st.integers(2, 9))
    .flatmap(lambda shape: arrays(bool, shape))
    .filter(lambda image: image.any(axis=0).sum() >= 2)
)
relaxed = settings(deadline=None, max_examples=60)


def coordinates(image):
    """x and y of the lit pixels, one by one."""
    height, width = image.shape
    lit = [(c, height - r) for r in range(height) for c in range(width) if image[r, c]]
    return np.array(lit, dtype=float).T


def distances(image, line):
    x, y = coordinates(image)
    return np.abs(y - line[0] * x - line[1])


def fit(estimator, image):
    return estimator(image[None])[0]


def has_slope(image):
    """Whether orthogonal regression has one line, and not a vertical one."""
    (xx, xy), (_, yy) = np.cov(coordinates(image))
    return abs(xy) > 1e-9 or xx > yy + 1e-9


@given(images)
@relaxed
def test_least_squares_equals_polyfit(image):
    np.testing.assert_allclose(
        fit(least_squares, image), np.polyfit(*coordinates(image), 1), atol=1e-9
    )


@given(images)
@relaxed
def test_total_least_squares_is_the_first_principal_axis(image):
    assume(has_slope(image))
    x, y = coordinates(image)
    _, _, axes = np.linalg.svd(np.stack([x - x.mean(), y - y.mean()], axis=1))
    slope, intercept = fit(total_least_squares, image)
    np.testing.assert_allclose(slope * axes[0, 0], axes[0, 1], atol=1e-9 * max(1, abs(slope)))
    np.testing.assert_allclose(slope * x.mean() + intercept, y.mean(), atol=1e-9)


@given(images)
@relaxed
def test_theil_sen_equals_scipy(image):
    x, y = coordinates(image)
    expected = scipy.stats.theilslopes(y, x)
    np.testing.assert_allclose(fit(theil_sen, image), [expected.slope, expected.intercept])


@given(images)
@relaxed
def test_huber_equals_statsmodels_with_the_scale_of_least_squares(image):
    x, y = coordinates(image)
    scale = np.median(distances(image, fit(least_squares, image)))
    assume(scale > 1e-6)  # statsmodels warns of a perfect fit and stops
    model = sm.RLM(y, sm.add_constant(x), M=sm.robust.norms.HuberT())
    result = model.fit(update_scale=False, conv="coefs", tol=1e-12, maxiter=3000)
    np.testing.assert_allclose(fit(huber, image), result.params[::-1], atol=1e-6)


def test_huber_keeps_the_least_squares_line_of_pixels_that_it_meets():
    image = np.flipud(np.eye(5, dtype=bool))
    np.testing.assert_allclose(fit(huber, image), [1, 1], atol=1e-12)


@given(images)
@relaxed
def test_least_absolute_deviations_is_the_optimum_of_the_linear_program(image):
    x, y = coordinates(image)
    n, one = len(x), np.ones(len(x))
    # Variables: slope, intercept, and a bound on every |residual|; the sum of bounds is least.
    program = scipy.optimize.linprog(
        np.r_[0, 0, one],
        A_ub=np.block(
            [[x[:, None], one[:, None], -np.eye(n)], [-x[:, None], -one[:, None], -np.eye(n)]]
        ),
        b_ub=np.r_[y, -y],
        bounds=[(None, None)] * 2 + [(0, None)] * n,
    )
    loss = distances(image, fit(least_absolute_deviations, image)).sum()
    np.testing.assert_allclose(loss, program.fun, atol=1e-8)


@given(images)
@relaxed
def test_chebyshev_is_the_optimum_of_the_linear_program(image):
    x, y = coordinates(image)
    one = np.ones((len(x), 1))
    program = scipy.optimize.linprog(
        [0, 0, 1],
        A_ub=np.block([[x[:, None], one, -one], [-x[:, None], -one, -one]]),
        b_ub=np.r_[y, -y],
        bounds=[(None, None)] * 3,
    )
    loss = distances(image, fit(chebyshev, image)).max()
    np.testing.assert_allclose(loss, program.fun, atol=1e-8)


def test_of_several_best_lines_the_middle_one_is_taken():
    # Two pixels in each of two columns: every line between them has the same sum of distances, ...
    square = np.zeros((4, 3), dtype=bool)
    square[np.ix_([0, 3], [0, 2])] = True  # y = 4 and 1 at x = 0 and 2
    np.testing.assert_allclose(fit(least_absolute_deviations, square), [0, 2.5])
    # ... and with a pixel more than 3 apart in a middle column, many have the same largest distance.
    column = np.zeros((9, 3), dtype=bool)
    column[[0, 8], 1] = column[4, [0, 2]] = True  # y = 9 and 1 at x = 1, y = 5 at x = 0 and 2
    np.testing.assert_allclose(fit(chebyshev, column), [0, 5])


@by_name
@given(image=images)
@relaxed
def test_mirrored_images_have_mirrored_lines(estimator, image):
    assume(estimator is not total_least_squares or has_slope(image))
    height, width = image.shape
    slope, intercept = fit(estimator, image)
    upside_down = fit(estimator, np.flipud(image))
    left_right = fit(estimator, np.fliplr(image))
    tolerance = 1e-6 * max(1, abs(slope))
    np.testing.assert_allclose(upside_down, [-slope, height + 1 - intercept], atol=tolerance)
    np.testing.assert_allclose(
        left_right, [-slope, intercept + slope * (width - 1)], atol=tolerance
    )


@by_name
def test_points_on_a_line_give_that_line(estimator):
    slopes, intercepts, dim = np.array([-3, -1, 0, 1, 2, 5]), np.array([30, 12, 7, 1, 3, -8]), 40
    pixels = np.zeros((len(slopes), dim, dim), dtype=bool)
    for image, slope, intercept in zip(pixels, slopes, intercepts, strict=True):
        x = np.arange(dim)
        y = slope * x + intercept
        visible = (y > 0) & (y <= dim)
        image[dim - y[visible], x[visible]] = True
    np.testing.assert_allclose(estimator(pixels), np.stack([slopes, intercepts], axis=1), atol=1e-8)


@by_name
def test_an_image_is_fitted_the_same_in_any_batch(estimator, monkeypatch):
    pixels = lab_images(60, 30, 5).pixels
    together = estimator(pixels)
    assert together.shape == (60, 2)
    assert together.dtype == np.float64
    one_by_one = np.concatenate([estimator(pixels[i : i + 1]) for i in range(len(pixels))])
    np.testing.assert_allclose(together, one_by_one, atol=1e-8)
    monkeypatch.setattr(closed_form, "PAIRS_AT_ONCE", 1000)
    np.testing.assert_allclose(estimator(pixels), together, atol=1e-8)


@by_name
def test_no_images_give_no_lines(estimator):
    assert estimator(np.zeros((0, 40, 40), dtype=bool)).shape == (0, 2)


@by_name
@pytest.mark.parametrize("lit", [[], [(3, 4)], [(0, 4), (3, 4), (5, 4)]])
def test_images_with_fewer_than_two_lit_columns_are_refused_by_name(estimator, lit):
    pixels = lab_images(5).pixels.copy()
    pixels[3] = False
    for row, column in lit:
        pixels[3, row, column] = True
    with pytest.raises(ValueError, match=r"image 3 has fewer than 2 lit columns.*1 of 5"):
        estimator(pixels)


@pytest.mark.parametrize(
    "lit", [[(0, 1), (6, 1), (3, 0), (3, 2)], [(0, 0), (0, 1), (1, 0), (1, 1)]]
)
def test_vertical_and_undefined_total_least_squares_lines_are_refused_by_name(lit):
    pixels = lab_images(2).pixels.copy()
    pixels[1] = False
    pixels[(1, *np.transpose(lit))] = True
    with pytest.raises(ValueError, match="image 1 has a vertical or undefined total least squares"):
        total_least_squares(pixels)


@by_name
def test_pixels_of_the_wrong_shape_are_refused(estimator):
    with pytest.raises(ValueError, match=r"pixels has shape \(40, 40\)"):
        estimator(np.eye(40, dtype=bool))


@given(arrays(bool, st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 6))))
@relaxed
def test_lit_points_are_the_coordinates_of_lit_pixels(pixels):
    points = lit_points(pixels)
    assert len(points) == len(pixels)
    for i, image in enumerate(pixels):
        found = set(zip(points.x[i][points.lit[i]], points.y[i][points.lit[i]], strict=True))
        assert found == {(c, len(image) - r) for r, c in np.argwhere(image)}
        assert points.lit[i].sum() == image.sum()


def test_least_squares_has_the_known_error_on_the_labs_test_split():
    test = lab_split("test")
    mse = ((least_squares(test.pixels) - test.params) ** 2).mean()
    assert round(mse, 4) == 0.0788


def test_constant_has_the_least_error_of_all_constants_on_what_it_was_given():
    train = lab_images(200)
    answer = constant(train)(train.pixels)
    assert answer.shape == (200, 2)
    assert (answer == answer[0]).all()
    errors = [
        ((answer + shift - train.params) ** 2).mean()
        for shift in ([0, 0], [1e-3, 0], [-1e-3, 0], [0, 1e-3], [0, -1e-3])
    ]
    assert errors[0] == min(errors)


def test_constant_of_no_images_is_refused():
    empty = LineImages(np.zeros((0, 40, 40), dtype=bool), np.zeros((0, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="train has no images"):
        constant(empty)
