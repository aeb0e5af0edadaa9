"""Writing through the user's ffmpeg: new sound into a container, everything else in it copied.

The sound is encoded on the way into a file of its own; at the end ffmpeg copies it together with the other
streams of the input, packet by packet. (Encoding and copying in one go would let the picture race ahead of a
slow model, and leave a file in which sound and picture lie far apart.)

Every encoder delays its signal. Some containers say by how much, so that players drop those samples (MP4's
edit list, WebM's CodecDelay); others do not, or not for every codec. What comes out is therefore measured,
once for each combination: a second of noise goes through the same encoder and container and back. A delay
left over is taken off the start of the signal, so that nothing moves; in those containers (AAC or MP3 in
Matroska, MPEG-TS, AVI) the first 20 to 30 ms are then the encoder's warm-up.

ffmpeg says that all is well where only its last bytes did not fit on the disk: what it wrote is looked at before it
takes the place of anything.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import AudioFileError, DependencyError, UserError
from audio_enh.io.atomic import AtomicTarget, write_error
from audio_enh.io.codecs import choose_codec, depth_of
from audio_enh.io.containers import FFMPEG_MUXERS, OGG_MUXERS
from audio_enh.io.ffmpeg import (
    FFmpeg,
    FFmpegFailure,
    encoders,
    input_arguments,
    last_line,
    require_program,
    run_ffmpeg,
)
from audio_enh.io.ffprobe import Container, Stream, first_time, last_time, probe_container, probe_sound
from audio_enh.io.info import AudioInfo
from audio_enh.io.integrity import examine
from audio_enh.io.remux import Sound, metadata_text, mux_arguments, name_stream, select_streams
from audio_enh.io.samples import replace_nonfinite

#: Seconds by which a finished file may be shorter than what went in: timestamps are rounded.
_SHORT = 0.05
#: What ffmpeg says of a disk that does not take more, and the system's number for it.
_DISK_ERRORS = {
    b"No space left on device": errno.ENOSPC,
    b"Disk quota exceeded": errno.EDQUOT,
    b"File too large": errno.EFBIG,
}


@contextlib.contextmanager
def _scratch_folder() -> Iterator[Path]:
    """A folder for a rehearsal.

    Raises:
        UserError: there is no place for temporary files.
    """
    try:
        folder = tempfile.TemporaryDirectory()
    except OSError as error:
        raise UserError(
            f"no folder for temporary files can be written ({error.strerror or error}): set the environment "
            "variable TMPDIR to one that can"
        ) from error
    with folder:
        yield Path(folder.name)


@dataclass(frozen=True)
class _Calibration:
    """What comes back from encoder and container.

    Attributes:
        lag: in samples at the input's rate.
        sample_rate, channels: those of the encoded sound.
        start: time of the first sample in the file in between, in seconds.
        middle: that file: a second of sound for a rehearsal.
    """

    lag: int
    sample_rate: int
    channels: int
    start: float
    middle: bytes


@functools.lru_cache(maxsize=32)
def _calibrate(sound: Sound) -> _Calibration:
    """Send a second of noise through and look where it comes out.

    Raises:
        AudioFileError: this encoder or container does not work as asked.
    """
    rate = sound.sample_rate
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(rate))
    frequency = np.fft.rfftfreq(rate, 1 / rate)
    spectrum[(frequency < 200) | (frequency > min(3000, 0.4 * rate))] = 0  # what every encoder keeps
    noise = np.fft.irfft(spectrum, rate)
    noise = (0.2 * noise / noise.std()).astype("<f4")
    with _scratch_folder() as folder:
        middle, output = folder / "middle", folder / "output"
        pcm = np.repeat(noise, sound.channels).tobytes()
        run_ffmpeg(sound.encoder_arguments(middle), stdin=pcm, output=middle)
        late = ["-copyts", "-itsoffset", "0.5"] if sound.late else []
        run_ffmpeg([*late, *mux_arguments(sound, middle, output, None, (), 0.0)], output=output)
        sample_rate, channels = probe_sound(output)
        start, content = first_time(middle, 0), middle.read_bytes()
        shape = ["-ar", str(rate), "-ac", str(sound.channels)]
        decode = [*input_arguments(output), *shape, "-f", "f32le", "pipe:1"]
        decoded = np.frombuffer(run_ffmpeg(decode), "<f4").reshape(-1, sound.channels)[:, 0]
    size = 2 * max(len(noise), len(decoded))
    correlation = np.fft.irfft(np.fft.rfft(decoded, size) * np.fft.rfft(noise, size).conj(), size)
    peak = int(np.argmax(correlation))
    lag = peak if peak < size // 2 else peak - size
    return _Calibration(lag, sample_rate, channels, start, content)


class FFmpegSink:
    """Encodes into ``path`` (the temporary file); ``target`` is the name for messages.

    Attributes:
        clipped: always 0; the encoder limits what its format cannot hold.
        warnings: what the user should be told, one line each.

    Raises:
        DependencyError: no ffmpeg, or none with a fitting encoder.
        AudioFileError: ffmpeg cannot write the streams of ``like`` into this container.
    """

    def __init__(
        self, path: Path, target: Path, like: AudioInfo | None, *, sample_rate: int, channels: int
    ) -> None:
        self.clipped = 0
        self.warnings: list[str] = []
        self._path, self._target = path, target
        program = require_program("ffmpeg", str(target))
        muxer = (FFMPEG_MUXERS | OGG_MUXERS)[target.suffix.lower()]
        self._source: Container | None = None
        self._streams: list[Stream] = []
        self._tags = dict(like.tags) if like is not None else {}
        if like is not None and like.path is not None and like.backend == "ffmpeg":
            self._source = probe_container(like.path, like.track)
            self._streams, lost = select_streams(self._source, muxer)
            self.warnings += [f"{target}: {line}" for line in lost]
        source = self._source
        codec = choose_codec(
            muxer,
            None if source is None else source.audio.codec,
            None if like is None else like.bit_rate,
            channels=channels,
            available=encoders(program),
            high_efficiency=source is not None and source.high_efficiency,
            depth=depth_of(like, "" if source is None else source.sample_format),
        )
        if codec is None:
            raise DependencyError(f"{target}: this ffmpeg has no audio encoder for {target.suffix} files")
        layout = source.layout if source is not None and source.channels == channels else ""
        late = source is not None and source.start > 0
        self._sound = Sound(muxer, codec, sample_rate, channels, layout, late)
        self._offset = 0.0
        lag = self._rehearse()
        self._skip = max(lag, 0)
        self._sent = self._frames = 0
        self._middle = AtomicTarget(path.with_name(f"{path.stem}.sound"))
        self._process: FFmpeg | None = None
        try:
            arguments = self._sound.encoder_arguments(self._middle.temporary)
            self._process = FFmpeg(arguments, purpose=str(target), stdin=True)
            # A decoder may drop samples that the encoder never put in front (WMA).
            self._send(np.zeros((max(-lag, 0), channels), np.float32))
        except BaseException:
            self.abort()
            raise

    def _rehearse(self) -> int:
        """Find out in a second, not after an hour, whether this container can be written; returns the lag."""
        try:
            found = _calibrate(self._sound)
            if self._source is not None:
                self._offset = self._source.start - found.start
                self._offset += self._measure_shift(self._source, found.middle)
        except FFmpegFailure as error:
            if self._disk_error(error.stderr) is not None:
                raise self._explain(error) from error
            raise AudioFileError(f"{self._target}: ffmpeg cannot write this container: {error}") from error
        if found.channels != self._sound.channels:
            raise AudioFileError(
                f"{self._target}: {self._sound.codec.encoder} holds at most {found.channels} channels, "
                f"not {self._sound.channels}: name an output such as .wav or .mkv"
            )
        if found.sample_rate != self._sound.sample_rate:
            self.warnings.append(
                f"{self._target}: {self._sound.codec.encoder} does not know {self._sound.sample_rate} Hz: "
                f"written at {found.sample_rate} Hz"
            )
        return found.lag

    def _measure_shift(self, source: Container, sound: bytes) -> float:
        """Put a second of sound together with the input's other streams, and see where it comes to lie.

        ffmpeg and its muxers disagree on who accounts for the codec's delay (Opus in WebM: 6.5 ms).

        Returns:
            Seconds to add, so that sound and picture lie as in the input.
        """
        others = [stream for stream in self._streams if stream.index != source.audio.index]
        if not others:
            return 0.0
        with _scratch_folder() as folder:
            middle, output = folder / "middle", folder / "output"
            middle.write_bytes(sound)
            try:
                self._try_mux(middle, output)
            except FFmpegFailure:
                data = [stream for stream in others if stream.kind == "data"]
                if not data:
                    raise
                self._leave_out(data, middle, output)
            picture = next((s for s in self._streams if s.kind == "video" and not s.attached_picture), None)
            if picture is None:
                return 0.0
            # Streams are written in the order of the list.
            moved = first_time(output, self._streams.index(picture)) - first_time(source.path, picture.index)
            return source.start + moved - first_time(output, self._streams.index(source.audio))

    def _leave_out(self, data: list[Stream], middle: Path, output: Path) -> None:
        """Find out which streams of data the container takes, one by one; what those hold only their makers know."""
        assert self._source is not None
        whole = self._streams
        self._streams = [stream for stream in whole if stream not in data]
        self._try_mux(middle, output)
        for stream in data:
            fitting = self._streams
            self._streams = [each for each in whole if each in fitting or each is stream]
            try:
                self._try_mux(middle, output)
            except FFmpegFailure:
                self._streams = fitting
                name = name_stream(stream, self._source)
                self.warnings.append(f"{self._target}: {name} does not fit and is left out")
        self._try_mux(middle, output)

    def _try_mux(self, middle: Path, output: Path) -> None:
        """The first second of it all."""
        assert self._source is not None
        arguments = self._mux_arguments(middle, output)
        at = arguments.index("-map")
        length = ["-t", f"{max(self._source.start, 0) + 1:.3f}"]
        run_ffmpeg([*arguments[:at], *length, *arguments[at:]], output=output)

    def _mux_arguments(self, middle: Path, output: Path) -> list[str]:
        return mux_arguments(
            self._sound, middle, output, self._source, self._streams, self._offset, tagged=bool(self._tags)
        )

    def write(self, audio: NDArray[np.float32]) -> None:
        """Append ``(n, channels)`` samples."""
        self._frames += len(audio)
        dropped = min(self._skip, len(audio))
        self._skip -= dropped
        self._send(np.asarray(replace_nonfinite(audio[dropped:]), np.float32))

    def _send(self, audio: NDArray[np.float32]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            with self._process.patience():
                self._process.stdin.write(audio.astype("<f4").tobytes())
        except OSError as error:  # it has given up, and says why
            self._finish_encoding()
            raise AudioFileError(f"ffmpeg cannot write {self._target}: it ended too early") from error
        self._sent += len(audio)

    def _finish_encoding(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError), self._process.patience():
            self._process.stdin.close()
        try:
            self._process.wait(self._middle.temporary)
        except FFmpegFailure as error:
            raise self._explain(error) from error

    def _disk_error(self, stderr: bytes) -> int | None:
        return next((number for words, number in _DISK_ERRORS.items() if words in stderr), None)

    def _explain(self, error: FFmpegFailure) -> AudioFileError:
        number = self._disk_error(error.stderr)
        if number is not None:
            return write_error(OSError(number, last_line(error.stderr)), self._target)
        return AudioFileError(f"ffmpeg cannot write {self._target}: {error}")

    def close(self) -> None:
        """Finish the sound, put it together with the rest, and look whether all of it is there.

        Raises:
            AudioFileError: the disk is full, or ffmpeg failed.
        """
        try:
            if self._sent == 0:  # shorter than the encoder's delay
                self._send(np.zeros((1, self._sound.channels), np.float32))
            self._finish_encoding()
            tags = metadata_text(self._tags) if self._tags and self._source is None else None
            try:
                run_ffmpeg(
                    self._mux_arguments(self._middle.temporary, self._path), stdin=tags, output=self._path
                )
            except FFmpegFailure as error:
                raise self._explain(error) from error
            self._verify()
        finally:
            self.abort()

    def _verify(self) -> None:
        """Compare what lies on the disk with what went in.

        Raises:
            AudioFileError: something is missing.
        """
        start = self._source.start if self._source is not None else 0.0
        index = self._streams.index(self._source.audio) if self._source is not None else 0
        expected = start + self._frames / self._sound.sample_rate
        try:
            found = examine(self._path).truncated
            end = last_time(self._path, index, expected - 2) if found is None else None
        except (AudioFileError, OSError) as error:
            raise AudioFileError(
                f"{self._target}: what ffmpeg wrote cannot be read again: {error}"
            ) from error
        if found is None and (end is None or end < expected - _SHORT):
            found = f"cut short: {end or 0:.2f} of {expected:.2f} s are there"
        if found is not None:
            raise AudioFileError(
                f"{self._target}: what ffmpeg wrote is {found}; is there space left on the disk?"
            )

    def abort(self) -> None:
        """Stop ffmpeg and remove the file in between."""
        if self._process is not None:
            self._process.close()
        self._middle.discard()
