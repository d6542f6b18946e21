"""The command line: parse, call, print. Heavy imports wait until a command runs."""

import io
import sys
import traceback
import warnings
from typing import Annotated

import typer

from bitlens.cli import evaluate, text_evaluate
from bitlens.cli.audit import audit_app
from bitlens.cli.calibrate import calibrate
from bitlens.cli.compare import compare
from bitlens.cli.demo import demo
from bitlens.cli.explain import explain
from bitlens.cli.grid import grid
from bitlens.cli.learn import patterns, statistics
from bitlens.cli.methods import methods
from bitlens.cli.models import models
from bitlens.cli.page import app as web_page
from bitlens.cli.readout import readout_app
from bitlens.cli.recommend import recommend
from bitlens.cli.report import report
from bitlens.cli.roar import roar
from bitlens.cli.text import text_app
from bitlens.cli.text_layers import layers
from bitlens.errors import BitlensError
from bitlens.system.console import Debugging, answers, messages, show_warning
from bitlens.system.memory import keep_freed_memory
from bitlens.version import __version__

__all__ = ["app", "main"]

_MOST = 500  # characters of an error that nobody expected

app = typer.Typer(
    help="Show, in bits, which parts of an input a trained PyTorch network uses for its decision.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of whatever fails; before the command.")
    ] = False,
) -> None:
    """Say with --help what a command does, and what it takes."""
    Debugging.wanted = debug


@app.command()
def version() -> None:
    """Print the version."""
    answers.print(__version__, highlight=False)


photo_commands = (demo, explain, calibrate, compare, grid, report, statistics, patterns, models, methods)
for command in (*photo_commands, evaluate.evaluate, evaluate.table, evaluate.metrics, recommend):
    app.command()(command)
for text_command in (text_evaluate.evaluate, text_evaluate.metrics, text_evaluate.methods, layers):
    text_app.command()(text_command)
app.add_typer(text_app, name="text")
app.add_typer(readout_app, name="readout")
app.add_typer(audit_app, name="audit")
app.command()(roar)
app.command("app")(web_page)


def main() -> None:
    """Run the command line. Exit codes: 0, 1 (it failed: one line says why), 2 (wrong use), 130 (interrupted)."""
    warnings.showwarning = show_warning
    warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # such pictures are refused, in one sentence
    for stream in (sys.stdout, sys.stderr):  # the name of a file may hold what no terminal can show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    keep_freed_memory()
    Debugging.wanted = False
    try:
        app()
    except KeyboardInterrupt:
        messages.print("interrupted; the same command goes on where it was", soft_wrap=True)
        sys.exit(130)
    except Exception as error:
        if Debugging.wanted:
            traceback.print_exc()
        messages.print(f"bitlens: {_line(error)}", style="red", highlight=False, soft_wrap=True, markup=False)
        sys.exit(1)


def _line(error: Exception) -> str:
    """Return what is said of an error: its own sentence, or its kind where bitlens did not expect it."""
    if isinstance(error, BitlensError):
        return str(error)
    text = " ".join(str(error).split())[:_MOST]
    kind = type(error).__name__
    return f"{kind}: {text} (bitlens did not expect this: `bitlens --debug` before the command shows where it happened)"
