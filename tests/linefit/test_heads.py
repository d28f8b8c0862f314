"""Heads against slow loops, and what they promise."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from linefit.architectures import build
from linefit.closed_form import least_squares
from linefit.heads import Categorical, LeastSquares
from linefit.images import lab_images
from linefit.posterior import lab_prior

DATA = lab_images(6)
IMAGES = torch.from_numpy(DATA.pixels)[:, None].double()


def maps(channels=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(IMAGES), channels, 40, 40, dtype=torch.float64, generator=generator)


def test_least_squares_is_a_weighted_fit_of_the_lit_pixels():
    torch.manual_seed(0)
    head = LeastSquares(3, 3, 40, 40).double()
    features = maps()
    found = head(features, features, IMAGES).detach()
    scores = F.conv2d(features, head.score.weight, head.score.bias).detach().numpy()[:, 0]
    for image, score, line in zip(DATA.pixels, scores, found, strict=True):
        rows, columns = np.nonzero(image)
        weights = 1 / (1 + np.exp(-score[rows, columns]))
        expected = np.polyfit(columns, 40 - rows, 1, w=np.sqrt(weights))
        np.testing.assert_allclose(line, expected, rtol=1e-9, atol=1e-9)


def test_with_equal_weights_it_is_the_yardstick_in_float32_too():
    head = LeastSquares(3, 3, 40, 40)
    with torch.no_grad():
        head.score.weight.zero_()
    data = lab_images(500, random_offset=99_999)
    images = torch.from_numpy(data.pixels)[:, None].float()
    features = torch.zeros(500, 3, 40, 40)
    found = head(features, features, images).detach().numpy()
    # float32 solves the worst of the systems to a few thousandths, far below the error of least squares itself
    np.testing.assert_allclose(found, least_squares(data.pixels), atol=0.02)


def test_least_squares_has_gradients_and_a_residual():
    torch.manual_seed(0)
    head = LeastSquares(2, 5, 6, 7, residual=True).double()
    images = torch.zeros(2, 1, 6, 7, dtype=torch.float64)
    for image, row, column in ((0, 1, 1), (0, 2, 3), (0, 4, 6), (1, 5, 0), (1, 3, 2), (1, 0, 4)):
        images[image, 0, row, column] = 1
    features = torch.randn(2, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    vector = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, m: head(v, m, images), (vector, features))
    line = head(vector, features, images)
    assert torch.allclose(
        line - head.residual(vector),
        head(torch.zeros(2, 5).double(), features, images)
        - head.residual(torch.zeros(2, 5).double()),
    )


def test_the_categorical_head_is_the_expectation_over_the_prior():
    torch.manual_seed(0)
    head = Categorical(4).double()
    vector = torch.randn(3, 4, dtype=torch.float64)
    slopes, intercepts = np.unique(lab_prior().slope), np.unique(lab_prior().intercept)
    outputs = head.layers(vector).detach().numpy()
    for output, line in zip(outputs, head(vector).detach(), strict=True):
        expected = []
        for values, logits in (
            (slopes, output[: len(slopes)]),
            (intercepts, output[len(slopes) :]),
        ):
            shares = np.exp(logits) / np.exp(logits).sum()
            expected.append(
                sum(share * float(value) for share, value in zip(shares, values, strict=True))
            )
        np.testing.assert_allclose(line, expected, rtol=1e-6)


def test_classes_are_the_lines_own_and_cross_entropy_brings_the_expectation_to_them():
    head = Categorical(1)
    lines = torch.from_numpy(DATA.params)
    slope, intercept = head.classes(lines)
    assert torch.equal(torch.stack([head.slopes[slope], head.intercepts[intercept]], 1), lines)
    logits = (
        1e3 * F.one_hot(slope, len(head.slopes)).float(),
        1e3 * F.one_hot(intercept, 40).float(),
    )
    torch.testing.assert_close(head.expectation(logits), lines)
    assert F.cross_entropy(logits[0], slope) + F.cross_entropy(logits[1], intercept) < 1e-6


def test_a_net_gives_the_logits_of_its_categorical_head_and_no_others():
    net = build("conv1", "cartesian", "max", 4, head="categorical", seed=0)
    images = IMAGES.float()
    assert torch.equal(net.head.expectation(net.logits(images)), net(images))
    with pytest.raises(TypeError, match="no logits"):
        build("conv1", "cartesian", "max", 4, seed=0).logits(images)
