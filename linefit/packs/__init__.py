"""Packs: many cells of one shape trained together, every product batched over them, in a step that a GPU can replay.

`recognise` tells whether a net fits and its `Shape`; `Pack` holds the cells and takes their steps; `train_pack` runs
the lab's protocol. `sites` has the index tables, `layers` and `maximum` the arithmetic, `graphs` the recording.
"""

from linefit.packs.pack import Pack, PackExamples
from linefit.packs.recognition import UnpackableError, recognise
from linefit.packs.sites import PackImages
from linefit.packs.training import predict, train_pack, unpackable_setting

__all__ = [
    "Pack",
    "PackExamples",
    "PackImages",
    "UnpackableError",
    "predict",
    "recognise",
    "train_pack",
    "unpackable_setting",
]
