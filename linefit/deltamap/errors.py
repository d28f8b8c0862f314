"""The one error of delta maps."""

from typing import NoReturn


class UnsupportedOperation(TypeError):  # noqa: N818  (named like NotImplementedError's kin: what is not supported)
    """An operation has no exact form on delta maps: its message names the operation. Train on dense maps instead."""


def unsupported(operation: str, reason: str = "it has no exact form on delta maps") -> NoReturn:
    raise UnsupportedOperation(f"{operation}: {reason}")
