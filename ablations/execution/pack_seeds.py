"""What the seeds of a pack's cells draw: the orders of images, and images of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from ablations.study.study import Cell
from linefit.images import fresh_images
from linefit.packs import HostExamples, train_pack
from linefit.packs.training import Trainable, Validation
from linefit.protocol import Protocol
from linefit.targets import targets_of
from linefit.training import Training, cell_seeds


@dataclass(frozen=True)
class Seeds:
    """The seeds of a pack's cells: those with the same one share the order of images, and images that it draws."""

    protocol: Protocol
    distinct: tuple[int, ...]
    order_of: tuple[int, ...]  # index into `distinct`, of each cell

    @staticmethod
    def of(job: Sequence[Cell]) -> Seeds:
        distinct = tuple(dict.fromkeys(cell.seed for cell in job))
        return Seeds(job[0].protocol, distinct, tuple(distinct.index(cell.seed) for cell in job))

    def train(
        self,
        pack: Trainable[Validation],
        validation: Validation,
        on_epoch: Callable[[int], object],
    ) -> list[Training]:
        protocol = self.protocol
        shuffles = [torch.Generator().manual_seed(cell_seeds(seed)[1]) for seed in self.distinct]
        return train_pack(
            pack,
            validation,
            protocol.train_size,
            protocol.epochs,
            shuffles,
            on_epoch,
            own_images=protocol.training_set != "fixed",
            fresh=self.images if protocol.training_set == "fresh" else None,
        )

    def images(self, epoch: int) -> HostExamples:
        """The images of an epoch, counted from 1, of one seed after the other; by as many threads as torch has."""
        size = self.protocol.train_size
        first = (epoch - 1) * size if self.protocol.training_set == "fresh" else 0
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            drawn = list(
                threads.map(lambda seed: fresh_images(size, seed, first=first), self.distinct)
            )
        form = self.protocol.target, self.protocol.loss
        return HostExamples(
            np.concatenate([images.pixels for images in drawn]),
            np.concatenate([targets_of(images, *form) for images in drawn]),
        )
