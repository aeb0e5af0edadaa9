"""Running the user's ffmpeg: what libsndfile does not know (m4a, mp4, mkv, webm, mov...).

It may open recordings only, and nothing that these name (a playlist called ``talk.mp4`` would make it read other
files); and one that makes no progress is ended.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from audio_enh.errors import AudioFileError, DependencyError, UserError
from audio_enh.io.containers import DEMUXERS

#: Seconds without progress after which an ffmpeg is taken to hang.
PATIENCE = 120.0
#: Input options: which files may be opened (see there), and nothing over a network.
ONLY_RECORDINGS = ("-protocol_whitelist", "file,pipe", "-format_whitelist", DEMUXERS)
#: What is kept of the complaints of one ffmpeg, in bytes from its beginning and from its end.
_KEPT = 1 << 14
#: What ffmpeg says of outputs that it could not write, with an exit status of 0 where the last bytes were meant.
_WRITE_FAILURES = (
    b"No space left on device",
    b"Disk quota exceeded",
    b"File too large",
    b"Input/output error",
    b"Error writing trailer",
    b"Error closing file",
)


def find_program(name: str) -> str | None:
    """Path of ``ffmpeg`` or ``ffprobe``, None if it is not installed."""
    return shutil.which(name)


def require_program(name: str, purpose: str) -> str:
    """Path of a program.

    Raises:
        DependencyError: it is not installed.
    """
    program = find_program(name)
    if program is None:
        raise DependencyError(
            f"{purpose} needs {name}, which is not installed: get it from your package manager "
            "(apt, brew or winget install ffmpeg), or convert the file to WAV or FLAC first"
        )
    return program


def file_url(path: Path) -> str:
    """How to name a file to ffmpeg: a bare name may look like an option or a protocol."""
    return f"file:{path.resolve()}"


def input_arguments(path: Path) -> list[str]:
    """Options that open a recording, and nothing else."""
    return [*ONLY_RECORDINGS, "-i", file_url(path)]


def last_line(stderr: bytes) -> str:
    """What ffmpeg complained of, in one line."""
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    useful = [
        line for line in lines if not line.startswith(("Conversion failed", "Error opening output file"))
    ]
    return (useful or lines or ["ffmpeg failed without a message"])[-1].strip()


class FFmpegFailure(AudioFileError):
    """ffmpeg gave up; ``stderr`` is what it said."""

    def __init__(self, message: str, stderr: bytes):
        super().__init__(message)
        self.stderr = stderr


class FFmpeg:
    """A running ffmpeg or ffprobe.

    What it says on stderr is read along, as a full pipe that nobody reads would stop it, and a part of it kept.

    Args:
        arguments: its options, without those for silence.
        program: which of the two.
        listen: told every line of stderr, from a thread of its own; a line that it takes (returns True) is no
            complaint.
        stdin: a pipe goes in.
        stdout: a pipe comes out.

    Attributes:
        stdin, stdout: the pipes, where asked for.

    Raises:
        DependencyError: it is not installed.
        UserError: the system starts no more processes.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        program: str = "ffmpeg",
        purpose: str = "this container",
        stdin: bool = False,
        stdout: bool = False,
        listen: Callable[[bytes], bool] | None = None,
    ) -> None:
        path = require_program(program, purpose)
        head = [path, "-hide_banner", "-v", "error"]
        if program == "ffmpeg":
            head += ["-y"] if stdin else ["-y", "-nostdin"]
        self._purpose = purpose
        self._listen = listen
        self._first, self._last = b"", b""
        self._hung = False
        try:
            self._process = subprocess.Popen(
                [*head, *arguments],
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE if stdout else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        except OSError as error:
            raise UserError(f"{purpose}: {program} cannot be started: {error.strerror or error}") from error
        self.stdin: IO[bytes] | None = self._process.stdin
        self.stdout: IO[bytes] | None = self._process.stdout
        self._reader = threading.Thread(target=self._read_stderr, name="ffmpeg-stderr", daemon=True)
        self._reader.start()

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            while line := self._process.stderr.readline(4096):
                if self._listen is not None and self._listen(line):
                    continue
                if len(self._first) < _KEPT:
                    self._first += line
                else:
                    self._last = (self._last + line)[-_KEPT:]

    @property
    def stderr(self) -> bytes:
        """What it complained of so far: the beginning and the end."""
        return self._first + self._last

    @contextlib.contextmanager
    def patience(self) -> Iterator[None]:
        """Around a read or a write that may block: ends an ffmpeg that hangs, so that it fails instead."""
        timer = threading.Timer(PATIENCE, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        self._hung = True
        self._process.kill()

    def wait(self, output: Path | None = None) -> None:
        """Wait for its end.

        Args:
            output: a file that grows or changes as long as there is progress.

        Raises:
            FFmpegFailure: it failed or hangs, or could not write all of its output.
        """
        before, since = _state(output), time.monotonic()
        while True:
            try:
                code = self._process.wait(timeout=1.0 if output is not None else PATIENCE)
                break
            except subprocess.TimeoutExpired:
                now = _state(output)
                if now != before:
                    before, since = now, time.monotonic()
                elif time.monotonic() - since > PATIENCE or output is None:
                    self._give_up()
        self._reader.join()
        if self._hung:
            raise FFmpegFailure(f"ffmpeg made no progress for {PATIENCE:.0f} s and was ended", self.stderr)
        if code == -getattr(signal, "SIGXFSZ", 0) and code:
            raise FFmpegFailure("File too large", b"File too large")
        if code != 0:
            raise FFmpegFailure(last_line(self.stderr), self.stderr)
        for line in self.stderr.splitlines():
            if any(words in line for words in _WRITE_FAILURES):
                raise FFmpegFailure(last_line(line), self.stderr)

    def close(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self.stdin, self.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def __enter__(self) -> FFmpeg:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


def _state(path: Path | None) -> tuple[int, int] | None:
    """Changes while a file is written, also by a second pass over it."""
    try:
        status = os.stat(path) if path is not None else None  # noqa: PTH116
    except OSError:
        return None
    return None if status is None else (status.st_size, status.st_mtime_ns)


def run_ffmpeg(
    arguments: Sequence[str],
    *,
    program: str = "ffmpeg",
    purpose: str = "this container",
    stdin: bytes | None = None,
    output: Path | None = None,
) -> bytes:
    """Run ffmpeg or ffprobe to its end and return its stdout.

    Args:
        arguments: its options.
        program: which of the two.
        purpose: what for, should it be missing.
        stdin: what it gets there.
        output: the file that it writes, in place of stdout.

    Raises:
        DependencyError: no ffmpeg.
        FFmpegFailure: it failed or hung, or could not write all of its output; the message is its own last line.
    """
    with FFmpeg(
        arguments, program=program, purpose=purpose, stdin=stdin is not None, stdout=output is None
    ) as running:
        if running.stdin is not None:
            threading.Thread(target=_feed, args=(running.stdin, stdin), daemon=True).start()
        out = b""
        if running.stdout is not None:
            with running.patience():
                out = running.stdout.read()
        running.wait(output)
        return out


def _feed(pipe: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(OSError, ValueError):  # it has given up, and says why
        pipe.write(data)
        pipe.close()


@functools.lru_cache(maxsize=4)
def has_option(muxer: str, option: str) -> bool:
    """Whether this ffmpeg's muxer knows an option; they came with time."""
    return option in run_ffmpeg(["-h", f"muxer={muxer}"]).decode(errors="replace")


@functools.lru_cache(maxsize=32)
def sample_formats(encoder: str) -> frozenset[str]:
    """Sample formats that an encoder of this ffmpeg takes, in ffmpeg's words."""
    text = run_ffmpeg(["-h", f"encoder={encoder}"]).decode(errors="replace")
    line = next((line for line in text.splitlines() if "Supported sample formats:" in line), "")
    return frozenset(line.partition(":")[2].split())


@functools.lru_cache(maxsize=1)
def encoders(program: str) -> frozenset[str]:
    """Names of the audio encoders that this ffmpeg has."""
    result = subprocess.run(
        [program, "-hide_banner", "-v", "error", "-encoders"], capture_output=True, text=True
    )
    rows = (line.split() for line in result.stdout.splitlines())
    return frozenset(row[1] for row in rows if len(row) > 1 and row[0].startswith("A") and row[1] != "=")
