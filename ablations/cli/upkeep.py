"""Verbs that look after results: `show`, `merge`, `check`, `clean` and `archive`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablations.cli.common import (
    EXIT_FAILED,
    EXIT_USAGE,
    ResultsDir,
    StudyArgument,
    require_folder,
    require_study,
    results_option,
    tell,
    usage_errors,
)
from ablations.records import RESULTS_DIR

if TYPE_CHECKING:
    from ablations.records.store import Record


def show(
    key: Annotated[str, typer.Argument(help="A cell's key, or enough of its beginning.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """Tell all that is stored of a cell: status, message, configuration, losses, provenance.

    --results may be an archive.
    """
    with usage_errors():
        from ablations.records.archive import unpacked

        with unpacked(results_dir) as folder:
            found = list(_records(key, folder))
        if not found:
            raise ValueError(f"no cell in {results_dir} has a key that begins with {key!r}")
        if len(found) > 1:
            listed = "".join(f"\n  {record.key} ({study})" for study, record in found)
            raise ValueError(f"{key!r} is the beginning of {len(found)} keys:{listed}")
    ((study, record),) = found
    facts = _facts(study, record)
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    message = facts.pop("message")
    for name, value in facts.items():
        values = value.items() if isinstance(value, dict) else [("", value)]
        for inner, shown in values:
            label = f"{name}.{inner}" if inner else name
            print(f"{label:28}{_printable(shown)}")
    for line in message.splitlines():
        print(f"  {_printable(line)}")


def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR|FILE.zip...", help="Folders of results, or archives, to take cells from."
        ),
    ],
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """Unite the databases of other results folders, such as those of shards, with this one.

    Exit code 1 where two folders hold different results of one cell: those in --results are kept.
    """
    with usage_errors():
        from ablations.records import merging

        merged = merging.merge(sources, results_dir)
    for one in merged:
        print(one)
    for study in sorted({one.study for one in merged}):
        tell(f"Next: python -m ablations report {study}{results_option(results_dir)}")
    if any(one.conflicts for one in merged):
        raise typer.Exit(EXIT_FAILED)


def check(
    study: StudyArgument,
    retrain: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Train this cell again and compare it bit for bit."),
    ] = None,
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """Verify a study's results: the database's pages, keys, predictions, and exports against the database.

    Exit code 1 if something is wrong.
    """
    with usage_errors():
        require_study(study, results_dir)
        from ablations.records.archive import located
        from ablations.records.checking import problems

        with located(study, results_dir) as (name, folder):
            wrong = list(problems(str(name), folder))
            if retrain is not None:
                from ablations.driver import retrained_problems

                wrong += retrained_problems(str(name), folder, retrain)
    for problem in wrong:
        print(_printable(problem))
    tell(f"{study}: {len(wrong)} problems" if wrong else f"{study}: all is well")
    if wrong:
        raise typer.Exit(EXIT_FAILED)


def clean(
    study: StudyArgument,
    failed: Annotated[bool, typer.Option("--failed", help="Failed cells too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete what is listed.")] = False,
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """List the cells of a database that its study has no more: of earlier versions of the file or the engine.

    Nothing is deleted without --yes.
    """
    with usage_errors():
        require_folder(study)
        require_study(study, results_dir)
        from ablations.records.database import StoreError, database_path
        from ablations.records.folder import find_study
        from ablations.records.store import Store

        found = find_study(study, results_dir)
        path = database_path(results_dir, found.name)
        with Store.read(path) as store:
            if store is None:
                raise StoreError(f"{path}: there is no database")
            current = {cell.key for cell in found.cells(store.seeds())}
            superfluous = {
                key: status
                for key, status in store.statuses().items()
                if key not in current or (failed and status != "ok")
            }
            for key, status in superfluous.items():
                record = store.record(key)
                assert record is not None
                print(f"{key}  {status:9}finished {record.finished} UTC, {_levels(record)}")
        if superfluous and yes:
            with Store.write(path) as writer:
                writer.delete(superfluous)
    count = f"{len(superfluous)} cells of {path}"
    tell(f"{count} deleted" if yes else f"{count} would be deleted; delete them with: --yes")


def archive(
    study: StudyArgument,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE.zip", help="Default: STUDY.zip here.")
    ] = None,
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """Pack a study's results, with the hash of each file, into one file that other verbs read in its place."""
    with usage_errors():
        require_folder(study)
        require_study(study, results_dir)
        from ablations.records.archive import SUFFIX, write_archive
        from ablations.records.folder import find_study

        name = find_study(study, results_dir).name
        target = to or Path(f"{name}{SUFFIX}")
        if target.suffix != SUFFIX:
            raise ValueError(f"{target}: expected a file name that ends with {SUFFIX}")
        if target.exists():
            tell(f"error: {target} is there already; it is kept")
            raise typer.Exit(EXIT_USAGE)
        hashes = write_archive(name, results_dir, target)
    print(target)
    tell(f"{len(hashes)} files; read it with: python -m ablations compare {target}")


def _records(key: str, results_dir: Path) -> Iterator[tuple[str, Record]]:
    """The cells whose key begins so, each with its study."""
    from ablations.records.store import Store

    for path in sorted(results_dir.glob("*/results.sqlite")):
        with Store.read(path) as store:
            for known in [] if store is None else store.statuses():
                if known.startswith(key.lower()):
                    record = store.record(known) if store is not None else None
                    assert record is not None
                    yield path.parent.name, record


def _facts(study: str, record: Record) -> dict[str, Any]:
    """Everything about a cell but its predictions, ready for JSON."""
    outcome = record.outcome
    losses = {"train_loss": outcome.train_loss, "val_mse": outcome.val_mse}
    return {
        "key": record.key,
        "study": study,
        "status": outcome.status,
        "finished": f"{record.finished} UTC",
        "configuration": dict(record.configuration),
        "training": {
            "epochs_done": len(outcome.train_loss),
            **{name: None if not len(x) else repr(float(x[-1])) for name, x in losses.items()},
            **{
                name: getattr(outcome, name)
                for name in ("parameters", "steps", "seconds", "peak_memory_mib")
            },
            **{name: getattr(outcome, name) for name in ("engine", "device", "threads")},
        },
        "predictions": {split: len(lines) for split, lines in outcome.predictions.items()},
        "provenance": dict(record.provenance),
        "message": outcome.message,
    }


def _levels(record: Record) -> str:
    names = ("architecture", "coordinates", "pooling", "width", "seed")
    return " ".join(f"{name}={_printable(record.configuration.get(name))}" for name in names)


def _printable(value: object) -> str:
    """Stored texts may hold anything, and a terminal obeys control characters."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))
