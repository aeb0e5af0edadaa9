"""A live session: opens the devices, runs the worker, watches both, takes lost devices up again."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio_enh.errors import UserError

from .channels import Channel
from .devices import Device, Direction
from .endpoints import Capture, Playback
from .opening import BLOCK_SECONDS, OpenDevice, open_device
from .portaudio import rescan
from .priority import Priority, carriers, lower_priority, raise_priority
from .processor import Engine, Processor
from .recorder import Recorder
from .routes import Routes, Tell
from .status import Counters, Status, take_status

# A device that says nothing for so long has stalled; at first, null sinks take two seconds.
STALL_SECONDS = 1.0
START_SECONDS = 4.0
RETRY_SECONDS = 1.0
# PortAudio knows the devices of when it was started, and can be started anew only when nothing is open: for a device
# that it reaches by itself the other end is closed too, from time to time.
RESCAN_SECONDS = 5.0
_WATCH_SECONDS = 0.1
_GOING_BLOCKS = 25
# Which input is listened to is told once there is something to hear.
LISTENING_DB = -70.0

FindDevice = Callable[[Direction], Device]
MakeEngine = Callable[[int, int, int], Engine]


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        channels: to enhance, 1 or 2.
        channel: which of the microphone's inputs to take.
        reserve: seconds of sound that the output holds against jitter at the least.
        first_reserve: what it holds at first, until it is known whether less will do.
        block: seconds of sound per callback.
        record: file for what is heard, None for none.
        record_input: file for what the microphone gave.
        record_removed: file for what was taken away of it.
    """

    channels: int = 1
    channel: Channel = "auto"
    reserve: float = 0.015
    first_reserve: float = 0.030
    block: float = BLOCK_SECONDS
    record: Path | None = None
    record_input: Path | None = None
    record_removed: Path | None = None


@dataclass
class _End:
    """One device and how it is doing."""

    direction: Direction
    device: Device
    opened: OpenDevice | None = None
    blocks: int = -1
    heard: float = 0.0  # when its callback last came
    grace: float = START_SECONDS
    again: float = 0.0  # when to try to open it next
    rescan: float = 0.0  # when to close the other end for it
    priority: Priority | None = None
    lost: bool = False


class Session:
    """Microphone to loudspeaker, enhanced, until it is closed.

    Args:
        sounddevice: the module.
        make_engine: called with the microphone's rate, the channels and the block's length in samples.
        find_input, find_output: give the device anew each time it is opened, as numbers change when devices come and
            go; ``find_output`` None plays nothing.
        options: see there.
        before_reopening: called with the direction before a lost device is looked for: what we made at the server
            may have to be made again.
        make_routes: gives what watches the sound server, called with a function for events; None if there is none.

    Attributes:
        events: ``(kind, text)``: ``warning``, ``lost``, ``back``, ``info``; for the user, in order.
        error: why the session had to end, None while it runs.
        hung: PortAudio did not come back from closing a device; it cannot be ended in good order any more.

    Raises:
        UserError: a device cannot be opened, a recording not be written.
    """

    def __init__(
        self,
        sounddevice: Any,
        make_engine: MakeEngine,
        find_input: FindDevice,
        find_output: FindDevice | None,
        options: Options | None = None,
        *,
        before_reopening: Callable[[Direction], None] | None = None,
        make_routes: Callable[[Tell], Routes | None] | None = None,
    ):
        self._sounddevice = sounddevice
        self._make_engine = make_engine
        self._find = {"input": find_input, "output": find_output}
        self.options = options or Options()
        self._before_reopening = before_reopening
        self.events: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self.error: Exception | None = None
        self.hung = False
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._counters = Counters()
        self._recorders: dict[str, Recorder] = {}
        self._failed: list[UserError] = []
        self._listening: str | None = None
        self._routes: Routes | None = None
        self._make_routes = make_routes
        # Swapped by the watch, taken up by the worker between two blocks.
        self._new_ends: queue.SimpleQueue[Capture | Playback] = queue.SimpleQueue()

        self._input = _End("input", find_input("input"))
        self._output = _End("output", find_output("output")) if find_output is not None else None
        try:
            self._input.opened = self._open(self._input)
            if self._output is not None:
                self._output.opened = self._open(self._output)
            capture = self._input.opened.end
            assert isinstance(capture, Capture)
            engine = make_engine(capture.sample_rate, self.options.channels, capture.block)
            playback = self._output.opened.end if self._output and self._output.opened else None
            assert playback is None or isinstance(playback, Playback)
            self.processor = Processor(
                engine,
                capture,
                playback,
                reserve=self.options.reserve,
                first_reserve=self.options.first_reserve,
                channel=self.options.channel,
            )
            if self.options.record is not None:
                self.start_recording(self.options.record)
            if self.options.record_input is not None:
                self.start_recording(self.options.record_input, "input")
            if self.options.record_removed is not None:
                self.start_recording(self.options.record_removed, "removed")
        except BaseException:
            for recorder in self._recorders.values():
                recorder.discard()
            self._close_devices()
            raise

    def start(self) -> None:
        """Begin."""
        self._counters.begin()
        # First the devices: the watch would take one that does not run yet for one that is gone.
        for end in self._ends():
            self._start(end)
        if self._make_routes is not None:
            self._routes = self._make_routes(lambda kind, text: self.events.put((kind, text)))
        for work in (self._work, self._watch):
            thread = threading.Thread(target=self._guarded, args=(work,), name=work.__name__, daemon=True)
            self._threads.append(thread)
            thread.start()

    def wait_for_sound(self, timeout: float = START_SECONDS) -> bool:
        """Until the microphone's first block has come; False if none came in time."""
        until = time.monotonic() + timeout
        while self.processor.capture.beat.blocks == 0 and not self._stopping.is_set():
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    def close(self) -> None:
        """Stop everything and finish the recordings.

        Raises:
            UserError: a recording could not be written to its end, now or earlier.
        """
        self._stopping.set()
        for thread in self._threads:
            thread.join(5)
        # First what cannot be had again: a device that hangs takes seconds to close.
        for which in list(self._recorders):
            try:
                self.stop_recording(which)
            except UserError as error:
                self._failed.append(error)
        if self._routes is not None:
            self._routes.close()
        self._close_devices()
        if self._failed:
            raise self._failed[0]

    def status(self) -> Status:
        """How it is going."""
        outputs = self._recorders.get("output")
        return take_status(
            self.processor,
            self._counters,
            input_device=self._input.device,
            output_device=self._output.device if self._output else None,
            lost=[end.direction for end in self._ends() if end.lost],
            priorities=[end.priority for end in self._ends() if end.priority],
            recording=str(outputs.path) if outputs is not None else None,
        )

    # Recording

    def start_recording(self, path: Path, which: str = "output") -> None:
        """Record what is heard, with ``which="input"`` what the microphone gives, with ``"removed"`` what was taken
        away (to be started before the session is).

        Raises:
            AudioFileError: the file cannot be written.
        """
        if which in self._recorders:
            raise UserError(f"already recording to {self._recorders[which].path}")
        engine = self.processor.engine
        recorder = Recorder(path, engine.sample_rate, engine.channels)
        self._recorders[which] = recorder
        setattr(self.processor, f"on_{which}", recorder.add)

    def stop_recording(self, which: str = "output") -> Path | None:
        """Finish the file; its path, None if there was no recording.

        Raises:
            UserError: it could not be written.
        """
        recorder = self._recorders.pop(which, None)
        if recorder is None:
            return None
        setattr(self.processor, f"on_{which}", None)
        if recorder.seconds == 0:
            recorder.discard()
            self.events.put(("info", f"nothing was recorded: {recorder.path} was not written"))
            return None
        recorder.close()
        self.events.put(("info", f"recorded {recorder.seconds:.1f} s to {recorder.path}"))
        if recorder.dropped:
            lost = recorder.dropped / recorder.sample_rate
            self.events.put(
                ("warning", f"the disk was too slow: {lost:.1f} s are missing in {recorder.path}")
            )
        return recorder.path

    # The worker

    def _work(self) -> None:
        self._counters.worker_priority = raise_priority(threading.get_native_id())
        told = 0
        while not self._stopping.is_set():
            self._take_new_ends()
            self.processor.run()
            listening = self.processor.chooser.description
            if listening != self._listening and self.processor.input_meter.level > LISTENING_DB:
                self._listening = listening
                if listening is not None:
                    self.events.put(("info", f"listening to {listening}"))
            governor = self.processor.governor
            if governor.times > told and governor.overloaded:
                told = governor.times
                self.events.put(
                    ("warning", "the processor is too busy: you hear the unprocessed microphone for a moment")
                )
            elif self._counters.dry and not governor.overloaded:
                self.events.put(("info", "enhancing again"))
            self._counters.dry = governor.overloaded

    def _take_new_ends(self) -> None:
        while not self._new_ends.empty():
            end = self._new_ends.get()
            old = self.processor.playback if isinstance(end, Playback) else self.processor.capture
            if old is not None:
                self._counters.keep(old)
            if isinstance(end, Playback):
                self.processor.set_playback(end)
            elif (end.sample_rate, end.block) == (
                self.processor.capture.sample_rate,
                self.processor.capture.block,
            ):
                self.processor.set_capture(end)
            else:
                self._replace_processor(end)

    def _replace_processor(self, capture: Capture) -> None:
        """The microphone came back at another rate."""
        old = self.processor
        engine = self._make_engine(capture.sample_rate, self.options.channels, capture.block)
        engine.strength, engine.max_attenuation = old.strength, old.engine.max_attenuation
        new = Processor(engine, capture, old.playback, reserve=old.reserve, channel=old.channel)
        new.bypassed, new.muted = old.bypassed, old.muted
        self.processor = new
        for which in list(self._recorders):
            self.events.put(("warning", "the sampling rate has changed: the recording ends here"))
            self.stop_recording(which)

    # The watch

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH_SECONDS):
            if self._routes is not None and self._routes.due():
                self._look_at_routes(self._routes)
            for end in self._ends():
                if end.opened is None:
                    if time.monotonic() >= end.again:
                        self._reopen(end)
                elif self._has_stalled(end):
                    self._lose(end)
            self._watch_recordings()

    def _look_at_routes(self, routes: Routes) -> None:
        ends = {
            end.direction: end
            for end in self._ends()
            if end.opened is not None and end.device.route is not None
        }
        wanted = {direction: end.device.route or "" for direction, end in ends.items()}
        for direction in routes.look(wanted):
            self._lose(ends[direction])

    def _has_stalled(self, end: _End) -> bool:
        assert end.opened is not None
        now = time.monotonic()
        callbacks = end.opened.end
        if callbacks.beat.blocks != end.blocks:
            end.blocks, end.heard = callbacks.beat.blocks, now
            # Not earlier: PortAudio's thread may spin until the device has got going.
            if end.blocks > _GOING_BLOCKS and end.priority is None:
                end.grace = STALL_SECONDS
                end.priority = raise_priority(callbacks.thread)
                for thread in carriers():
                    raise_priority(thread)
        return not end.opened.alive or now - end.heard > end.grace

    def _lose(self, end: _End) -> None:
        self.events.put(("lost", f"the {end.direction} {end.device.name} is gone: waiting for it"))
        end.lost = True
        end.rescan = time.monotonic() + RESCAN_SECONDS
        self._expect_silence()
        self._shut(end)

    def _shut(self, end: _End) -> None:
        assert end.opened is not None
        if not end.opened.close():
            # PortAudio's thread may go round for ever in an error of a device that is gone (PortAudio issue 1037).
            self.hung = True
            if thread := end.opened.end.thread:  # known once it has called back
                lower_priority(thread)
            self.events.put(
                (
                    "warning",
                    f"PortAudio hangs on the {end.direction} that is gone, and may keep a core busy until live is "
                    "started anew",
                )
            )
        end.opened = None
        end.again = time.monotonic()

    def _reopen(self, end: _End) -> None:
        now = time.monotonic()
        end.again = now + RETRY_SECONDS
        try:
            if not self.hung and all(each.opened is None for each in self._ends()):
                rescan(self._sounddevice)
            if self._before_reopening is not None:
                self._before_reopening(end.direction)
            find = self._find[end.direction]
            assert find is not None
            end.device = find(end.direction)
            end.opened = self._open(end)
            self._start(end)
        except UserError:
            if end.device.route is None and now > end.rescan:
                end.rescan = now + RESCAN_SECONDS
                for other in self._ends():
                    if other.opened is not None:
                        self._shut(other)
            return
        if self._routes is not None:
            self._look_at_routes(self._routes)
            if end.opened is None:  # its device went while it was opened
                return
        self._new_ends.put(end.opened.end)
        if end.lost:
            self.events.put(("back", f"the {end.direction} {end.device.name} is back"))
        end.lost = False
        self._expect_silence()

    def _expect_silence(self) -> None:
        playback = self.processor.playback
        if playback is not None:
            playback.idle = self._input.opened is None or self._input.lost

    def _watch_recordings(self) -> None:
        for which, recorder in list(self._recorders.items()):
            if recorder.error is not None:
                self.events.put(("warning", f"recording stopped: {recorder.error}"))
                self._failed.append(recorder.error)
                self._recorders.pop(which, None)

    # Devices

    def _ends(self) -> list[_End]:
        return [self._input] if self._output is None else [self._input, self._output]

    def _open(self, end: _End) -> OpenDevice:
        opened = open_device(self._sounddevice, end.device, end.direction, block_seconds=self.options.block)
        wanted = self.options.channel
        if end.direction == "input" and isinstance(wanted, int) and wanted > opened.end.channels:
            opened.close()
            raise UserError(f"there is no input {wanted}: {end.device.name} has {opened.end.channels}")
        return opened

    def _start(self, end: _End) -> None:
        assert end.opened is not None
        end.blocks, end.heard, end.grace, end.priority = -1, time.monotonic(), START_SECONDS, None
        try:
            end.opened.start()
        except self._sounddevice.PortAudioError as error:
            self._shut(end)
            raise UserError(f"cannot start the {end.direction} {end.device.name}: {error}") from error

    def _close_devices(self) -> None:
        for end in self._ends():
            if end.opened is not None:
                self._shut(end)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.error = error
            self._stopping.set()
