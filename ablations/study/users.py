"""Levels that a study's user has defined beside it: which files hold them, and their copies with the results.

Results keep the code that they come from: a study read from its results folder has the levels as they were when it
ran, whatever has become of the files since.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ablations.study.study import Study, Variant
from linefit.definitions import files
from linefit.legal import level_parts
from linefit.levels import OPEN, REGISTRIES, reference_of


def users_levels(variant: Variant) -> dict[str, str]:
    """Factor -> level, of those that are not the package's own."""
    levels = {factor: str(variant.levels[factor]) for factor in REGISTRIES if factor in OPEN}
    return {f: x for f, x in levels.items() if level_parts(x)[0] not in REGISTRIES[f]}


def level_files(study: Study) -> list[Path]:
    """The files in the study's folder that hold code of its levels, by their paths from there."""
    references = {
        reference_of(factor, str(variant.net[factor]))
        for variant in study.variants
        for factor in users_levels(variant)
    }
    references |= {reference for reference in map(study.reference, study.yardsticks) if reference}
    found = {path for reference in references if ".py:" in reference for path in files(reference)}
    return sorted(p.relative_to(study.folder) for p in found if study.folder in p.parents)


def keep_level_files(study: Study, results: Path) -> None:
    """Copy them to the folder of the study's results."""
    for path in level_files(study):
        source, target = study.folder / path, results / path
        if source.resolve() != target.resolve():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
