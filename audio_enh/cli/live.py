"""``audio-enh live``: the microphone comes out clean, in real time."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperCommand

from audio_enh.cli._options import MaxAttenuation, Strength, output_option
from audio_enh.cli._terminal import echo
from audio_enh.errors import UserError

if TYPE_CHECKING:
    from audio_enh.cli._live_devices import Wishes
    from audio_enh.cli._signals import Interruptible
    from audio_enh.streaming.backend import BackendName
    from audio_enh.streaming.live.channels import Channel
    from audio_enh.streaming.live.session import Session
    from audio_enh.streaming.live.view import View

NOWHERE = "none"
REFRESH_SECONDS = 0.1
STATUS_SECONDS = 1.0


class LiveCommand(TyperCommand):
    """Lets ``--virtual-mic`` stand without a name; typer has no options whose value may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        from audio_enh.streaming.live.virtual_mic import DEFAULT_NAME

        words = []
        for word, following in itertools.zip_longest(args, args[1:], fillvalue="--"):
            words.append(word)
            if word == "--virtual-mic" and following.startswith("-"):
                words.append(DEFAULT_NAME)
        return super().parse_args(ctx, words)


def live(
    input_: Annotated[
        str | None,
        typer.Option(
            "--input",
            "-i",
            metavar="DEVICE",
            show_default=False,
            help="Microphone: a number of --list-devices, or a part of its name. By default the system's.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        output_option(
            "DEVICE",
            "Headphones or loudspeaker, in the same way; none to play nothing.",
        ),
    ] = None,
    virtual_mic: Annotated[
        str | None,
        typer.Option(
            "--virtual-mic",
            metavar="[NAME]",
            show_default=False,
            help="Be a microphone that other programs can choose, instead of playing. Removed at the end.",
        ),
    ] = None,
    strength: Strength = 1.0,
    max_attenuation: MaxAttenuation = None,
    record: Annotated[
        Path | None,
        typer.Option("--record", metavar="FILE", show_default=False, help="Record what is heard."),
    ] = None,
    record_input: Annotated[
        Path | None,
        typer.Option(
            "--record-input", metavar="FILE", show_default=False, help="Record the microphone as it is."
        ),
    ] = None,
    record_removed: Annotated[
        Path | None,
        typer.Option(
            "--record-removed",
            metavar="FILE",
            show_default=False,
            help="Record what is taken away: the microphone, as late as what is heard, minus what is heard.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace recordings that are there.")
    ] = False,
    duration: Annotated[
        float | None,
        typer.Option("--duration", min=0.0, metavar="SECONDS", show_default=False, help="End after so long."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            show_default=False,
            help="Checkpoint of a causal model: a name of `audio-enh models`, a folder, an .onnx file.",
        ),
    ] = None,
    backend: Annotated[
        str, typer.Option("--backend", help="auto, onnx or torch; auto takes ONNX Runtime where it can.")
    ] = "auto",
    device: Annotated[str, typer.Option("--device", help="Of the torch backend: cpu, cuda, mps.")] = "cpu",
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="Of the model. More than one rarely pays.")
    ] = 1,
    channel: Annotated[
        str,
        typer.Option(
            "--channel",
            metavar="N|auto|mix",
            help="Which input of an interface: its number, the one or two that carry speech, or all together.",
        ),
    ] = "auto",
    stereo: Annotated[
        bool, typer.Option("--stereo", help="Enhance two channels, at twice the work.")
    ] = False,
    buffer: Annotated[
        float | None,
        typer.Option(
            "--buffer",
            min=0.0,
            max=100.0,
            metavar="MS",
            help="Sound held against jitter at first and at the least; grows by itself when it was too little. By "
            "default 30, and 15 once ten minutes have shown that less will do.",
        ),
    ] = None,
    no_ui: Annotated[
        bool, typer.Option("--no-ui", help="JSON, one object a line, instead of the terminal view.")
    ] = False,
    list_devices: Annotated[bool, typer.Option("--list-devices", help="List them and end.")] = False,
    cleanup: Annotated[
        bool, typer.Option("--cleanup", help="Remove virtual microphones left by a crash, and end.")
    ] = False,
    recover: Annotated[
        bool, typer.Option("--recover", help="Finish recordings that a crash has left unfinished, and end.")
    ] = False,
) -> None:
    """Remove noise from a microphone, live.

    By default from the system's microphone to its headphones. With --virtual-mic, Zoom, Teams, OBS and the like can
    choose what comes out as their microphone.
    """
    from audio_enh.cli._live_devices import Wishes
    from audio_enh.cli._signals import Interruptible
    from audio_enh.streaming.live.channels import parse_channel
    from audio_enh.streaming.live.portaudio import quiet_libraries

    with Interruptible() as interruptible, quiet_libraries():
        if recover:
            _recover()
            return
        if cleanup:
            _clean_up()
            return
        if list_devices:
            _list_devices(as_json=no_ui)
            return
        if virtual_mic is not None and output is not None:
            raise UserError("give --virtual-mic or --output, not both")
        recordings = [path for path in (record, record_input, record_removed) if path is not None]
        if output == NOWHERE and not recordings:
            raise UserError(
                "with --output none there is nothing to do: add --record FILE or --record-input FILE"
            )
        if len(set(recordings)) < len(recordings):
            raise UserError("two recordings name the same file: give each its own")
        for path in recordings:
            if path.is_file() and not overwrite:
                raise UserError(f"{path} is there already: choose another name, or add --overwrite")
        _run(
            Wishes(input_, output, virtual_mic, model, cast("BackendName", backend), device, threads),
            strength=strength,
            max_attenuation=max_attenuation,
            record=record,
            record_input=record_input,
            record_removed=record_removed,
            duration=duration,
            channels=2 if stereo else 1,
            channel=parse_channel(channel),
            buffer=buffer,
            ui=not no_ui and sys.stdout.isatty(),
            interruptible=interruptible,
        )


def _clean_up() -> None:
    from audio_enh.streaming.live import virtual_mic
    from audio_enh.streaming.live.pulse import query_server

    removed = virtual_mic.cleanup(query_server())
    for name in removed:
        echo(f"removed {name}")
    if not removed:
        echo("nothing was left to remove")


def _recover() -> None:
    from audio_enh.streaming.live.leftovers import leftovers, take_up

    found = leftovers()
    failed: list[UserError] = []
    for leftover in found:
        try:
            echo(f"recovered {take_up(leftover)}")
        except UserError as error:
            failed.append(error)
    if not found:
        echo("no recording was left unfinished")
    if failed:
        raise UserError("; ".join(map(str, failed)))


def _list_devices(as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from audio_enh.cli._terminal import console as make_console
    from audio_enh.streaming.live.devices import list_devices
    from audio_enh.streaming.live.portaudio import load_sounddevice
    from audio_enh.streaming.live.pulse import query_server

    devices = list_devices(load_sounddevice(), query_server())
    if as_json:
        for device in devices:
            echo(json.dumps(dataclasses.asdict(device)))
        return
    if not devices:
        raise UserError("there are no audio devices: see audio-enh doctor")
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("name", overflow="fold")
    table.add_column("system")
    for column in ("in", "out", "rate"):
        table.add_column(column, justify="right")
    table.add_column("default for")
    for device in devices:
        roles = [role for role in ("input", "output") if device.is_default(role)]
        table.add_row(
            str(device.number),
            Text.assemble(device.name, *([(f" {device.route}", "dim")] if device.route else [])),
            Text(device.host),
            str(device.inputs or "-"),
            str(device.outputs or "-"),
            f"{device.sample_rate / 1000:g} kHz",
            ", ".join(roles),
        )
    make_console().print(table)


def _run(
    wishes: Wishes,
    *,
    strength: float,
    max_attenuation: float | None,
    record: Path | None,
    record_input: Path | None,
    record_removed: Path | None,
    duration: float | None,
    channels: int,
    channel: Channel,
    buffer: float | None,
    ui: bool,
    interruptible: Interruptible,
) -> None:
    from audio_enh.cli._live_devices import open_devices
    from audio_enh.inference.catalog import default_model
    from audio_enh.streaming import LiveStream
    from audio_enh.streaming.live.leftovers import leftovers
    from audio_enh.streaming.live.session import Options, Session

    # A waiting audio thread gets the interpreter after half a millisecond, not five.
    sys.setswitchinterval(0.0005)
    names: list[str] = []

    def make_engine(sample_rate: int, channels: int, block: int) -> LiveStream:
        model = wishes.model or default_model(sample_rate)
        stream = LiveStream(
            model,
            sample_rate,
            channels,
            backend=wishes.backend,
            device=wishes.device,
            threads=wishes.threads,
            strength=strength,
            max_attenuation=max_attenuation,
            block_length=block,
        )
        names[:] = [f"{Path(model).name}, {stream.backend.name}"]
        return stream

    options = Options(
        channels=channels,
        channel=channel,
        record=record,
        record_input=record_input,
        record_removed=record_removed,
    )
    if buffer is not None:
        options = dataclasses.replace(options, reserve=buffer / 1000, first_reserve=buffer / 1000)
    with open_devices(wishes, channels, interruptible) as devices, contextlib.ExitStack() as closing:
        with interruptible.held():
            session = Session(
                devices.sounddevice,
                make_engine,
                devices.find,
                None if wishes.output == NOWHERE else devices.find,
                options,
                before_reopening=devices.restore,
                make_routes=devices.make_routes,
            )
            closing.callback(_tell_rest, session, ui)
            closing.callback(session.close)
            closing.callback(interruptible.finish)
        for leftover in leftovers():
            session.events.put(("warning", f"to finish with audio-enh live --recover: {leftover}"))
        session.start()
        # What is there by now stays: the collector need not look at it again, and its pauses are short.
        gc.collect()
        gc.freeze()

        def check() -> None:
            interruptible.check()
            if session.error is not None:
                raise session.error

        until = None if duration is None else time.monotonic() + duration
        microphone = devices.microphone.name if devices.microphone else None
        show = _show if ui else _report
        show(session, names[0], microphone, until, check)


def _tell_rest(session: Session, ui: bool) -> None:
    for kind, text in _events(session):
        if ui:
            echo(text, err=kind == "warning")
        else:
            _emit({"event": kind, "text": text})


def _events(session: Session) -> Iterator[tuple[str, str]]:
    while not session.events.empty():
        yield session.events.get()


# Programs


def _report(
    session: Session, model: str, microphone: str | None, until: float | None, check: Callable[[], None]
) -> None:
    """JSON lines, one a second."""
    # Whoever waits for this may begin to speak: nothing from here on is missing in a recording.
    session.wait_for_sound()
    _emit({"event": "started", "model": model, "virtual_microphone": microphone})
    while until is None or time.monotonic() < until:
        pause = STATUS_SECONDS if until is None else min(STATUS_SECONDS, until - time.monotonic())
        time.sleep(max(0.0, pause))
        for kind, text in _events(session):
            _emit({"event": kind, "text": text})
        _emit({"event": "status", **dataclasses.asdict(session.status())})
        check()


def _emit(fields: dict[str, Any]) -> None:
    echo(json.dumps({name: _rounded(value) for name, value in fields.items()}))
    sys.stdout.flush()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return value


# People


def _show(
    session: Session, model: str, microphone: str | None, until: float | None, check: Callable[[], None]
) -> None:
    """The terminal view, and what the keys do."""
    from rich.live import Live

    from audio_enh.cli._terminal import console as make_console
    from audio_enh.streaming.live.keys import Keys
    from audio_enh.streaming.live.view import View

    console = make_console()
    view = View(model, microphone)
    if microphone is None:
        view.tell("info", "use headphones: a microphone that hears its own loudspeaker whistles")
    else:
        view.tell("info", f"choose “{microphone}” as the microphone in the other program")
    with Keys() as keys, Live(console=console, screen=True, auto_refresh=False) as screen:
        pressed: list[str] = []
        while until is None or time.monotonic() < until:
            for key in pressed:
                if key in ("q", "Q"):
                    return
                _press(key, session, view)
            for kind, text in _events(session):
                view.tell(kind, text)
            screen.update(view.render(session.status(), console.width, console.height), refresh=True)
            check()
            pressed = keys.wait(REFRESH_SECONDS)


def _press(key: str, session: Session, view: View) -> None:
    processor = session.processor
    if key == "b":
        processor.bypassed = not processor.bypassed
    elif key == "m":
        processor.muted = not processor.muted
    elif key in ("up", "+", "down", "-"):
        step = 0.1 if key in ("up", "+") else -0.1
        processor.strength = min(max(round(processor.strength + step, 1), 0.0), 1.0)
    elif key == "?":
        view.show_help = not view.show_help
    elif key == "r":
        try:
            if session.stop_recording() is None:
                path = Path(f"live-{datetime.now():%Y%m%d-%H%M%S}.wav")
                session.start_recording(path)
                view.tell("info", f"recording to {path}")
        except UserError as error:
            view.tell("warning", str(error))
