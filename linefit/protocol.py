"""The protocol: how a net is trained, as plain settings. What acts on them is in the rooms that they name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Engine = Literal["auto", "dense"]
ENGINES: tuple[Engine, ...] = get_args(Engine)


@dataclass(frozen=True)
class Protocol:
    """How a net is trained. The defaults are the lab's: mean squared error over both outputs, Adam, no schedule."""

    train_size: int = 5000  # images of the training split, from its first on
    epochs: int = 100
    batch_size: int = 128  # reshuffled every epoch, the last batch is the remainder
    learning_rate: float = 1e-3
    engine: Engine = "auto"  # delta maps where the net allows it, or always dense tensors

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, the remainder counted."""
        return -(-self.train_size // self.batch_size)
