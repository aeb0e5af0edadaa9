"""The ``audio-enh`` command: one module per sub-command, errors in one line, exit codes that mean something.

| code | meaning |
|---|---|
| 0 | all done |
| 1 | a defect of this program: run again with ``AUDIO_ENH_DEBUG=1`` for the traceback |
| 2 | a mistake the user can mend, or some files failed |
| 130, 143, 129 | stopped by Ctrl-C, SIGTERM, SIGHUP |
| 141 | whoever read our output has gone |

Modules of this package import torch and the like inside their functions, so that ``--help`` is quick.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

import audio_enh
from audio_enh.cli._errors import debugging, describe
from audio_enh.cli.doctor import doctor
from audio_enh.cli.enhance import enhance
from audio_enh.cli.models import models
from audio_enh.cli.train import mix, train
from audio_enh.errors import UserError

# Typer does not export the base of its usage errors, and where it lives changes with its version.
UsageError = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="audio-enh",
    help="Speech enhancement: noisy recordings and live sound come out clean.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("enhance")(enhance)
app.command("models")(models)
app.command("doctor")(doctor)
app.command("train")(train)
app.command("mix")(mix)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"audio-enh {audio_enh.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: what follows the program's name; ``sys.argv`` if None.
    """
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give the exit code."""
    try:
        result = app(args=None if arguments is None else list(arguments), standalone_mode=False)
        sys.stdout.flush()
        # Outside of standalone mode typer gives the code of typer.Exit, else what the command returns.
        return result if isinstance(result, int) else 0
    except KeyboardInterrupt as interrupt:
        # A terminating signal comes as KeyboardInterrupt(name); Ctrl-C has no argument.
        number = signal.Signals[interrupt.args[0]] if interrupt.args else signal.SIGINT
        return _fail(f"stopped by {'Ctrl-C' if number == signal.SIGINT else number.name}", 128 + number)
    except BrokenPipeError:
        # Nothing may try to flush stdout again when Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except Exception as error:
        if debugging():
            raise
        if isinstance(error, UserError):
            return _fail(f"error: {describe(error)}", 2)
        if isinstance(error, UsageError):
            usage: Any = error
            where = usage.ctx.command_path if usage.ctx else "audio-enh"
            return _fail(f"error: {usage.format_message()} (see {where} --help)", 2)
        return _fail(f"error: {describe(error)}", 1)


def _fail(message: str, code: int) -> int:
    """Say it in one line on stderr, whatever line breaks it came with."""
    typer.echo(" ".join(message.split()), err=True)
    return code
