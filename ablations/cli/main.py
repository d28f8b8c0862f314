"""The verbs: options in, exit codes out. Every verb is a thin cover of a function that Python calls too.

Exit codes: 0 all cells ok, 1 finished with failed cells or a failed check, 2 usage or study error, 130 interrupted.
Verbs import what they need when they run, so that `--help` and mistakes of usage are answered at once.
"""

from __future__ import annotations

import typer

from ablations.cli.compare import compare
from ablations.cli.history import history
from ablations.cli.levels import levels
from ablations.cli.run import run
from ablations.cli.streams import outlive_readers
from ablations.cli.studies import env, export, list_studies, report
from ablations.cli.upkeep import archive, check, clean, merge, show
from ablations.cli.watch import watch

app = typer.Typer(
    help="Ablations of CNNs that fit a line, held against least squares and the best possible.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command(name="list")(list_studies)
app.command()(watch)
app.command()(history)
app.command()(levels)
app.command()(compare)
app.command()(report)
app.command()(export)
app.command()(show)
app.command()(merge)
app.command()(check)
app.command()(clean)
app.command()(archive)
app.command()(env)


def main() -> None:
    """`python -m ablations VERB`."""
    outlive_readers()
    app(prog_name="python -m ablations")


def run_main() -> None:
    """`python -m ablations.run`: the verb `run` alone."""
    outlive_readers()
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command()(run)
    single(prog_name="python -m ablations.run")
