"""The compiled library, called through ctypes: raw pointers and sizes, no Python or torch headers.

Functions and structures are those of `src/library.cpp` and `src/program.h`.
"""

from __future__ import annotations

import ctypes
import functools
from importlib import util
from typing import Literal

from torch import Tensor

MAX_DEPTH = 8
Pointer = ctypes.c_void_p
FUNCTIONS = ("free_runner", "predict", "runner", "train")


class ProgramStruct(ctypes.Structure):
    _fields_ = (
        ("depth", ctypes.c_int32),
        ("side", ctypes.c_int32),
        ("channels", ctypes.c_int32 * (MAX_DEPTH + 1)),
        ("pooling", ctypes.c_int32),
        ("pooling_size", ctypes.c_int32),
        ("hidden", ctypes.c_int32),
        ("unit", ctypes.c_int32),
    )


class ParametersStruct(ctypes.Structure):
    _fields_ = tuple(
        (name, Pointer)
        for name in (
            "theta",
            "mean",
            "square",
            "large",
            "large_mean",
            "large_square",
            "met",
            "positions",
        )
    )


class StepsStruct(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_int64),
        ("order", Pointer),
        ("ends", Pointer),
        ("learning_rate", Pointer),
        ("done", ctypes.c_int64),
        ("beta1", ctypes.c_double),
        ("beta2", ctypes.c_double),
        ("epsilon", ctypes.c_double),
        ("weight_decay", ctypes.c_double),
        ("loss", ctypes.c_int32),
    )


def parameters_struct(*tensors: Tensor | None) -> ParametersStruct:
    """Pointers to the tensors, which must outlive it."""
    return ParametersStruct(*(None if found is None else found.data_ptr() for found in tensors))


@functools.cache
def library() -> ctypes.CDLL | None:
    """The library with its signatures, None where it was not built. Raises ImportError for one of other sources."""
    found = util.find_spec("linefit.fused._step")
    if found is None or found.origin is None:
        return None
    library = ctypes.CDLL(found.origin)
    try:
        return _with_signatures(library)
    except AttributeError as error:
        raise other_sources(library) from error


def other_sources(library: ctypes.CDLL) -> ImportError:
    """What to raise for a library that is not of these sources."""
    return ImportError(
        f"{library._name} was built from other sources; build it again: pip install -e ."
    )


def _with_signatures(library: ctypes.CDLL) -> ctypes.CDLL:
    i32, i64 = ctypes.c_int32, ctypes.c_int64
    library.linefit_instruction_set.restype = ctypes.c_char_p
    library.linefit_instruction_set.argtypes = (ctypes.c_int,)
    library.linefit_layout_size.restype = i64
    library.linefit_layout_size.argtypes = (Pointer,)
    library.linefit_tables.restype = Pointer
    library.linefit_tables.argtypes = (Pointer, i64, i32, i32, i32, i32, Pointer)
    library.linefit_similar.restype = ctypes.POINTER(i32)
    library.linefit_similar.argtypes = (Pointer,)
    library.linefit_tables_bytes.restype = i64
    library.linefit_tables_bytes.argtypes = (Pointer,)
    library.linefit_free_tables.restype = None
    library.linefit_free_tables.argtypes = (Pointer,)
    arguments = {
        "runner": (ctypes.c_char_p, Pointer),
        "free_runner": (Pointer,),
        "train": (*[Pointer] * 7,),
        "predict": (*[Pointer] * 5, i64, i64, Pointer),
    }
    results = {
        "runner": Pointer,
        "free_runner": None,
        "train": ctypes.c_int,
        "predict": ctypes.c_int,
    }
    for name in FUNCTIONS:
        for kind in ("float", "double"):
            function = getattr(library, f"linefit_{name}_{kind}")
            function.argtypes, function.restype = arguments[name], results[name]
    return library


def built_library() -> ctypes.CDLL:
    """The library. Raises RuntimeError where it was not built."""
    found = library()
    if found is None:
        raise RuntimeError("the compiled training step was not built when linefit was installed")
    return found


def instruction_sets() -> list[str]:
    """Those that the library has and this processor supports, best first; empty where it was not built."""
    found = library()
    if found is None:
        return []
    names: list[str] = []
    while (name := found.linefit_instruction_set(len(names))) is not None:
        names.append(name.decode())
    return names


def instruction_set() -> str | None:
    """The instruction set that nets are trained with, None where the library was not built."""
    return next(iter(instruction_sets()), None)


def kind_of(tensor: Tensor) -> Literal["float", "double"]:
    return "float" if tensor.element_size() == 4 else "double"
