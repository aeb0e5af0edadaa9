"""The terminal view of a session, for 80 columns and 24 lines or more."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .meters import SILENT
from .status import Status

BAR_WIDTH = 46
LOWEST = -60.0  # dB at the left end of a meter
LINES = 24

_LATENCY_NAMES = {
    "device_in": "device in",
    "queue": "queue",
    "resampler": "resampler",
    "hop": "hop",
    "model": "model",
    "device_out": "device out",
}
_KEYS = (("b", "bypass"), ("↑ ↓", "strength"), ("m", "mute"), ("r", "record"), ("?", "help"), ("q", "quit"))
_HELP = (
    ("b", "hear the microphone as it is, equally late; again to enhance"),
    ("↑ ↓", "strength: how much of the enhanced sound is mixed in (+ and - too)"),
    ("m", "mute: nothing is heard, sent or recorded"),
    ("r", "start or end a recording of what is heard"),
    ("q", "quit; recordings are finished, the virtual microphone is removed"),
    ("", ""),
    ("noise", "how much lower the noise between the words is after than before"),
    ("queue", "the block that is being recorded, and what is held against jitter"),
    ("hop", "sound that waits until the model's next frame is full"),
    ("frame", "time spent on a block; must stay below the block's length"),
    ("xruns", "gaps in the output, lost input; clock: by how much devices differ"),
)
_MARKS = {"warning": ("!", "yellow"), "lost": ("!", "bold red"), "back": ("✓", "green"), "info": ("·", "")}


class View:
    """Draws what a status says, and the latest messages.

    Args:
        title: model and backend.
        virtual_mic: name of the virtual microphone, None if there is none.
    """

    def __init__(self, title: str, virtual_mic: str | None = None):
        self._title = title
        self._virtual_mic = virtual_mic
        self._messages: deque[tuple[str, str]] = deque(maxlen=3)
        self.show_help = False

    def tell(self, kind: str, text: str) -> None:
        """Show a message of a kind of `Session.events`."""
        self._messages.append((kind, text))

    def render(self, status: Status, width: int = 80, height: int = LINES) -> RenderableType:
        """Everything, at most `LINES` lines; in a smaller terminal what matters most, and always the keys."""
        if width < 80 or height < LINES:
            return self._render_small(status, width, height)
        parts: list[RenderableType] = [self._head(status, width), *self._devices(status, width), Text()]
        parts += [
            _meter("input", status.input_level, status.input_peak),
            _meter("output", status.output_level, status.output_peak),
            self._effect(status),
            Text(),
        ]
        parts += [_help()] if self.show_help else [*_latency(status), Text(), *_machine(status)]
        parts += [Text(), *self._last_messages(width)]
        return Group(*parts, _key_line(status))

    def _render_small(self, status: Status, width: int, height: int) -> RenderableType:
        keys = _key_lines(status, width)
        bar = max(4, width - 26)
        levels = [
            _meter("input", status.input_level, status.input_peak, bar),
            _meter("output", status.output_level, status.output_peak, bar),
        ]
        latest = list(self._last_messages(width))[: len(self._messages)]
        # By importance; shown in the order of the whole view.
        parts = [(2, self._effect(status)), *((3, level) for level in levels)]
        parts = [*((4, line) for line in self._devices(status, width)), *parts]
        parts += [(5, line) for line in [*_latency(status), *_machine(status)]]
        if self.show_help:
            parts = [(1, Text(f"  {key:>7}  {text}")) for key, text in _HELP if key]
        parts += [(1, line) for line in latest[-1:]]
        room = max(0, height - len(keys))
        kept = sorted(sorted(range(len(parts)), key=lambda i: (parts[i][0], i))[:room])
        lines = [parts[i][1] for i in kept]
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
            line.truncate(width, overflow="ellipsis")
        return Group(*lines, *keys)

    def _head(self, status: Status, width: int) -> RenderableType:
        minutes, seconds = divmod(int(status.seconds), 60)
        clock = f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
        row = Table.grid(expand=False)
        row.add_column(width=max(20, width - 10), no_wrap=True, overflow="ellipsis")
        row.add_column(width=9, justify="right")
        row.add_row(Text.assemble(("audio-enh live  ", "bold"), (self._title, "cyan")), clock)
        return row

    def _devices(self, status: Status, width: int) -> Iterable[Text]:
        source = status.input if status.channels is None else f"{status.channels}, {status.input}"
        yield _device("from", source, status.input_rate, "input" in status.waiting_for, width)
        if status.output is None:
            yield Text("  to    nothing is played", style="dim")
        else:
            name = status.output if self._virtual_mic is None else f"{self._virtual_mic} (virtual microphone)"
            yield _device("to", name, status.output_rate or 0, "output" in status.waiting_for, width)

    def _effect(self, status: Status) -> Text:
        line = Text("  noise   ")
        if status.muted:
            line.append("MUTED", style="bold white on red")
        elif status.bypassed:
            line.append("BYPASSED", style="bold black on yellow")
        elif status.overloaded:
            line.append("TOO BUSY: UNPROCESSED", style="bold black on yellow")
        elif status.reduction is None:
            line.append("no sound yet", style="dim")
        else:
            line.append(f"{status.reduction:4.1f} dB lower", style="bold green")
        line.append(f"   strength {100 * status.strength:.0f} %")
        if status.max_attenuation is not None:
            line.append(f", at most {status.max_attenuation:g} dB")
        if status.recording is not None:
            line.append("   ")
            line.append("● REC", style="bold red")
        return line

    def _last_messages(self, width: int) -> Iterable[Text]:
        for kind, text in self._messages:
            mark, style = _MARKS[kind]
            line = Text(f"  {mark} {text}", style=style, no_wrap=True, overflow="ellipsis")
            line.truncate(width - 1, overflow="ellipsis")
            yield line
        for _ in range(3 - len(self._messages)):
            yield Text()


def _device(label: str, name: str, rate: int, waiting: bool, width: int) -> Text:
    line = Text(f"  {label:<6}{name}")
    line.truncate(width - 24, overflow="ellipsis")
    if waiting:
        line.append("  gone, waiting", style="bold red")
    else:
        line.append(f"  {rate / 1000:g} kHz", style="dim")
    return line


def _meter(label: str, level: float, peak: float, bar: int = BAR_WIDTH) -> Text:
    line = Text(f"  {label:<8}")
    lit = _position(level, bar)
    for place in range(bar):
        db = LOWEST - LOWEST * place / bar
        colour = "green" if db < -12 else "yellow" if db < -3 else "red"
        if place < lit:
            line.append("█", style=colour)
        elif place == _position(peak, bar) - 1:
            line.append("│", style=colour)
        else:
            line.append("·", style="bright_black")
    line.append(f" {level:6.1f} dB" if level > SILENT else "   silent ")
    if peak > -0.1:
        line.append(" CLIP", style="bold white on red")
    return line


def _position(db: float, bar: int) -> int:
    return round(bar * min(max((db - LOWEST) / -LOWEST, 0.0), 1.0))


def _latency(status: Status) -> Iterable[Text]:
    total = status.latency_ms["total"]
    yield Text.assemble("  latency ", (f"{total:.0f} ms", "bold"), (" from microphone to output", "dim"))
    for part, name in _LATENCY_NAMES.items():
        value = status.latency_ms[part]
        line = Text(f"    {name:<11}{value:6.1f}  ")
        line.append("━" * round(BAR_WIDTH * 0.8 * value / max(total, 1e-3)), style="cyan")
        yield line


def _machine(status: Status) -> Iterable[Text]:
    times = status.frame_ms
    late = times["p99"] > status.block_ms
    yield Text.assemble(
        "  frame   ",
        (
            f"p50 {times['p50']:.1f}  p95 {times['p95']:.1f}  p99 {times['p99']:.1f}",
            "bold red" if late else "",
        ),
        f" ms of {status.block_ms:.0f}   load {100 * status.load:.0f} %   CPU {status.cpu:.0f} %",
    )
    worst = "bold red" if status.underruns else ""
    yield Text.assemble(
        "  xruns   ",
        (f"{status.underruns} gap" + "s" * (status.underruns != 1), worst),
        f", {status.lost_ms:.0f} ms lost   clock {status.drift_ppm:+.0f} ppm   buffer {status.reserve_ms:.0f} ms",
    )


def _help() -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="bold", width=7)
    table.add_column(no_wrap=True)
    for key, text in _HELP:
        table.add_row(key, text)
    return table


def _key_lines(status: Status, width: int) -> list[Text]:
    """The keys on as many lines as they need."""
    if width >= 80:
        return [_key_line(status)]
    lines = [Text()]
    for key, name in _KEYS:
        word = Text.assemble((key, "bold black on white"), f" {name}  ")
        if lines[-1].cell_len + word.cell_len > width:
            lines.append(Text())
        lines[-1].append_text(word)
    return lines


def _key_line(status: Status) -> Text:
    line = Text("  ")
    on = {"bypass": status.bypassed, "mute": status.muted, "record": status.recording is not None}
    for key, name in _KEYS:
        line.append(f" {key} ", style="bold black on white")
        line.append(f" {name}   ", style="bold yellow" if on.get(name) else "")
    return line
