"""Where the sound server takes our streams, and what it sends to the virtual microphone, watched and put right.

A server moves the streams of a device that is gone to another one, and streams that follow its default when that
changes. Left alone, other people on a call would hear what the computer plays, because the virtual microphone's sink
became the default when headphones were unplugged; the user would hear himself; or we would listen to ourselves.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from audio_enh.errors import UserError

from .devices import Direction
from .pulse import ServerStream, default_sink, numbers_of, owned_sinks, pactl, streams_of
from .virtual_mic import owner
from .virtual_mic.pulse import SAMPLE_RATE

_KINDS: dict[Direction, tuple[str, str, str]] = {
    "input": ("source-outputs", "sources", "move-source-output"),
    "output": ("sink-inputs", "sinks", "move-sink-input"),
}
# Without the server's own word the routes are looked at so often, with it only to be sure.
LOOK_SECONDS = 1.5
CALM_SECONDS = 5.0

Tell = Callable[[str, str], None]


class Sink(Protocol):
    """The virtual microphone's way in."""

    name: str
    sink: str


class Routes:
    """Watches the server for a session; used by one thread.

    Args:
        tell: is given what happened, ``(kind, text)``.
        microphone: the virtual microphone that the session is, None if it is none.
        before: the server's default sink before that was made.
        masters: gives the sources that modules of ours record from, by the module's number.
    """

    def __init__(
        self,
        tell: Tell,
        microphone: Sink | None = None,
        before: str | None = None,
        masters: Callable[[], Mapping[str, str]] = dict,
    ):
        self._tell = tell
        self._microphone = microphone
        self._masters = masters
        self._before = before  # the default when it was last as it should be
        self._fallen: str | None = None  # that default, while it is gone and another takes its place
        self._substitute: str | None = None  # the one that does
        self._nowhere: str | None = None  # module of the sink made for want of another
        self._deliberate: set[str] = set()  # what others play to the microphone because they want to
        self._subscription = _Subscription()
        self._next_look = 0.0

    def due(self) -> bool:
        """Whether to `look` now."""
        return self._subscription.take_news() or time.monotonic() >= self._next_look

    def look(self, wanted: Mapping[Direction, str]) -> list[Direction]:
        """Put right what is wrong.

        Args:
            wanted: name of the source or sink that the stream of each direction belongs to.

        Returns:
            Directions whose device is gone, or whose stream cannot be brought back.
        """
        lost: list[Direction] = []
        with contextlib.suppress(UserError):  # the server is gone: its devices' silence tells
            for direction, name in wanted.items():
                if not self._bring_back(direction, name):
                    lost.append(direction)
            if self._microphone is not None:
                self._keep_from_default(self._microphone)
        calm = self._subscription.alive
        self._next_look = time.monotonic() + (CALM_SECONDS if calm else LOOK_SECONDS)
        return lost

    def close(self) -> None:
        """Stop watching, and remove what was made."""
        self._subscription.close()
        with contextlib.suppress(UserError):
            self._remove_nowhere()

    # Our own streams

    def _bring_back(self, direction: Direction, name: str) -> bool:
        streams, devices, move = _KINDS[direction]
        numbers = numbers_of(devices)
        if name not in numbers:
            return False
        for stream in streams_of(streams):
            theirs = self._masters().get(stream.module or "") if direction == "input" else None
            home = theirs if theirs is not None else name
            if (theirs is None and stream.process != os.getpid()) or stream.device == numbers.get(home):
                continue
            away = next((each for each, number in numbers.items() if number == stream.device), "nowhere")
            try:
                pactl(move, stream.index, home)
            except UserError:
                return False
            self._tell(
                "warning",
                f"the sound server had moved our {direction} from {home} to {away}: it was moved back",
            )
        return True

    # The default

    def _keep_from_default(self, microphone: Sink) -> None:
        current = default_sink()
        ours = owned_sinks()
        theirs = [name for name in numbers_of("sinks") if name not in ours]
        if self._fallen in theirs and current in (self._substitute, microphone.sink):
            assert self._fallen is not None
            self._make_default(self._fallen, microphone)
            self._tell("info", f"{self._fallen} is the computer's output again")
            self._fallen = None
        elif current == microphone.sink:
            before = self._fallen or self._before
            self._fallen = None if before in theirs else before
            self._substitute = before if before in theirs else theirs[0] if theirs else self._make_nowhere()
            assert self._substitute is not None
            self._make_default(self._substitute, microphone)
            where = self._substitute if theirs else "nowhere until there is an output"
            self._tell(
                "warning",
                f"the sound server had made {microphone.name} its default output: what the computer plays goes to "
                f"{where} instead",
            )
        elif current not in ours:
            if current != self._substitute:
                self._fallen = None  # somebody has chosen
            self._before = self._fallen or current
            self._deliberate = {stream.index for stream in self._foreign(microphone)}
        if theirs and self._nowhere is not None:
            if default_sink() == _nowhere_name():
                self._make_default(theirs[0], microphone)
            self._remove_nowhere()

    def _make_default(self, sink: str, microphone: Sink) -> None:
        """And take away from the microphone, and from nowhere, what came to it because it was the default."""
        pactl("set-default-sink", sink)
        home = numbers_of("sinks").get(sink)
        for stream in self._foreign(microphone):
            if stream.index not in self._deliberate and stream.device != home:
                with contextlib.suppress(UserError):  # it has ended meanwhile
                    pactl("move-sink-input", stream.index, sink)

    def _foreign(self, microphone: Sink) -> list[ServerStream]:
        sinks = numbers_of("sinks")
        ours = {sinks.get(microphone.sink), sinks.get(_nowhere_name())}
        return [
            stream
            for stream in streams_of("sink-inputs")
            if stream.device in ours and stream.process != os.getpid()
        ]

    def _make_nowhere(self) -> str:
        if self._nowhere is None:
            self._nowhere = pactl(
                "load-module",
                "module-null-sink",
                f"sink_name={_nowhere_name()}",
                f"rate={SAMPLE_RATE}",
                f"sink_properties=\"device.description='no output' {owner.PROPERTY}='{owner.me()}'\"",
            ).strip()
        return _nowhere_name()

    def _remove_nowhere(self) -> None:
        number, self._nowhere = self._nowhere, None
        if number is not None:
            pactl("unload-module", number)


def _nowhere_name() -> str:
    return f"audio_enh.nowhere.{os.getpid()}"


class _Subscription:
    """``pactl subscribe``: the server says when something changes.

    If we are killed, our streams go, the server says so, and the program ends because nobody reads that.
    """

    def __init__(self) -> None:
        self._news = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._again = 0.0
        self._start()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def take_news(self) -> bool:
        """Whether something has changed since this was last asked."""
        if not self.alive and time.monotonic() > self._again:
            self._start()
        news = self._news.is_set()
        self._news.clear()
        return news

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._again = float("inf")

    def _start(self) -> None:
        self._again = time.monotonic() + LOOK_SECONDS
        program = shutil.which("pactl")
        if program is None:
            return
        if self._process is not None:
            self._process.wait()
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                [program, "subscribe"],
                env={**os.environ, "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            threading.Thread(
                target=self._read, args=(self._process,), name="subscription", daemon=True
            ).start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                # Our own questions make clients come and go.
                if b" on client" not in line:
                    self._news.set()
