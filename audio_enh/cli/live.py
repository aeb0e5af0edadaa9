"""``audio-enh live``: the microphone comes out clean, in real time."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperCommand

from audio_enh.cli._terminal import echo
from audio_enh.errors import UserError

if TYPE_CHECKING:
    from audio_enh.streaming.backend import BackendName
    from audio_enh.streaming.live.devices import Device, Direction
    from audio_enh.streaming.live.session import Session
    from audio_enh.streaming.live.view import View
    from audio_enh.streaming.live.virtual_mic import VirtualMicrophone

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
        typer.Option(
            "--output",
            "-o",
            metavar="DEVICE",
            show_default=False,
            help="Headphones or loudspeaker, in the same way; none to play nothing.",
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
    strength: Annotated[
        float,
        typer.Option(
            "--strength", min=0.0, max=1.0, help="0 leaves the input as it is, 1 is fully enhanced."
        ),
    ] = 1.0,
    max_attenuation: Annotated[
        float | None,
        typer.Option(
            "--max-attenuation",
            min=0.0,
            metavar="DB",
            show_default=False,
            help="Turn no sound down by more than so many dB.",
        ),
    ] = None,
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
) -> None:
    """Remove noise from a microphone, live.

    By default from the system's microphone to its headphones. With --virtual-mic, Zoom, Teams, OBS and the like can
    choose what comes out as their microphone.
    """
    from audio_enh.cli._signals import Interruptible
    from audio_enh.streaming.live.portaudio import quiet_libraries

    with Interruptible(), quiet_libraries():
        if cleanup:
            _clean_up()
            return
        if list_devices:
            _list_devices(as_json=no_ui)
            return
        if virtual_mic is not None and output is not None:
            raise UserError("give --virtual-mic or --output, not both")
        if output == NOWHERE and record is None:
            raise UserError("with --output none there is nothing to do: add --record FILE")
        for path in (record, record_input):
            if path is not None and path.is_file() and not overwrite:
                raise UserError(f"{path} is there already: choose another name, or add --overwrite")
        _run(
            _Wishes(input_, output, virtual_mic, model, cast("BackendName", backend), device, threads),
            strength=strength,
            max_attenuation=max_attenuation,
            record=record,
            record_input=record_input,
            duration=duration,
            channels=2 if stereo else 1,
            buffer=buffer,
            ui=not no_ui and sys.stdout.isatty(),
        )


@dataclasses.dataclass(frozen=True)
class _Wishes:
    """What devices and which model."""

    input: str | None
    output: str | None
    virtual_mic: str | None
    model: str | None
    backend: BackendName
    device: str
    threads: int


def _clean_up() -> None:
    from audio_enh.streaming.live import virtual_mic
    from audio_enh.streaming.live.pulse import query_server

    removed = virtual_mic.cleanup(query_server())
    for name in removed:
        echo(f"removed {name}")
    if not removed:
        typer.echo("nothing was left to remove")


def _list_devices(as_json: bool) -> None:
    from rich.table import Table

    from audio_enh.cli._terminal import console as make_console
    from audio_enh.streaming.live.devices import list_devices
    from audio_enh.streaming.live.portaudio import load_sounddevice
    from audio_enh.streaming.live.pulse import query_server

    devices = list_devices(load_sounddevice(), query_server())
    if as_json:
        for device in devices:
            typer.echo(json.dumps(dataclasses.asdict(device)))
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
            device.name if device.route is None else f"{device.name} [dim]{device.route}[/]",
            device.host,
            str(device.inputs or "-"),
            str(device.outputs or "-"),
            f"{device.sample_rate / 1000:g} kHz",
            ", ".join(roles),
        )
    make_console().print(table)


def _run(
    wishes: _Wishes,
    *,
    strength: float,
    max_attenuation: float | None,
    record: Path | None,
    record_input: Path | None,
    duration: float | None,
    channels: int,
    buffer: float | None,
    ui: bool,
) -> None:
    from audio_enh.inference.catalog import DEFAULT_MODEL
    from audio_enh.streaming import Stream
    from audio_enh.streaming.live.session import Options, Session

    # A waiting audio thread gets the interpreter after half a millisecond, not five.
    sys.setswitchinterval(0.0005)
    names: list[str] = []

    def make_engine(sample_rate: int, channels: int, block: int) -> Stream:
        stream = Stream(
            wishes.model,
            sample_rate,
            channels,
            backend=wishes.backend,
            device=wishes.device,
            threads=wishes.threads,
            strength=strength,
            max_attenuation=max_attenuation,
            block_length=block,
        )
        names[:] = [f"{Path(wishes.model or DEFAULT_MODEL).name}, {stream.backend.name}"]
        return stream

    options = Options(channels=channels, record=record, record_input=record_input)
    if buffer is not None:
        options = dataclasses.replace(options, reserve=buffer / 1000, first_reserve=buffer / 1000)
    with _devices(wishes, channels) as devices:
        session = Session(
            devices.sounddevice,
            make_engine,
            devices.find,
            None if wishes.output == NOWHERE else devices.find,
            options,
            before_reopening=devices.restore,
        )
        try:
            with contextlib.closing(session):
                session.start()
                # What is there by now stays: the collector need not look at it again, and its pauses are short.
                gc.collect()
                gc.freeze()
                until = None if duration is None else time.monotonic() + duration
                microphone = devices.microphone.name if devices.microphone else None
                show = _show if ui else _report
                show(session, names[0], microphone, until)
        finally:
            for kind, text in _events(session):
                if ui:
                    echo(text, err=kind == "warning")
                else:
                    _emit({"event": kind, "text": text})


class _Devices:
    """Finds the devices asked for, each time one has to be opened."""

    def __init__(self, wishes: _Wishes, sounddevice: Any, microphone: VirtualMicrophone | None):
        self.sounddevice = sounddevice
        self.microphone = microphone
        self._wishes = wishes

    def find(self, direction: Direction) -> Device:
        from audio_enh.streaming.live.devices import find_device, list_devices
        from audio_enh.streaming.live.pulse import query_server

        devices = list_devices(self.sounddevice, query_server())
        microphone = self.microphone
        if direction == "input":
            own = () if microphone is None else (microphone.source, f"{microphone.sink}.monitor")
            return find_device([d for d in devices if d.route not in own], self._wishes.input, "input")
        if microphone is None:
            return find_device(devices, self._wishes.output, "output")
        try:
            return find_device(devices, microphone.sink, "output")
        except UserError:
            return find_device(devices, microphone.label, "output")  # PortAudio tells sinks by their labels

    def restore(self, direction: Direction) -> None:
        """The server may have been restarted: what we made there has gone with it."""
        if direction == "output" and self.microphone is not None:
            self.microphone.ensure()


@contextlib.contextmanager
def _devices(wishes: _Wishes, channels: int) -> Iterator[_Devices]:
    from audio_enh.streaming.live import virtual_mic
    from audio_enh.streaming.live.devices import list_devices
    from audio_enh.streaming.live.portaudio import load_sounddevice
    from audio_enh.streaming.live.pulse import query_server

    sounddevice = load_sounddevice()
    server = query_server()
    virtual_mic.cleanup(server)
    microphone = None
    try:
        if wishes.virtual_mic is not None:
            devices = list_devices(sounddevice, server)
            microphone = virtual_mic.create(wishes.virtual_mic, server, devices, channels)
        yield _Devices(wishes, sounddevice, microphone)
    finally:
        if microphone is not None:
            microphone.remove()


def _events(session: Session) -> Iterator[tuple[str, str]]:
    while not session.events.empty():
        yield session.events.get()


def _check(session: Session) -> None:
    if session.error is not None:
        raise session.error


# Programs


def _report(session: Session, model: str, microphone: str | None, until: float | None) -> None:
    """JSON lines, one a second."""
    _emit({"event": "started", "model": model, "virtual_microphone": microphone})
    while until is None or time.monotonic() < until:
        pause = STATUS_SECONDS if until is None else min(STATUS_SECONDS, until - time.monotonic())
        time.sleep(max(0.0, pause))
        for kind, text in _events(session):
            _emit({"event": kind, "text": text})
        _emit({"event": "status", **dataclasses.asdict(session.status())})
        _check(session)


def _emit(fields: dict[str, Any]) -> None:
    typer.echo(json.dumps({name: _rounded(value) for name, value in fields.items()}))
    sys.stdout.flush()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return value


# People


def _show(session: Session, model: str, microphone: str | None, until: float | None) -> None:
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
            screen.update(view.render(session.status(), console.width), refresh=True)
            _check(session)
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
