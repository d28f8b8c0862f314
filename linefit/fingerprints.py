"""A hash of all the code that a definition is made of, which tells whether its numbers can have changed.

Docstrings, comments, annotations, the layout and the file in which code stands are no part of it. What a definition
uses of its own package, or of files beside its own, is; what it uses of installed packages is not.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


@dataclass(frozen=True, eq=False)
class Source:
    """A parsed file of Python."""

    path: Path
    tree: ast.Module

    @staticmethod
    def read(path: Path) -> Source:
        """The file as it is now. Raises OSError, SyntaxError and ValueError for what is no file of Python."""
        state = path.stat()
        return _parsed(path, state.st_mtime_ns, state.st_size)

    @cached_property
    def definitions(self) -> dict[str, list[ast.stmt]]:
        """The statements at the module's level that define or change each of its names, imports left out."""
        found: dict[str, list[ast.stmt]] = {}
        for statement in _statements(self.tree.body):
            for name in _defined(statement):
                found.setdefault(name, []).append(statement)
        return found

    @property
    def callables(self) -> list[str]:
        """The public functions and classes."""
        kinds = (ast.FunctionDef, ast.ClassDef)
        return [
            name
            for name, nodes in self.definitions.items()
            if isinstance(nodes[-1], kinds) and not name.startswith("_")
        ]

    def imports(self, node: ast.AST) -> dict[str, tuple[Path, str | None]]:
        """Names that imports in `node` bind to code that counts: the file, and the name in it (None: all of it)."""
        found: dict[str, tuple[Path, str | None]] = {}
        for statement in ast.walk(node):
            if isinstance(statement, ast.Import):
                for alias in statement.names:
                    path = self._own(alias.name, 0)
                    if path is not None:
                        found[alias.asname or alias.name.partition(".")[0]] = (path, None)
            elif isinstance(statement, ast.ImportFrom):
                for alias in statement.names:
                    module = statement.module or ""
                    inner = self._own(f"{module}.{alias.name}".lstrip("."), statement.level)
                    outer = self._own(module, statement.level)
                    if inner is not None:
                        found[alias.asname or alias.name] = (inner, None)
                    elif outer is not None:
                        found[alias.asname or alias.name] = (outer, alias.name)
        return found

    def _own(self, module: str, level: int) -> Path | None:
        """The file of a module of the same package or, outside packages, in the same folder."""
        package = self.path.parent
        if level:
            base = package.joinpath(*[".."] * (level - 1)).resolve()
        else:
            base = package
            while (base / "__init__.py").is_file():
                base = base.parent
            top = module.partition(".")[0]
            if base != package and (base / top) not in self.path.parents:
                return None
        parts = [part for part in module.split(".") if part]
        for candidate in (
            base.joinpath(*parts).with_suffix(".py") if parts else base / "__init__.py",
            base.joinpath(*parts, "__init__.py"),
        ):
            if candidate.is_file():
                return candidate
        return None


@functools.lru_cache(256)
def _parsed(path: Path, _modified: int, _size: int) -> Source:
    return Source(path, ast.parse(path.read_text(encoding="utf-8"), str(path)))


def fingerprint_of(source: Source, name: str) -> tuple[str, set[Path]]:
    """SHA-256, 64 hexadecimal digits, of a definition and of all that it uses of its own package or folder; and the
    files that hold it all."""
    texts: set[str] = set()
    visited: set[tuple[Path, str | None]] = set()
    waiting: list[tuple[Source, str | None]] = [(source, name)]
    while waiting:
        place, wanted = waiting.pop()
        if (place.path, wanted) in visited:
            continue
        visited.add((place.path, wanted))
        nodes: list[ast.stmt] = (
            place.tree.body if wanted is None else place.definitions.get(wanted, [])
        )
        imported = place.imports(place.tree)
        if wanted is not None and not nodes and wanted in imported:  # handed on by an import
            waiting.append(_target(imported[wanted]))
        for node in nodes:
            texts.add(repr(_normal(node)))
            local = {**imported, **place.imports(node)}
            for used in _names(node):
                if used in place.definitions:
                    waiting.append((place, used))
                elif used in local:
                    waiting.append(_target(local[used]))
    digest = hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()
    return digest, {path for path, _ in visited}


def _target(imported: tuple[Path, str | None]) -> tuple[Source, str | None]:
    return Source.read(imported[0]), imported[1]


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those under `if` and `try` too."""
    for statement in body:
        if isinstance(statement, ast.If | ast.Try):
            for part in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(statement, part, []))
            for handler in getattr(statement, "handlers", []):
                yield from _statements(handler.body)
        else:
            yield statement


def _defined(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For | ast.With):
        return [
            node.id
            for node in ast.walk(statement)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        ]
    return []


def _names(node: ast.AST) -> Iterator[str]:
    """Names that code uses, annotations left out."""
    if isinstance(node, ast.Name):
        yield node.id
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _names(child)


def _normal(value: Any) -> Any:
    """The syntax tree as nested tuples: without positions, annotations and docstrings, and without what is empty, so
    that versions of Python that know of more fields agree."""
    if isinstance(value, list):
        return tuple(_normal(item) for item in value if not _is_text(item))
    if not isinstance(value, ast.AST):
        return value
    fields = tuple(
        (name, _normal(item))
        for name, item in ast.iter_fields(value)
        if name not in ("annotation", "returns", "type_comment", "kind") and item not in (None, [])
    )
    return (type(value).__name__, *fields)


def _is_text(node: Any) -> bool:
    """Whether a statement is a text alone: a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
