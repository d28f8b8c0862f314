from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from fractions import Fraction
from functools import cache
from math import comb, isnan

import numpy as np
import pytest
import torch

from linefit.images import lab_images
from linefit.posterior import (
    lab_prior,
    lit_probability,
    posterior,
    posterior_mean,
    posterior_mode,
)

FRESH = 30_000_000  # far from every split


def z_scores(differences):
    """How many standard errors the means `(2,)` of `(N, 2)` are away from 0."""
    return differences.mean(axis=0) / (differences.std(axis=0) / np.sqrt(len(differences)))


@cache
def drawn_lines():
    """How many of the (dx, dy, c) give each (m, c), by torch and one by one."""
    count = Counter()
    for dx, dy, c in itertools.product(range(-10, 10), range(-10, 10), range(-20, 20)):
        m = torch.tensor([float(dy)]) / torch.tensor([float(dx)])
        if torch.isfinite(m):
            count[m.item(), float(c)] += 1
    return count


def lit_pixels(m, c, dim):
    """The pixel (row, column) of every column in which the line is visible, by torch."""
    x = torch.arange(dim, dtype=torch.float32)
    y = (torch.tensor([m], dtype=torch.float32) * x + c).round()
    return {
        column: (dim - int(height), column)
        for column, height in enumerate(y.tolist())
        if not isnan(height) and 0 < height < dim
    }


@cache
def lit_column_sets(visible, dim):
    """Exact probability of every set of lit columns, by following 20 draws from set to set."""
    sets = {frozenset(): Fraction(1)}
    for _ in range(20):
        after = defaultdict(Fraction)
        for lit, probability in sets.items():
            for column in range(dim):
                after[lit | ({column} & visible)] += probability / dim
        sets = after
    return sets


def posterior_by_enumeration(dim):
    """Image (set of pixels) -> {line: joint probability}, for every image that can be drawn."""
    joint = defaultdict(dict)
    for line, ways in drawn_lines().items():
        pixels = lit_pixels(*line, dim)
        for lit, probability in lit_column_sets(frozenset(pixels), dim).items():
            if len(lit) > 2:
                joint[frozenset(pixels[column] for column in lit)][line] = float(ways * probability)
    return joint


@pytest.mark.parametrize("dim", [4, 5])
def test_posterior_of_every_small_image_equals_enumeration(dim):
    joint = posterior_by_enumeration(dim)
    pixels = np.zeros((len(joint), dim, dim), dtype=bool)
    mean, variance = np.empty((2, len(joint), 2))
    for i, (image, lines) in enumerate(joint.items()):
        pixels[(i, *np.transpose(list(image)))] = True
        params, weight = np.array(list(lines)), np.array(list(lines.values()))
        mean[i] = weight @ params / weight.sum()
        variance[i] = weight @ (params - mean[i]) ** 2 / weight.sum()
    result = posterior(pixels)
    np.testing.assert_allclose(result.mean, mean, atol=1e-12)
    np.testing.assert_allclose(result.variance, variance, atol=1e-12)
    for mode, lines in zip(result.mode, joint.values(), strict=True):
        assert lines[tuple(mode)] == pytest.approx(max(lines.values()))
    assert len(result.image) == sum(len(lines) for lines in joint.values())


@pytest.mark.parametrize("dim", [3, 7, 40, 64])
def test_lit_probability_is_the_exact_inclusion_exclusion(dim):
    table = lit_probability(dim)
    for visible in range(0, dim + 1, 3):
        for lit in range(min(visible, 20) + 1):
            hits = sum(
                (-1) ** missed * comb(lit, missed) * (dim - visible + lit - missed) ** 20
                for missed in range(lit + 1)
            )
            assert table[visible, lit] == pytest.approx(float(Fraction(hits, dim**20)), rel=1e-12)


def test_some_set_of_visible_columns_is_lit():
    table = lit_probability(40)
    for visible in range(41):
        sets = [comb(visible, lit) for lit in range(min(visible, 20) + 1)]
        assert table[visible, : len(sets)] @ sets == pytest.approx(1)


def test_prior_counts_all_draws():
    prior, count = lab_prior(), drawn_lines()
    assert prior.probability.sum() == pytest.approx(0.95)  # the rest is dx = 0
    assert len(prior.params) == len(count)
    for (m, c), probability in zip(prior.params, prior.probability, strict=True):
        assert probability == pytest.approx(count[m, c] / 16_000)


@pytest.mark.parametrize("dim", [5, 40])
def test_expected_squared_error_is_what_fresh_images_show(dim):
    images = lab_images(20_000, dim, FRESH)
    result = posterior(images.pixels)
    squared_errors = (result.mean - images.params) ** 2
    assert (np.abs(z_scores(squared_errors - result.variance)) < 4).all()
    # The mean is not off in any direction either.
    assert (np.abs(z_scores(result.mean - images.params)) < 4).all()


@pytest.mark.parametrize("dim", [5, 40])
def test_probabilities_are_calibrated(dim):
    images = lab_images(20_000, dim, FRESH)
    result = posterior(images.pixels)
    true = (result.params == images.params[result.image]).all(axis=1)
    for low, high in itertools.pairwise([0, 0.1, 0.25, 0.5, 0.75, 0.9, 1]):
        bin_ = (result.probability > low) & (result.probability <= high)
        if low == 0.9:
            bin_ &= result.probability < 1 - 1e-12
        expected = result.probability[bin_]
        deviation = (true[bin_] - expected).sum() / np.sqrt((expected * (1 - expected)).sum())
        assert abs(deviation) < 4, (low, high)


@pytest.mark.parametrize("dim", [3, 4, 17, 40, 101])
def test_true_line_is_always_among_the_possible_ones(dim):
    images = lab_images(300, dim, FRESH)
    result = posterior(images.pixels)
    true = (result.params == images.params[result.image]).all(axis=1)
    np.testing.assert_array_equal(result.image[true], np.arange(300))
    np.testing.assert_allclose(np.bincount(result.image, result.probability), 1)
    assert (result.variance >= 0).all()


def test_images_do_not_influence_each_other():
    pixels = lab_images(1500, 20, FRESH).pixels
    one_by_one = np.concatenate([posterior_mean(pixels[i : i + 1]) for i in range(1000, 1040)])
    np.testing.assert_allclose(posterior_mean(pixels)[1000:1040], one_by_one, rtol=1e-13)


def test_mode_of_equally_probable_lines_is_the_flattest():
    images = lab_images(300, 5, FRESH)
    result, mode, ties = posterior(images.pixels), posterior_mode(images.pixels), 0
    for image in range(300):
        params, probability = (
            column[result.image == image] for column in (result.params, result.probability)
        )
        best = params[np.isclose(probability, probability.max(), rtol=1e-12)]
        np.testing.assert_array_equal(mode[image], best[np.abs(best[:, 0]).argmin()])
        ties += len(best) > 1
    assert ties > 10


def test_no_images_have_an_empty_posterior():
    result = posterior(np.zeros((0, 40, 40), dtype=bool))
    assert result.mean.shape == result.variance.shape == result.mode.shape == (0, 2)


@pytest.mark.parametrize(
    "lit",
    [
        [],
        [(20, 3), (20, 4)],  # the generator would have drawn again
        [(20, 3), (20, 4), (21, 4)],  # two in a column
        [(20, 3), (20, 4), (2, 5)],  # no line is that crooked
        [(0, 3), (0, 4), (0, 5)],  # y = dim is not visible
        [(20, column) for column in range(21)],  # more than 20 draws can light
    ],
)
def test_an_image_that_cannot_be_drawn_is_refused_by_name(lit):
    pixels = lab_images(1200).pixels.copy()
    pixels[1100] = False
    for row, column in lit:
        pixels[1100, row, column] = True
    with pytest.raises(ValueError, match=f"image 1100 with {len(lit)} lit pixels is none of the"):
        posterior(pixels)


@pytest.mark.parametrize("shape", [(2, 40, 41), (40, 40)])
def test_pixels_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match="pixels has shape"):
        posterior(np.zeros(shape, dtype=bool))
