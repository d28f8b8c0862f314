"""What a net is to say of an image: the drawn line or the exact posterior, as values or as distributions."""

from typing import get_args

import numpy as np
import pytest

from linefit.images import lab_images
from linefit.posterior import lab_prior, posterior
from linefit.protocol import Loss, Target
from linefit.targets import targets_of

IMAGES = lab_images(150, random_offset=4_000_000)
SLOPES, INTERCEPTS = (np.unique(values) for values in (lab_prior().slope, lab_prior().intercept))


def test_points_are_the_lines_and_the_posterior_means():
    for loss in ("mse", "huber", "l1"):
        np.testing.assert_array_equal(targets_of(IMAGES, "truth", loss), IMAGES.params)
        means = posterior(IMAGES.pixels).mean
        np.testing.assert_array_equal(targets_of(IMAGES, "posterior", loss), means)


def test_distributions_by_a_loop_over_the_lines_of_each_image():
    found = posterior(IMAGES.pixels)
    expected = np.zeros((len(IMAGES), len(SLOPES) + len(INTERCEPTS)))
    for image, (slope, intercept), probability in zip(
        found.image, found.params, found.probability, strict=True
    ):
        expected[image, list(SLOPES).index(slope)] += probability
        expected[image, len(SLOPES) + list(INTERCEPTS).index(intercept)] += probability
    np.testing.assert_allclose(targets_of(IMAGES, "posterior", "cross_entropy"), expected, atol=0)


@pytest.mark.parametrize("target", get_args(Target))
def test_expectations_of_the_distributions_are_the_points(target):
    distributions = targets_of(IMAGES, target, "cross_entropy")
    slope, intercept = np.split(distributions, [len(SLOPES)], axis=1)
    np.testing.assert_allclose(slope.sum(1), 1)
    np.testing.assert_allclose(intercept.sum(1), 1)
    expectations = np.stack([slope @ SLOPES, intercept @ INTERCEPTS], axis=1)
    np.testing.assert_allclose(expectations, targets_of(IMAGES, target, "mse"), atol=1e-5)


def test_the_posterior_mean_is_what_the_lines_are_on_average():
    """Over images, the line less the posterior mean has mean 0, also weighted by the posterior mean."""
    images = lab_images(20_000, random_offset=4_000_000)
    mean = targets_of(images, "posterior", "mse")
    for weight in (1.0, mean):
        product = weight * (targets_of(images, "truth", "mse") - mean)
        z = product.mean(0) / (product.std(0) / np.sqrt(len(images)))
        assert (np.abs(z) < 4).all()


def test_every_loss_has_both_targets():
    for loss in get_args(Loss):
        for target in get_args(Target):
            assert len(targets_of(IMAGES, target, loss)) == len(IMAGES)
