"""Index tables of the compiled step in the library's memory, and how many of them a process keeps."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linefit.fused.library import built_library

KEPT_BYTES = 2**29  # 50,000 images of the lab take 0.2 GB for two convolutions, 0.5 GB for three


@dataclass(frozen=True, eq=False)
class Tables:
    """Index tables of one data set for one kind of net, freed with the last reference to them."""

    handle: int
    similar: Tensor  # (N,) int64: images in an order in which they share most features with their neighbours
    memory: int  # in bytes


def build_tables(
    pixels: NDArray[np.bool_], depth: int, side: int, classes: NDArray[np.int32]
) -> Tables:
    """Tables of images `(N, height, width)`, contiguous, for nets of `depth` convolutions by kernels `side` x `side`.

    `classes` `(height * width,)` numbers the values that the constant channels have at the sites. Raises MemoryError.
    """
    library = built_library()
    images, height, width = pixels.shape
    handle = library.linefit_tables(
        pixels.ctypes.data, images, height, width, depth, side, classes.ctypes.data
    )
    if handle is None:
        raise MemoryError(f"no memory for the index tables of {images} images")
    similar = np.ctypeslib.as_array(library.linefit_similar(handle), (images,))
    order = torch.from_numpy(similar.astype(np.int64))
    tables = Tables(handle, order, library.linefit_tables_bytes(handle))
    weakref.finalize(tables, library.linefit_free_tables, handle)
    return tables


class KeptTables:
    """Tables of many data sets and kinds of nets, about `limit` bytes of them at most.

    Where they end, the kind of net that was used least recently loses all of its tables. Of a kind that is too large
    alone stay those that came first, the very first whatever its size: data sets are gone through in one order over and
    over, so that the least recent one is always the next.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self.limit = limit
        self._kinds: OrderedDict[Hashable, WeakKeyDictionary[object, Tables]] = OrderedDict()

    @property
    def memory(self) -> int:
        return sum(tables.memory for kind in self._kinds.values() for tables in kind.values())

    def find(self, kind: Hashable, images: object, make: Callable[[], Tables]) -> Tables:
        """The tables of a data set, kept as long as it lives, for a kind of net; made if they are not here."""
        of_kind = self._kinds.setdefault(kind, WeakKeyDictionary())
        self._kinds.move_to_end(kind)
        found = of_kind.get(images)
        if found is None:
            found = make()
            while len(self._kinds) > 1 and self.memory + found.memory > self.limit:
                self._kinds.popitem(last=False)
            if not self.memory or self.memory + found.memory <= self.limit:
                of_kind[images] = found
        return found
