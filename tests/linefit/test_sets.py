"""Set architectures see the lit pixels, all of them, in no order, and nothing else."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from linefit.architectures import build
from linefit.images import lab_images

DATA = lab_images(4)
IMAGES = torch.from_numpy(DATA.pixels)[:, None].double()
NETS = {
    "pointnet": ("pointnet", "cartesian", "max_average", 8),
    "pointnet sum": ("pointnet", "gated", "sum", 8),
    "set_transformer": ("set_transformer(depth=2)", "sinusoidal", "none", 8),
}


def net_of(name):
    return build(*NETS[name], seed=0).double()


@pytest.mark.parametrize("name", NETS)
def test_what_channels_say_at_unlit_pixels_changes_nothing(name):
    net = net_of(name)
    before = net(IMAGES)
    places = IMAGES.sum((0, 1)) == 0
    net.coordinates.channels[:, places] = 7.0
    torch.testing.assert_close(net(IMAGES), before, rtol=1e-12, atol=1e-12)
    net.coordinates.channels[:, ~places] *= 2
    assert not torch.allclose(net(IMAGES), before)


@pytest.mark.parametrize("name", NETS)
def test_an_empty_image_has_a_finite_prediction(name):
    assert net_of(name)(torch.zeros(1, 1, 40, 40).double()).isfinite().all()


def test_pointnet_is_a_loop_over_lit_pixels():
    net = net_of("pointnet")
    columns = np.arange(-20, 20) / 40
    layers = [m for m in net.convolutions if isinstance(m, torch.nn.Conv2d)]
    expected = []
    for image in DATA.pixels:
        features = []
        for row, column in zip(*np.nonzero(image), strict=True):
            x = torch.tensor([1.0, columns[column], columns[row]]).float().double()
            for layer in layers:
                x = F.relu(layer.weight[:, :, 0, 0] @ x + layer.bias)
            features.append(x)
        points = torch.stack(features)
        expected.append(torch.cat([points.amax(0), points.sum(0) / 1600]))
    torch.testing.assert_close(net(IMAGES), net.head(torch.stack(expected)), rtol=1e-10, atol=1e-10)


def attention(layer, x):
    """One head after the other, one query after the other."""
    normal = F.layer_norm(x, x.shape[-1:], layer.norm1.weight, layer.norm1.bias)
    queries, keys, values = layer.queries_keys_values(normal).chunk(3, dim=-1)
    size = x.shape[-1] // layer.heads
    attended = torch.zeros_like(x)
    for head in range(layer.heads):
        part = slice(head * size, (head + 1) * size)
        for t in range(len(x)):
            scores = torch.stack([queries[t, part] @ key[part] for key in keys]) / size**0.5
            attended[t, part] = scores.softmax(0) @ values[:, part]
    x = x + layer.output(attended)
    normal = F.layer_norm(x, x.shape[-1:], layer.norm2.weight, layer.norm2.bias)
    return x + layer.feed_forward(normal)


def test_the_set_transformer_is_attention_among_the_lit_pixels_of_one_image():
    net = net_of("set_transformer")
    transformer = net.convolutions
    for image, prediction in zip(IMAGES, net(IMAGES), strict=True):
        channels = net.coordinates(image[None])[0]
        x = transformer.embedding(channels[:, image[0] > 0].T)
        for layer in transformer.layers:
            x = attention(layer, x)
        x = transformer.norm(x)
        expected = net.head(torch.cat([x.amax(0), x.mean(0)]))
        torch.testing.assert_close(prediction, expected, rtol=1e-10, atol=1e-10)


def test_the_set_transformer_looks_at_no_more_pixels_than_its_tokens():
    net = build("set_transformer(tokens=3)", "cartesian", "none", 8, seed=0)
    assert int(IMAGES[0].sum()) > 3
    three = torch.zeros(1, 1, 40, 40)
    three[0, 0].view(-1)[IMAGES[0].flatten().topk(3).indices] = 1
    torch.testing.assert_close(net(IMAGES[:1].float()), net(three), rtol=1e-4, atol=1e-4)
