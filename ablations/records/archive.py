"""A study's results as one file: a ZIP of its folder with the hash of each file, to be kept, sent and cited.

Verbs that read a study read it: `python -m ablations compare quick.zip`. Those that change one refuse it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ablations.records.database import StoreError, database_path, open_to_read, told
from ablations.records.files import replacing
from ablations.records.folder import JOBS_FOLDER
from ablations.study.reader import NAME

MANIFEST = "manifest.json"
SUFFIX = ".zip"
# Nothing of a driver's: the database goes in as one consistent snapshot.
LEFT_OUT = re.compile(r"results\.sqlite.*|\.writing-.*|run\.log|running\.json")
EPOCH = (1980, 1, 1, 0, 0, 0)  # ZIP's first date: the same results make the same file


def write_archive(study: str, results_dir: Path, target: Path) -> dict[str, str]:
    """Pack `results_dir/study` and return the SHA-256 of each packed file by its path. Raises StoreError."""
    folder = results_dir / study
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not path.is_symlink()
        and not LEFT_OUT.fullmatch(path.name)
        and folder / JOBS_FOLDER not in path.parents
    }
    with tempfile.TemporaryDirectory() as temporary:
        snapshot = Path(temporary) / "results.sqlite"
        with open_to_read(database_path(results_dir, study)) as connection:
            if connection is not None:
                with contextlib.closing(sqlite3.connect(snapshot)) as copy:
                    connection.backup(copy)
                files[snapshot.name] = snapshot
        if "study.toml" not in files:
            raise StoreError(f"{folder}: holds no results to archive; run the study first")
        hashes = {name: _sha256(path) for name, path in sorted(files.items())}
        manifest = json.dumps({"study": study, "sha256": hashes}, indent=1)
        with (
            replacing(target) as unfinished,
            zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            archive.writestr(_entry(MANIFEST), manifest)
            for name in hashes:
                archive.writestr(_entry(f"{study}/{name}"), files[name].read_bytes())
    return hashes


@contextlib.contextmanager
def located(study: str | Path, results_dir: Path) -> Iterator[tuple[str | Path, Path]]:
    """A study and the folder of results that it lies in, which for an archive is there for the time being.

    Raises StoreError for a file that is no archive, or of which a file is not what its hash says.
    """
    if Path(study).suffix != SUFFIX:
        yield study, results_dir
        return
    path = Path(study)
    with tempfile.TemporaryDirectory() as temporary:
        try:
            with zipfile.ZipFile(path) as archive:
                name = _unpack(archive, Path(temporary))
        except (OSError, zipfile.BadZipFile, LookupError, TypeError, ValueError) as error:
            raise StoreError(
                f"{path}: is no archive of results, or is damaged ({error})"
            ) from error
        with told(path):
            yield name, Path(temporary)


@contextlib.contextmanager
def unpacked(results_dir: Path) -> Iterator[Path]:
    """A folder of results; for an archive one that holds its study alone and is there for the time being.

    Raises StoreError as `located` does.
    """
    if results_dir.suffix != SUFFIX:
        yield results_dir
        return
    with located(results_dir, results_dir) as (_, folder):
        yield folder


def _unpack(archive: zipfile.ZipFile, target: Path) -> str:
    """Unpack into `target` what the manifest lists, and return the study's name."""
    manifest = json.loads(archive.read(MANIFEST))
    study, hashes = str(manifest["study"]), dict(manifest["sha256"])
    if not NAME.fullmatch(study):
        raise ValueError(f"{study!r} is no name of a study")
    for name, expected in hashes.items():
        path = (target / study / str(name)).resolve()
        if target.resolve() / study not in path.parents:
            raise ValueError(f"{name!r} lies outside of the study's folder")
        content = archive.read(f"{study}/{name}")
        if hashlib.sha256(content).hexdigest() != expected:
            raise ValueError(f"{name} is not the file that was packed")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return study


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
