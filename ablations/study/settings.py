"""A study with other settings of the protocol than its file has: `--set epochs=3`.

It is a study of its own, `quick-epochs=3`, with results of its own, so that neither takes the place of the other.
"""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Iterable, Mapping

from ablations.study.factors import PROTOCOL_FACTORS, Level, Plain
from ablations.study.problems import Problem, nearest
from ablations.study.reader import parse_study, shipped_studies
from ablations.study.study import Study, StudyError
from linefit.legal import spelled


def parse_settings(texts: Iterable[str]) -> dict[str, Level]:
    """Settings from `epochs=3` and the like. Raises StudyError with all mistakes."""
    read: dict[str, Level] = {}
    problems = []
    for text in texts:
        name, equals, value = text.partition("=")
        factor = PROTOCOL_FACTORS.get(name)
        if not equals or not isinstance(factor, Plain):
            legal = f"SETTING=VALUE with one of {', '.join(PROTOCOL_FACTORS)}"
            problems.append(Problem("--set", text, legal, nearest(name, PROTOCOL_FACTORS)))
            continue
        try:
            read[name] = factor.legal.parse(value)
        except ValueError as error:
            problems.append(Problem(f"--set {name}", value, str(error)))
    if problems:
        raise StudyError("command line", problems)
    return read


def with_settings(study: Study, settings: Mapping[str, Level]) -> Study:
    """The study with these settings in the place of its own, under a name that says so.

    Raises StudyError for a setting that the study itself varies, or that is not legal.
    """
    if not settings:
        return study
    # JSON's texts, numbers, true and false are TOML's.
    lines = [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in settings.items()]
    text = "\n".join([study.text.rstrip("\n"), "", "[set]", *lines, ""])
    name = f"{study.name}{_suffix(settings)}"
    return parse_study(text, name=name, source=study.name, folder=study.folder)


def run_command(study: Study, seeds: Iterable[int]) -> str:
    """The command that trains a study with these seeds, as it is typed."""
    settings: dict[str, Level] = tomllib.loads(study.text).get("set", {})
    base = study.name.removesuffix(_suffix(settings))
    shipped = base in {path.stem for path in shipped_studies()}
    parts = ["python", "-m", "ablations.run", base if shipped else f"{base}.toml"]
    parts += [part for k, x in settings.items() for part in ("--set", f"{k}={spelled(x)}")]
    more = sorted(set(seeds))
    if not set(more) <= set(study.seeds):
        parts += ["--seeds", ",".join(map(str, more))]
    return shlex.join(parts)


def _suffix(settings: Mapping[str, Level]) -> str:
    return "".join(f"-{k}={spelled(x)}" for k, x in settings.items())
