"""The ``audio-enh`` command: one module per sub-command, errors in one line, exit codes that mean something.

| code | meaning |
|---|---|
| 0 | all done |
| 1 | a defect of this program: run again with ``AUDIO_ENH_DEBUG=1`` for the traceback |
| 1 | ``evaluate --strict``: a file lacks a score |
| 2 | a mistake the user can mend, or some files failed |
| 2 | an error in the user's own code (``--code``), with its traceback |
| 130, 143, 129 | stopped by Ctrl-C, SIGTERM, SIGHUP |
| 141 | whoever read our output has gone |

Modules of this package import torch and the like inside their functions, so that ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import audio_enh
from audio_enh.cli import (
    benchmark,
    compare,
    data,
    demo,
    distort,
    doctor,
    enhance,
    evaluate,
    export,
    import_checkpoint,
    live,
    live_speed,
    models,
    train,
    web,
)
from audio_enh.cli._errors import debugging, describe, outside_cause
from audio_enh.cli._options import renamed
from audio_enh.cli._terminal import prepare_streams, printable
from audio_enh.errors import UserError
from audio_enh.registry import CODE, code_folders, users_frame

# Typer does not export the base of its usage errors, and where it lives changes with its version.
UsageError = typer.BadParameter.__mro__[1]

PROGRAM = "audio-enh"


class Stopped(BaseException):
    """The user or the system stopped a command; ``number`` is the signal's."""

    def __init__(self, number: signal.Signals):
        super().__init__(number)
        self.number = number


class ReaderGone(BaseException):
    """Whoever read our stdout has enough."""


class Commands(TyperGroup):
    """Lets interruptions through: typer would turn them into bare exit codes, not the ones above."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            # Interruptible gives the name of the signal; Python's own handler of Ctrl-C does not.
            name = interrupt.args[0] if interrupt.args else "SIGINT"
            raise Stopped(signal.Signals[name]) from interrupt
        except BrokenPipeError as error:
            raise ReaderGone from error


app = typer.Typer(
    name=PROGRAM,
    cls=Commands,
    help="Speech enhancement: noisy recordings and live sound come out clean.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("enhance")(enhance.enhance)
app.command("live-speed")(live_speed.live_speed)
app.command("bench", hidden=True)(renamed("bench", "live-speed", live_speed.live_speed))
app.command("demo")(demo.demo)
app.command("export")(export.export)
app.command("import-checkpoint")(import_checkpoint.import_checkpoint)
app.command("live", cls=live.LiveCommand)(live.live)
app.command("distort")(distort.distort)
app.command("models")(models.models)
app.command("doctor")(doctor.doctor)
app.command("evaluate")(evaluate.evaluate)
app.command("benchmark")(benchmark.benchmark)
app.command("compare")(compare.compare)
app.command("train")(train.train)
app.command("mix")(train.mix)
app.command("web")(web.web)
app.add_typer(data.app, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {audio_enh.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    code: Annotated[
        list[Path] | None,
        typer.Option(
            "--code",
            metavar="FOLDER",
            show_default=False,
            help="Folder with your own models, losses, data or metrics, which recipes and checkpoints may then name; "
            "before the command, and may be given several times.",
        ),
    ] = None,
) -> None:
    if code:
        # In the environment, so that the processes that a command starts know it too.
        os.environ[CODE] = os.pathsep.join(str(folder.expanduser().absolute()) for folder in code)
        code_folders()
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: what follows the program's name; ``sys.argv`` if None.
    """
    prepare_streams()
    code = run(arguments)
    if {"torch", "sounddevice"} & sys.modules.keys() and "lightning" not in sys.modules:
        # All is written and closed. The ordinary way out runs the destructors of torch's CUDA libraries and
        # reads 130 MB of them into memory for it; PortAudio may wait for ever for a device
        # that has gone. Training takes it: its loggers and workers tidy up there.
        os._exit(code)
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give the exit code; what it printed is flushed."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except (BrokenPipeError, ReaderGone):
        # Nothing may try to flush stdout again when Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + 13
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + 1  # the terminal was closed
    except KeyboardInterrupt:  # once more, when all was done
        code = 128 + signal.SIGINT
    with contextlib.suppress(OSError):  # the terminal has gone
        sys.stderr.flush()
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        words = None if arguments is None else list(arguments)
        result = app(args=words, prog_name=PROGRAM, standalone_mode=False)
        # Outside of standalone mode typer gives the code of typer.Exit, else what the command returns.
        return result if isinstance(result, int) else 0
    except Stopped as stopped:
        what = "Ctrl-C" if stopped.number == signal.SIGINT else stopped.number.name
        code = 128 + stopped.number
        with contextlib.suppress(OSError):  # it was the terminal that has gone
            _fail(f"stopped by {what}", code)
        return code
    except Exception as error:
        if debugging():
            raise
        if isinstance(error, UserError):
            return _fail(f"error: {describe(error)}", 2)
        if users_frame(error) is not None:  # whose code it is wants to see where
            traceback.print_exception(error)
            return _fail(f"error: {describe(error)}", 2)
        if outside_cause(error) is not None:
            return _fail(f"error: {describe(error)}", 2)
        if isinstance(error, UsageError):
            usage: Any = error
            where = usage.ctx.command_path if usage.ctx else PROGRAM
            return _fail(f"error: {usage.format_message()} (see {where} --help)", 2)
        return _fail(f"error: {describe(error)}", 1)


def _fail(message: str, code: int) -> int:
    """Say it in one line on stderr, whatever line breaks it came with."""
    typer.echo(printable(" ".join(message.split())), err=True)
    return code
