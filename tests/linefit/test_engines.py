"""Which engine trains a net, on which device."""

import pytest
import torch

from linefit.architectures import build
from linefit.engines import engine_for, resolve_device
from linefit.images import lab_images

CPU = torch.device("cpu")
PIXELS = lab_images(4).pixels


def test_nets_with_an_exact_delta_form_train_with_it_and_others_say_why_not():
    net = build("conv2", "cartesian", "max", 3, seed=0)
    assert engine_for(net, PIXELS, "auto", torch.float32, CPU) == ("delta", "")
    assert engine_for(net, PIXELS, "dense", torch.float32, CPU) == ("dense", "")
    strided = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, stride=2), torch.nn.Flatten())
    engine, reason = engine_for(strided, PIXELS, "auto", torch.float32, CPU)
    assert engine == "dense"
    assert "conv2d" in reason


class LessItsMean(torch.nn.Module):
    def forward(self, x):
        return (x - x.mean((2, 3), keepdim=True)).amax((2, 3))


def test_a_net_whose_tensors_differ_from_image_to_image_trains_densely():
    engine, reason = engine_for(LessItsMean(), PIXELS, "auto", torch.float32, CPU)
    assert engine == "dense"
    assert "image to image" in reason


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cpu:x", "cuda:99", "cuda:999"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ValueError, match=device):
        resolve_device(device)
