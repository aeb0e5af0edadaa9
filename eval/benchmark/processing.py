"""A system run over the noisy files of a set, in a process of its own; an interrupted run goes on."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audio_enh.io.owned import claim

from ..pairing import Group
from ..rows import NOISY
from .systems import System, sha256

WORKER = Path(__file__).with_name("worker.py")
JOURNAL = "processed.jsonl"
# A system that says nothing for so long hangs. The slowest sampler takes minutes for a file.
_PATIENCE_SECONDS = 3600.0
_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM")


class LoadingFailed(Exception):
    """A system is installed but does not run; the message is one line that says why."""


@dataclass(frozen=True)
class Processed:
    """What came of one file.

    Attributes:
        file: key of the test item.
        input: size and modification time of the noisy file.
        error: why there is no output; None when there is.
        seconds_audio: length of the file.
        seconds_wall, seconds_processor: time inside the system and the resampling to and from its rate, by the
            clock and of the processor.
        peak_memory_mb: largest resident size of the process so far.
    """

    file: str
    input: tuple[int, int]
    error: str | None = None
    seconds_audio: float = 0.0
    seconds_wall: float = 0.0
    seconds_processor: float = 0.0
    peak_memory_mb: float = 0.0


@dataclass(frozen=True)
class Run:
    """A system on a set.

    Attributes:
        files: in the order of the groups.
        weight_bytes: size of the files with the weights; None where they are part of a program.
    """

    files: list[Processed]
    weight_bytes: int | None


def process_set(
    system: System,
    python: Path,
    packages: Mapping[str, str],
    groups: Sequence[Group],
    folder: Path,
    on_file: Callable[[Processed], None] | None = None,
    again: bool = False,
) -> Run:
    """Enhance the noisy file of every group into ``folder/KEY.wav``.

    Args:
        python: interpreter of the system's environment.
        packages: what is installed there; other versions start anew.
        groups: with the role ``noisy``.
        folder: of this system; holds the journal of earlier runs too.
        on_file: told of every file.
        again: enhance what an earlier run has enhanced too, for its time. A file that comes out the same is left
            untouched.

    Raises:
        LoadingFailed: the system cannot be loaded.
    """
    claim(folder)
    journal = folder / JOURNAL
    header = json.loads(
        json.dumps({"system": system.identity(), "worker": sha256(WORKER), "packages": dict(packages)})
    )
    weight_bytes, known = _read(journal, header)
    done: dict[str, Processed] = {}
    for group in groups:
        earlier = known.get(group.key)
        usable = earlier is not None and earlier.error is None and earlier.input == _stamp(group.paths[NOISY])
        if earlier is not None and usable and not again and target(folder, group.key).exists():
            done[group.key] = earlier
            if on_file is not None:
                on_file(earlier)
    todo = [group for group in groups if group.key not in done]
    if not todo:
        return Run([done[group.key] for group in groups], weight_bytes)
    worker = _Worker(python, system, folder / "log.txt")
    try:
        weight_bytes = worker.start()
        # Rewritten, which drops a line that an interruption cut.
        with journal.open("w", encoding="utf-8") as file:
            _append(file, {**header, "weight_bytes": weight_bytes})
            for earlier in known.values():
                _append(file, asdict(earlier))
            for group in todo:
                result = _ask(worker, group, folder)
                done[group.key] = result
                _append(file, asdict(result))
                if on_file is not None:
                    on_file(result)
    finally:
        worker.stop()
    return Run([done[group.key] for group in groups], weight_bytes)


def target(folder: Path, key: str) -> Path:
    """Where the enhanced file of a test item goes."""
    return folder / f"{key}.wav"


def _ask(worker: _Worker, group: Group, folder: Path) -> Processed:
    source = group.paths[NOISY]
    job = {"source": str(source.resolve()), "target": str(target(folder, group.key).resolve())}
    try:
        answer = worker.ask(job)
    except _Died as death:
        worker.start()  # the rest of the files are not to be lost with this one
        answer = {"error": str(death)}
    return Processed(group.key, _stamp(source), **answer)


class _Died(Exception):
    """The worker's process has ended."""


class _Worker:
    """The process in which a system runs."""

    def __init__(self, python: Path, system: System, log: Path) -> None:
        self._log = log
        options = {"load": dict(system.load), "sample_rate": system.sample_rate, "delay": system.delay}
        # -I: neither this folder, nor the current one, nor the user's packages are searched for modules.
        self._command = [str(python), "-I", str(WORKER), str(system.adapter), json.dumps(options)]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> int | None:
        """Load the system; gives the size of the weights.

        Raises:
            LoadingFailed: it ended instead.
        """
        environment = {**os.environ, **{f"{name}_NUM_THREADS": "1" for name in _THREADS}}
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        try:
            return self._answer()["weight_bytes"]
        except _Died as death:
            raise LoadingFailed(str(death)) from death

    def ask(self, job: dict[str, str]) -> dict[str, Any]:
        """Have one file enhanced.

        Raises:
            _Died: the process ended instead.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # why it ended is told by what follows
        return self._answer()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _answer(self) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        alarm = threading.Timer(_PATIENCE_SECONDS, process.kill)
        alarm.start()
        try:
            line = process.stdout.readline()
        finally:
            alarm.cancel()
        if line:
            return json.loads(line)
        code = process.wait()
        self.stop()
        # Code 1 is an exception of Python's, told in the last line.
        raise _Died((code == 1 and self._last_words()) or f"its process ended with code {code}")

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else ""


def _read(journal: Path, header: Mapping[str, Any]) -> tuple[int | None, dict[str, Processed]]:
    """Earlier results of the same system; lines that an interruption cut are dropped."""
    known: dict[str, Processed] = {}
    if not journal.exists():
        return None, known
    lines = journal.read_text(encoding="utf-8").splitlines()
    try:
        first = json.loads(lines[0])
        weight_bytes = first.pop("weight_bytes")
        if first != header:
            return None, known
    except (ValueError, IndexError, KeyError, AttributeError, RecursionError):
        return None, known
    for line in lines[1:]:
        try:
            data = json.loads(line)
            result = Processed(**{**data, "input": tuple(data["input"])})
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        known[result.file] = result
    return weight_bytes, known


def _append(file: Any, data: Mapping[str, Any]) -> None:
    file.write(json.dumps(data) + "\n")
    file.flush()


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
