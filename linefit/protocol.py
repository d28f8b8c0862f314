"""The protocol: how a net is trained, as plain settings. What acts on them is in the rooms that they name.

To add a setting, add one field: study files, command lines and keys take its name, its legal values (see
`linefit.legal`) and its default from here. Cells that leave it at its default keep their keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from linefit.images import SPLITS
from linefit.legal import Above, Between

Engine = Literal["auto", "dense"]
# Beyond this many images the training split would reach into the seeds of val.
MOST_TRAINING_IMAGES = SPLITS["val"].random_offset


@dataclass(frozen=True)
class Protocol:
    """How a net is trained. The defaults are the lab's: mean squared error over both outputs, Adam, no schedule."""

    # images of the training split, from its first on
    train_size: Annotated[int, Between(1, MOST_TRAINING_IMAGES)] = 5000
    epochs: Annotated[int, Between(1, 100_000)] = 100
    # reshuffled every epoch, the last batch is the remainder
    batch_size: Annotated[int, Between(1, MOST_TRAINING_IMAGES)] = 128
    learning_rate: Annotated[float, Above(0)] = 1e-3
    engine: Engine = "auto"  # delta maps where the net allows it, or always dense tensors

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, the remainder counted."""
        return -(-self.train_size // self.batch_size)
