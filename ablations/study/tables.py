"""Tables of a parsed TOML file, read with every mistake collected on the way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ablations.study.problems import Problem, nearest


class Tables:
    """What a reader of a file stands on: `problems` grows, and what is legal is handed on."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def entries(
        self, data: Mapping[str, Any], key: str, legal: Iterable[str]
    ) -> list[tuple[str, dict[str, Any]]]:
        """The tables under `[[key]]`, each with the key that problems call it."""
        value = data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            self.problem(key, value, f"tables, each under [[{key}]]")
            return []
        names = tuple(legal)
        named = [(f"{key}[{i}]", entry) for i, entry in enumerate(value)]
        return [(where, self.known(entry, f"{where}.", names)) for where, entry in named]

    def table(self, data: Mapping[str, Any], key: str, legal: Iterable[str]) -> dict[str, Any]:
        value = data.get(key, {})
        if not isinstance(value, dict):
            self.problem(key, value, "a table")
            return {}
        return self.known(value, f"{key}.", legal)

    def known(self, table: Mapping[str, Any], prefix: str, legal: Iterable[str]) -> dict[str, Any]:
        names = list(legal)
        for key in [key for key in table if key not in names]:
            shown = f"{prefix}{key}" if key.isidentifier() else f"{prefix}{json.dumps(key)}"
            self.problem(shown, None, f"a known key: {', '.join(names)}", nearest(key, names))
        return {key: value for key, value in table.items() if key in names}

    def names(self, key: str, value: object, legal: Iterable[str]) -> tuple[str, ...]:
        options = list(legal)
        if not isinstance(value, list) or not value:
            self.problem(key, value, f"a list of some of {', '.join(options)}")
            return ()
        chosen = [item for i, item in enumerate(value) if self.name(f"{key}[{i}]", item, options)]
        return tuple(dict.fromkeys(chosen))

    def name(self, key: str, value: object, names: Iterable[str]) -> bool:
        legal = list(names)
        if value in legal:
            return True
        self.problem(key, value, f"one of {', '.join(legal)}", nearest(value, legal))
        return False

    def problem(self, key: str, given: object, legal: str, hint: str | None = None) -> None:
        self.problems.append(Problem(key, given, legal, hint))
