"""The lab's train split, all streams at once in NumPy and image by image in torch, side by side.

The baseline is already twice as fast as the same loop with `torch.manual_seed`, see `lab_generator`.
"""

from __future__ import annotations

import pytest

from linefit.images import lab_images
from tests.linefit.lab_generator import line_images

GENERATORS = {"all at once, numpy": lab_images, "image by image, torch": line_images}


@pytest.mark.benchmark(group="5,000 lab images")
@pytest.mark.parametrize("generator", GENERATORS)
def test_lab_images(benchmark, generator):
    benchmark.pedantic(GENERATORS[generator], (5000,), rounds=5, warmup_rounds=1)
