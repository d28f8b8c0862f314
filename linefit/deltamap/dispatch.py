"""What stands in for a tensor: torch hands every call on it to a table of operations, or it raises.

The tables are filled in `operations.py`; which operations there are is not known here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch

from linefit.deltamap.errors import UnsupportedOperation, unsupported

Handler = Callable[..., Any]
"""Has the parameters of the torch function of its name."""


class TensorLike:
    """Takes the place of a tensor in an unmodified `nn.Module`."""

    operations: ClassVar[dict[str, Handler]]
    precedence: ClassVar[int]  # of operands of several kinds, the highest one's table is read

    @property
    def device(self) -> torch.device:
        raise NotImplementedError

    def become(self, other: Any) -> Any:  # noqa: ARG002
        """Take another's values: an operation in place."""
        unsupported("an operation in place", f"on a {type(self).__name__}")

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return call(func, args, dict(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        method = getattr(torch.Tensor, name, None)
        if name.startswith("_") or method is None:
            raise AttributeError(f"a {type(self).__name__} has no attribute {name!r}")
        if not callable(method):
            unsupported(f"Tensor.{name}")
        return lambda *args, **kwargs: call(method, (self, *args), kwargs)

    @property
    def mT(self) -> Any:  # noqa: N802  (torch's name)
        return call(torch.transpose, (self, -2, -1))

    def __add__(self, other: Any) -> Any:
        return call(torch.add, (self, other))

    def __sub__(self, other: Any) -> Any:
        return call(torch.sub, (self, other))

    def __mul__(self, other: Any) -> Any:
        return call(torch.mul, (self, other))

    def __truediv__(self, other: Any) -> Any:
        return call(torch.div, (self, other))

    def __pow__(self, other: Any) -> Any:
        return call(torch.pow, (self, other))

    def __matmul__(self, other: Any) -> Any:
        return call(torch.matmul, (self, other))

    # In place, like a tensor: whoever else holds this map sees the change.
    def __iadd__(self, other: Any) -> Any:
        return call(torch.Tensor.add_, (self, other))

    def __isub__(self, other: Any) -> Any:
        return call(torch.Tensor.sub_, (self, other))

    def __imul__(self, other: Any) -> Any:
        return call(torch.Tensor.mul_, (self, other))

    def __itruediv__(self, other: Any) -> Any:
        return call(torch.Tensor.div_, (self, other))

    def __radd__(self, other: Any) -> Any:
        return self + other

    def __rmul__(self, other: Any) -> Any:
        return self * other

    def __rtruediv__(self, other: Any) -> Any:
        return call(torch.reciprocal, (self,)) * other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __neg__(self) -> Any:
        return call(torch.neg, (self,))

    def __abs__(self) -> Any:
        return call(torch.abs, (self,))


def _unsupported_method(name: str) -> Callable[..., Any]:
    def method(*_: Any, **__: Any) -> Any:
        unsupported(f"Tensor.{name}")

    return method


# Python looks these up on the class, past __getattr__, and its own errors would not be ours.
# fmt: off
for _name in (
    "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "xor", "invert", "pos", "getitem", "setitem", "rmatmul",
    "rpow", "mod", "rmod", "floordiv", "rfloordiv", "bool", "iter", "contains", "float", "int", "index",
):
    setattr(TensorLike, f"__{_name}__", _unsupported_method(f"__{_name}__"))
# fmt: on


def call(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
) -> Any:
    """Run `func` in its exact form, or raise `UnsupportedOperation`."""
    kwargs = dict(kwargs or {})
    if "axis" in kwargs:  # NumPy's name, which torch takes too
        kwargs["dim"] = kwargs.pop("axis")
    torch_name = getattr(func, "__name__", str(func))
    name = torch_name.strip("_")
    in_place = torch_name == f"{name}_" or kwargs.pop("inplace", False)
    if kwargs.get("out") is not None:
        unsupported(torch_name, "into a given output")
    likes = list(_tensor_likes([*args, *kwargs.values()]))
    if torch.is_autocast_enabled(likes[0].device.type):
        unsupported(torch_name, "under autocast, which would mix types in one map")
    kind = type(max(likes, key=lambda like: like.precedence))
    if name not in kind.operations:
        unsupported(torch_name, f"it has no exact form on a {kind.__name__}")
    handler = kind.operations[name]
    try:
        result = handler(*args, **kwargs)
    except TypeError as error:
        if _takes(handler, args, kwargs):
            raise
        raise UnsupportedOperation(f"{torch_name}: with these arguments ({error})") from error
    if in_place:
        target = args[0] if args else kwargs["input"]
        if not isinstance(target, TensorLike):
            unsupported(torch_name, "on a tensor, with a map")
        return target.become(result)
    return result


def _tensor_likes(operands: Sequence[Any]) -> Iterator[TensorLike]:
    for operand in operands:
        if isinstance(operand, TensorLike):
            yield operand
        elif isinstance(operand, list | tuple):
            yield from _tensor_likes(operand)


def _takes(handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        inspect.signature(handler).bind(*args, **kwargs)
    except TypeError:
        return False
    return True
