"""The lab's splits, made once a process: trainers, yardsticks and reports ask for the same images over and over."""

from __future__ import annotations

import functools

from linefit.images import SPLITS, LineImages, lab_images, lab_split
from linefit.prior import Region


@functools.cache
def training_images(size: int, region: Region = "all") -> LineImages:
    """The first `size` images of the lab's training split, which may be larger than the lab's, of lines of a region."""
    return lab_images(size, region=region)


@functools.cache
def validation_images(region: Region = "all") -> LineImages:
    """Val for nets that are trained on lines of a region: none of another is to choose among their weights."""
    val = SPLITS["val"]
    return lab_images(val.size, val.dim, val.random_offset, region)


@functools.cache
def evaluation_images(split: str) -> LineImages:
    """The images of an evaluation split, or the lab's val."""
    return lab_split(split)
