"""A study that trains in seconds: every part of the harness on real cells."""

from pathlib import Path

TEXT = """
title = "Two narrow nets on few images"
seeds = 3
[protocol]
epochs = 2
train_size = 96
batch_size = 32
[grid]
architecture = "conv1"
coordinates = ["none", "cartesian"]
pooling = "max"
width = 4
[evaluation]
splits = ["test"]
yardsticks = ["least_squares"]
"""


def write_tiny(directory: Path, text: str = TEXT) -> Path:
    """Write the study as `tiny.toml` and return its path."""
    path = directory / "tiny.toml"
    path.write_text(text)
    return path
