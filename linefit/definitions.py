"""What a level's definition says of itself, read from its source without importing it.

A level is a function or class named by a reference, `"package.module:name"` or `"path/to/file.py:name"`. Its positional
arguments say what it takes of a net (`width`, `channels`, ...), its keyword-only arguments are its parameters, with
type, legal range and default in the signature. The fingerprint is a hash of all the code that it is made of.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linefit.fingerprints import Source, fingerprint_of
from linefit.legal import Above, Between, Legal, Parameter, Value


class DefinitionError(ValueError):
    """A reference that leads to no usable level; the message names the file, the name and what was expected."""


@dataclass(frozen=True)
class Definition:
    """A level as its source declares it."""

    reference: str
    takes: tuple[
        str, ...
    ]  # positional arguments: what it asks of the net that it becomes a part of
    parameters: Mapping[str, Parameter]
    summary: str  # first paragraph of the docstring, on one line

    def read(self, texts: Mapping[str, str]) -> dict[str, Value]:
        """All parameters, those given as texts over the defaults. Raises ValueError for one unknown or not legal."""
        values = {name: parameter.default for name, parameter in self.parameters.items()}
        for name, text in texts.items():
            if name not in self.parameters:
                raise ValueError(f"{name}: expected one of {', '.join(values) or '(no parameter)'}")
            try:
                values[name] = self.parameters[name].legal.parse(text)
            except ValueError as error:
                raise ValueError(f"{name}={text}: expected {error}") from None
        return values


def definition(reference: str) -> Definition:
    """The definition that a reference leads to. Raises DefinitionError."""
    return _definition(reference, *_locate(reference))


@functools.lru_cache(256)
def _definition(reference: str, source: Source, name: str) -> Definition:
    nodes = source.definitions.get(name, [])
    node = nodes[-1] if nodes else None
    if not isinstance(node, ast.FunctionDef | ast.ClassDef):
        found = ", ".join(source.callables) or "none"
        raise DefinitionError(
            f"{source.path}: {name!r}: expected the name of a function or class of this file: {found}"
        )
    signature = _signature(node, source)
    where = f"{source.path}: {name}"
    takes, parameters = _arguments(signature, where) if signature else ((), {})
    docstring = ast.get_docstring(node) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return Definition(reference, takes, parameters, paragraph)


def fingerprint(reference: str) -> str:
    """A hash of all the code of a level, see `linefit.fingerprints`. Raises DefinitionError."""
    definition(reference)
    return fingerprint_of(*_locate(reference))[0]


def files(reference: str) -> set[Path]:
    """The files that hold the code of a level. Raises DefinitionError."""
    return fingerprint_of(*_locate(reference))[1]


def load(reference: str) -> Callable[..., Any]:
    """Import the function or class that a reference names. Raises DefinitionError where that fails."""
    source, name = _locate(reference)
    module_name = reference.rpartition(":")[0]
    try:
        if module_name.endswith(".py"):
            module = _load_file(source.path, source.path.stat().st_mtime_ns)
        else:
            module = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's file may raise
        raise DefinitionError(
            f"{source.path}: expected a module that can be imported ({type(error).__name__}: {error})"
        ) from error
    found: Callable[..., Any] = getattr(module, name)
    return found


def construct(reference: str, parameters: dict[str, Value], context: dict[str, Any]) -> Any:
    """Call a level with what it takes of `context` and its parameters."""
    takes = definition(reference).takes
    unknown = [name for name in takes if name not in context]
    if unknown:
        raise DefinitionError(
            f"{reference}: argument {unknown[0]}: expected one of {', '.join(context)}, or a parameter: keyword-only,"
            " with a type and a default"
        )
    return load(reference)(**{name: context[name] for name in takes}, **parameters)


@functools.cache
def _load_file(path: Path, _modified: int) -> Any:
    """Import a file that is in no package; files beside it can be imported by it."""
    name = f"levels_of_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look modules up
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def _locate(reference: str) -> tuple[Source, str]:
    module, _, name = reference.rpartition(":")
    if not module or not name.isidentifier():
        raise DefinitionError(
            f"{reference!r}: expected a reference, module:name or path/to/file.py:name"
        )
    path = Path(module).resolve() if module.endswith(".py") else _module_file(module)
    try:
        return Source.read(path), name
    except (OSError, SyntaxError, ValueError) as error:
        raise DefinitionError(f"{path}: expected a readable file of Python ({error})") from error


@functools.cache
def _module_file(module: str) -> Path:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise DefinitionError(f"{module}: expected a module that is installed ({error})") from error
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise DefinitionError(f"{module}: expected a module written in Python that is installed")
    return Path(spec.origin)


def _signature(node: ast.stmt, source: Source) -> ast.arguments | None:
    """Arguments of a function, or of a class's `__init__`, which a base class in the same file may define."""
    if isinstance(node, ast.FunctionDef):
        return node.args
    if not isinstance(node, ast.ClassDef):
        return None
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return ast.arguments(
                **{
                    **dict(ast.iter_fields(statement.args)),
                    "args": statement.args.args[1:],  # without self
                }
            )
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in source.definitions:
            return _signature(source.definitions[base.id][-1], source)
    return None


def _arguments(
    arguments: ast.arguments, where: str
) -> tuple[tuple[str, ...], dict[str, Parameter]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    required = positional[: len(positional) - len(arguments.defaults)]
    parameters = {
        argument.arg: _parameter(argument, default, where)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    }
    return tuple(argument.arg for argument in required), parameters


def _parameter(argument: ast.arg, default: ast.expr | None, where: str) -> Parameter:
    try:
        if default is None:
            raise ValueError
        legal = _legal(argument.annotation)
        return Parameter(legal, legal.read(ast.literal_eval(default)))
    except (ValueError, KeyError) as error:
        raise DefinitionError(
            f"{where}: parameter {argument.arg}: expected a legal default and a type: bool, int, float, str,"
            " Literal[...] or Annotated[float, Between(low, high)]"
        ) from error


def _legal(annotation: ast.expr | None) -> Legal:
    """What `linefit.legal.legal_values` makes of the type, from its source. Raises ValueError and KeyError."""
    kinds: dict[str, type[Any]] = {"bool": bool, "int": int, "float": float, "str": str}
    match annotation:
        case ast.Name(id=kind):
            return Legal(kinds[kind])
        case ast.Subscript(
            value=ast.Name(id="Annotated"),
            slice=ast.Tuple(
                elts=[ast.Name(id=kind), ast.Call(func=ast.Name(id=bounds), args=arguments)]
            ),
        ):
            limits = {"Between": Between, "Above": Above}[bounds]
            return Legal(kinds[kind], limits(*map(ast.literal_eval, arguments)))
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            given = ast.literal_eval(choices)
            options = given if isinstance(given, tuple) else (given,)
            return Legal(type(options[0]), choices=options)
    raise ValueError
