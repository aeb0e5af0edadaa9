"""``audio-enh web``: enhancement in a browser."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from audio_enh.cli._options import Device
from audio_enh.cli._terminal import echo
from audio_enh.errors import UserError

ACCESS = "Who may use it, and for how much"
TESTS = "Listening tests"


def web(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            show_default=False,
            help="A model to choose from: a name of `audio-enh models`, a folder, or hf://user/repo; may be given "
            "several times. All that are shipped, if not given.",
        ),
    ] = None,
    device: Device = "auto",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="To listen at; 0 takes a free one.")
    ] = 7860,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            rich_help_panel=TESTS,
            metavar="FOLDER",
            show_default=False,
            help="Recordings to compare, a folder below this one for each system, files paired by name.",
        ),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers",
            rich_help_panel=TESTS,
            metavar="FOLDER",
            show_default=False,
            help="Keep every listener's answers here, a CSV file for each test.",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            "--host", rich_help_panel=ACCESS, help="Address to listen at; 0.0.0.0 lets other machines in."
        ),
    ] = "127.0.0.1",
    auth: Annotated[
        str | None,
        typer.Option(
            "--auth",
            rich_help_panel=ACCESS,
            metavar="USER:PASSWORD|FILE",
            show_default=False,
            help="Ask for a name and a password: these, or those of a file's lines.",
        ),
    ] = None,
    open_to_all: Annotated[
        bool, typer.Option("--open-to-all", rich_help_panel=ACCESS, help="Let others in without a password.")
    ] = False,
    share: Annotated[
        bool,
        typer.Option(
            "--share",
            rich_help_panel=ACCESS,
            help="Make a public address that leads here for three days, through servers of Gradio's makers.",
        ),
    ] = False,
    max_size: Annotated[
        int, typer.Option("--max-size", rich_help_panel=ACCESS, min=1, metavar="MB", help="Of a file.")
    ] = 500,
    max_minutes: Annotated[
        float, typer.Option("--max-minutes", rich_help_panel=ACCESS, min=0.1, help="Of sound in a file.")
    ] = 30.0,
    job_minutes: Annotated[
        float, typer.Option("--job-minutes", rich_help_panel=ACCESS, min=0.1, help="Of computing for a file.")
    ] = 60.0,
    workers: Annotated[
        int,
        typer.Option("--workers", rich_help_panel=ACCESS, min=1, help="Files that are worked on at a time."),
    ] = 1,
    live_streams: Annotated[
        int, typer.Option("--live-streams", rich_help_panel=ACCESS, min=1, help="Live streams at a time.")
    ] = 4,
) -> None:
    """Open a page to enhance recordings, videos and the microphone in the browser.

    All computing is done on this machine, nothing is sent anywhere, and only this machine can open the page,
    unless --host or --share says otherwise.
    """
    from audio_enh.cli._signals import Interruptible
    from audio_enh.web.app import LOCAL, Settings, serve
    from audio_enh.web.limits import Limits

    users = _users(auth)
    if (share or host not in LOCAL) and not (users or open_to_all):
        raise UserError(
            "others could use this machine: give --auth USER:PASSWORD, or --open-to-all to let them"
        )
    limits = Limits(megabytes=max_size, minutes=max_minutes, job_minutes=job_minutes, live=live_streams)
    settings = Settings(
        tuple(model or ()), device, host, port, users, share, workers, limits, browser, pairs, answers
    )

    def ready(address: str) -> None:
        echo(f"Open {address} in a browser; Ctrl-C ends the server.")

    with Interruptible():
        serve(settings, ready, _wait)


def _wait() -> None:
    """Until a signal."""
    while True:
        time.sleep(3600)


def _users(auth: str | None) -> tuple[tuple[str, str], ...]:
    """Names and passwords, from the option or from the file that it names."""
    if auth is None:
        return ()
    lines = [auth]
    if ":" not in auth:
        try:
            lines = Path(auth).read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError) as error:
            raise UserError(f"--auth {auth}: give USER:PASSWORD, or a file with such lines") from error
    pairs = [line.strip().partition(":") for line in lines if line.strip()]
    if not pairs or not all(name and password for name, _, password in pairs):
        raise UserError("--auth takes USER:PASSWORD, neither of them empty")
    return tuple((name, password) for name, _, password in pairs)
