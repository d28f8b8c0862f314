"""The lab's splits, made once a process: trainers, yardsticks and reports ask for the same images over and over."""

from __future__ import annotations

import functools

from linefit.images import LineImages, lab_images, lab_split


@functools.cache
def training_images(size: int) -> LineImages:
    """The first `size` images of the lab's training split, which may be larger than the lab's."""
    return lab_images(size)


@functools.cache
def evaluation_images(split: str) -> LineImages:
    """The images of val or of an evaluation split."""
    return lab_split(split)
