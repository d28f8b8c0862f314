"""Every encoding against a slow loop over sites, on images that are no squares."""

import math

import numpy as np
import pytest
import torch

from linefit.coordinates import ConcatCoordinates, coordinates_module
from linefit.levels import COORDINATES

HEIGHT, WIDTH = 5, 8


def lab(column, row):
    return [(column - WIDTH // 2) / WIDTH, (row - HEIGHT // 2) / HEIGHT]


def sinusoids(column, row):
    omega = [100.0 ** (-k / 3) for k in range(3)]
    return [f(w * at) for at in (column, row) for f in (math.sin, math.cos) for w in omega]


DEFINITIONS = {
    "cartesian": lab,
    "cartesian_unit": lambda column, row: [
        2 * column / (WIDTH - 1) - 1,
        2 * row / (HEIGHT - 1) - 1,
    ],
    "cartesian_radius": lambda column, row: [*lab(column, row), math.hypot(*lab(column, row))],
    "pixels": lambda column, row: [column, row],
    "x_only": lambda column, row: lab(column, row)[:1],
    "y_only": lambda column, row: lab(column, row)[1:],
    "constant": lambda column, row: [0.5, 0.5],
    "sinusoidal": sinusoids,
}
PARAMETERS = "(frequencies=3,wavelength=100)"


def level(name):
    return name + PARAMETERS if name.startswith("sinusoidal") else name


def loop(name):
    """`(C, H, W)` by the definition, site by site."""
    sites = [[DEFINITIONS[name](column, row) for column in range(WIDTH)] for row in range(HEIGHT)]
    return np.array(sites).transpose(2, 0, 1)


def images(count=3):
    return (
        torch.rand(count, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) < 0.3
    ).float()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_channels_are_those_of_the_definition_in_every_image(name):
    lit = images()
    made = coordinates_module(level(name), HEIGHT, WIDTH)(lit)
    assert torch.equal(made[:, :1], lit)
    for channels in made[:, 1:]:
        np.testing.assert_allclose(channels, loop(name), atol=1e-6)


def test_none_leaves_the_image_as_it_is():
    lit = images()
    assert coordinates_module("none", HEIGHT, WIDTH)(lit) is lit


def test_the_labs_encoding_is_the_labs_to_the_bit():
    axis = torch.arange(-20, 20) / 40
    channels = coordinates_module("cartesian", 40, 40).channels
    assert torch.equal(channels, torch.stack([axis.expand(40, 40), axis[:, None].expand(40, 40)]))


def test_gated_is_the_coordinate_where_a_pixel_is_lit():
    lit = images()
    made = coordinates_module("gated", HEIGHT, WIDTH)(lit)
    for image, result in zip(lit[:, 0].numpy(), made.numpy(), strict=True):
        for row, column in np.ndindex(HEIGHT, WIDTH):
            expected = lab(column, row) if image[row, column] else [0, 0]
            np.testing.assert_allclose(result[1:, row, column], expected, atol=1e-6)


def test_added_sinusoids_are_on_the_image_instead_of_beside_it():
    lit = images()
    made = coordinates_module(level("sinusoidal_added"), HEIGHT, WIDTH)(lit)
    np.testing.assert_allclose(made, loop("sinusoidal") + lit.numpy(), atol=1e-6)


def test_fourier_features_are_waves_of_random_directions_and_of_the_bandwidth():
    made = coordinates_module("fourier(bandwidth=3.0,frequencies=500)", 9, 7)
    channels = made.channels.double().numpy()
    assert channels.shape == (1000, 9, 7)
    np.testing.assert_allclose(channels[:500] ** 2 + channels[500:] ** 2, 1, atol=1e-5)
    phase = np.arctan2(channels[500:], channels[:500])
    steps = []  # a wave's phase grows by the same step from every site to the next, up to turns
    for axis, size in ((2, 7), (1, 9)):
        step = np.exp(1j * np.diff(phase, axis=axis))
        first = step.take([0], axis=axis)
        np.testing.assert_allclose(step, np.broadcast_to(first, step.shape), atol=1e-5)
        steps.append(np.angle(first[:, 0, 0]) * size / (2 * np.pi))
    # At bandwidth 0.5 no step is a turn, so the frequencies can be read off.
    narrow = coordinates_module("fourier(bandwidth=0.5,frequencies=500)", 9, 7)
    phase = torch.atan2(narrow.channels[500:], narrow.channels[:500]).double().numpy()
    columns = phase[:, 0, 1] * 7 / (2 * np.pi)
    rows = phase[:, 1, 0] * 9 / (2 * np.pi)
    for frequencies in (columns, rows):
        assert abs(frequencies.mean()) < 4 * 0.5 / np.sqrt(500)
        assert 0.5 * 0.85 < frequencies.std() < 0.5 * 1.15
    assert abs(np.corrcoef(columns, rows)[0, 1]) < 0.2


def test_shuffled_has_the_pairs_of_cartesian_at_other_places():
    lit = images(1)
    plain, shuffled = (
        coordinates_module(name, HEIGHT, WIDTH)(lit)[0, 1:].flatten(1).numpy()
        for name in ("cartesian", "shuffled")
    )
    assert not np.array_equal(plain, shuffled)
    assert sorted(map(tuple, plain.T)) == sorted(map(tuple, shuffled.T))


def test_noise_has_the_variance_of_the_labs_coordinates():
    noise = coordinates_module("noise", 200, 200).channels
    lab_channels = coordinates_module("cartesian", 200, 200).channels
    assert abs(noise.std() / lab_channels.std() - 1) < 0.02
    assert abs(float(np.corrcoef(noise.flatten(1))[0, 1])) < 0.03


@pytest.mark.parametrize("name", ["fourier", "noise", "shuffled"])
def test_random_levels_are_drawn_from_their_own_seed(name):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, same, other = (
        coordinates_module(f"{name}(seed={seed})", HEIGHT, WIDTH).channels for seed in (4, 4, 5)
    )
    default = coordinates_module(name, HEIGHT, WIDTH).channels
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(default, coordinates_module(f"{name}(seed=0)", HEIGHT, WIDTH).channels)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_learned_map_is_learned_and_the_same_for_every_image():
    module = coordinates_module("learned(channels=3)", HEIGHT, WIDTH)
    made = module(images())
    assert made.shape == (3, 4, HEIGHT, WIDTH)
    assert torch.equal(made[0, 1:], made[2, 1:])
    made[:, 1:].sum().backward()
    assert torch.equal(module.channels.grad, torch.full((3, HEIGHT, WIDTH), 3.0))


def test_every_encoding_takes_any_size_and_any_number_of_input_channels():
    for name in COORDINATES:
        for height, width in ((1, 1), (3, 17), (16, 2)):
            batch = torch.zeros(2, 1, height, width)
            made = coordinates_module(name, height, width)(batch)
            assert made.shape[::2] == (2, height), name
            assert made.isfinite().all(), name
        if isinstance(module := coordinates_module(name, 4, 4), ConcatCoordinates):
            assert module(torch.zeros(2, 6, 4, 4)).shape[1] == 6 + len(module.channels)
