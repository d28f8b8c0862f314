"""What all verbs share: exit codes, one policy for errors, options, and how tables are printed.

Nothing heavy is imported here: `--help` and mistakes of usage are to be answered at once.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ablations.comparison.layout import Format
from ablations.records import RESULTS_DIR

if TYPE_CHECKING:
    from ablations.comparison.pairing import Side

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

ResultsDir = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="Where results are kept.")
]
OtherResults = Annotated[
    Path | None,
    typer.Option(
        "--other-results",
        metavar="DIR",
        help="Where OTHER is kept, if elsewhere; by default the same study there.",
    ),
]
StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY|FILE.toml", help="A study's name or file; see `list`.")
]
MaxPredictions = Annotated[
    float,
    typer.Option(
        "--max-predictions",
        metavar="MB",
        min=0,
        help="Leave the largest splits out of the exports where predictions of nets take more (inf: none).",
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print.")]


def require_study(study: str, results_dir: Path) -> None:
    """Find the study before anything heavy is imported, so that a mistyped name is told at once. Raises StudyError."""
    from ablations.records.archive import located
    from ablations.records.folder import find_study

    with located(study, results_dir) as (name, folder):
        find_study(name, folder)


def require_folder(study: str) -> None:
    """Refuse an archive where results are looked after. Raises ValueError."""
    from ablations.records.archive import SUFFIX

    if Path(study).suffix == SUFFIX:
        raise ValueError(
            f"{study}: is an archive, which stays as it was packed; expected a study whose results lie in --results"
        )


def two_sides(
    study: str, other: str, results_dir: Path, other_results: Path | None
) -> tuple[Side, Side]:
    """Two runs to hold against each other, from `STUDY` or `STUDY:VARIANT` each. Raises StudyError and StoreError."""
    from ablations.comparison.pairing import Side

    asked = [
        (*text.partition(":")[::2], place)
        for text, place in ((study, results_dir), (other, other_results or results_dir))
    ]
    if asked[0] == asked[1]:
        raise ValueError(
            f"{other}: is what it would be compared with; --other-results DIR tells them apart"
        )
    for name, _, place in asked:
        require_study(name, place)
    from ablations.records.loading import load_results

    loaded = [load_results(name, place) for name, _, place in asked]
    labels = [results.study.name for results in loaded]
    if labels[0] == labels[1]:  # told apart by where they lie, else by their variants
        places = [name if Path(name).suffix else str(place) for name, _, place in asked]
        apart = places if places[0] != places[1] else [variant for _, variant, _ in asked]
        labels = [f"{label} ({x})" if x else label for label, x in zip(labels, apart, strict=True)]
    one, two = (
        Side(label, results, variant or None)
        for label, results, (_, variant, _) in zip(labels, loaded, asked, strict=True)
    )
    return one, two


def results_option(results_dir: Path) -> str:
    """`--results DIR` as it has to be typed, with a space before it; nothing where it is the default."""
    return "" if results_dir == RESULTS_DIR else f" --results {shlex.quote(str(results_dir))}"


def command_line() -> str:
    """The command as it was typed, to be typed again."""
    module = "ablations.run" if Path(sys.argv[0]).name == "run.py" else "ablations"
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def tell(text: str) -> None:
    """A message to the person, apart from the data on stdout."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def usage_errors(*, values: bool = True) -> Iterator[None]:
    """Turn errors that the user can mend into messages and exit code 2.

    These are mistakes in studies and options, databases that cannot be used and files that cannot be read or written.
    With `values=False` another ValueError is no mistake of the user's and keeps its traceback.
    """
    from ablations.records.database import StoreError
    from ablations.study.study import StudyError

    try:
        yield
    except StudyError as error:
        tell(str(error))
        raise typer.Exit(EXIT_USAGE) from error
    except (ValueError, StoreError, OSError) as error:
        if isinstance(error, ValueError) and not values:
            raise
        tell(f"error: {error}")
        raise typer.Exit(EXIT_USAGE) from error


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM (what batch systems send) and SIGHUP into a message on how to go on, and exit code 130.

    The first lets the database be closed and workers be ended; a second one ends this process at once, which costs no
    finished cell either. A signal that is ignored already, as by `nohup`, stays so.
    """

    def interrupt(number: int, frame: object) -> NoReturn:  # noqa: ARG001
        for other in earlier:
            signal.signal(other, lambda *_: os._exit(EXIT_INTERRUPTED))
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    earlier = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    for number in earlier:
        signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        tell(f"\nInterrupted. Finished cells are safe; go on with: {command_line()}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
