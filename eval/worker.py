"""Runs in the environment of one system: enhances files, one after the other, and tells what each took.

Started by its path as ``python -I worker.py ADAPTER.py OPTIONS``, so it needs numpy, soundfile and soxr, and nothing
of audio_enh. The adapter's ``load(**options)`` gives a function from float32 audio ``(samples,)`` to enhanced audio,
and the files that hold the weights; where the function has a ``prepare()``, that is called before each file and not
counted. Where it has a ``process(source=, target=, ...)``, that enhances a file by itself and gives the answer.
Requests come as lines of JSON on standard input and are answered by one line each on standard output; the
first line out tells that the system is loaded. The process ends with its input.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

Enhance = Callable[[NDArray[np.float32]], NDArray[np.floating]]

_WARM_UP_SECONDS = 1.0
_QUALITY = "VHQ"


class System:
    """The system behind its rate and delay.

    Args:
        enhance: on audio at ``sample_rate``.
        sample_rate: in Hz.
        delay: by how many samples at ``sample_rate`` its output is late.
    """

    def __init__(self, enhance: Enhance, sample_rate: int, delay: int) -> None:
        self.enhance = enhance
        self.sample_rate = sample_rate
        self.delay = delay

    def prepare(self) -> None:
        """Get ready for another file."""
        if hasattr(self.enhance, "prepare"):
            self.enhance.prepare()

    def __call__(self, audio: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
        """Enhanced audio of the same rate, length and alignment; ``audio`` is ``(samples,)``."""
        own = self.sample_rate
        there = audio if own == rate else soxr.resample(audio, rate, own, _QUALITY)
        wanted = len(there)
        if self.delay:
            there = np.concatenate([there, np.zeros(self.delay, np.float32)])
        out = np.asarray(self.enhance(np.ascontiguousarray(there, np.float32)), np.float32)
        if out.ndim != 1:
            raise ValueError(f"the system gave audio of shape {out.shape}")
        if len(out) < wanted:
            raise ValueError(f"the system gave {len(out)} samples for {len(there)}")
        out = out[self.delay : self.delay + wanted]
        out = np.pad(out, (0, wanted - len(out)))
        back = out if own == rate else soxr.resample(out, own, rate, _QUALITY)
        return np.pad(back[: len(audio)], (0, max(0, len(audio) - len(back))))

    def process(self, source: str, target: str) -> dict[str, Any]:
        """Enhance one file; the time is that of the system, resampling counted, reading and writing not."""
        audio, rate = soundfile.read(source, dtype="float32", always_2d=True)
        channels, wall, cpu = [], 0.0, 0.0
        for channel in audio.T:
            self.prepare()
            began, used = time.perf_counter(), time.process_time()
            channels.append(self(np.ascontiguousarray(channel), rate))
            wall, cpu = wall + time.perf_counter() - began, cpu + time.process_time() - used
        _write(Path(target), np.stack(channels, axis=1), rate)
        return {
            "seconds_audio": len(audio) / rate,
            "seconds_wall": wall,
            "seconds_processor": cpu,
            "peak_memory_mb": peak_memory_mb(),
        }


def main() -> None:
    if not sys.flags.isolated:
        sys.path.pop(0)  # the folder of this file: what lies beside it is no module of its own
    # Ctrl-C reaches the whole process group; the parent decides what becomes of this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    adapter, options = sys.argv[1], json.loads(sys.argv[2])
    # One core: thread pools that follow no environment variable find one processor and start one thread.
    if options["one_core"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    # Whatever the system prints goes to stderr: stdout is for answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    began = time.perf_counter()
    enhance, weights = _load(adapter, options["load"])
    process = getattr(enhance, "process", None)
    if process is None:
        rate = options["sample_rate"]
        system = System(enhance, rate, options["delay"])
        process = system.process
        noise = np.random.default_rng(0).standard_normal(round(_WARM_UP_SECONDS * rate)).astype(np.float32)
        system.prepare()
        system(0.01 * noise, rate)
    _say(
        answers,
        {
            "load_seconds": time.perf_counter() - began,
            "weight_bytes": sum(Path(path).stat().st_size for path in weights) or None,
        },
    )
    for line in sys.stdin:
        try:
            answer = process(**json.loads(line))
        except Exception as error:
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        _say(answers, answer)


def _load(adapter: str, options: dict[str, Any]) -> tuple[Enhance, list[str]]:
    # A compiled copy is told from a changed adapter by the second and the size only.
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location("adapter", adapter)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(**options)


def _write(target: Path, audio: NDArray[np.float32], rate: int) -> None:
    """Write ``(samples, channels)`` unless the file holds just that: its scores stay valid then."""
    if target.exists():
        try:
            known, _ = soundfile.read(target, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            known = None
        if known is not None and np.array_equal(known, audio, equal_nan=True):
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    soundfile.write(partial, audio, rate, format="WAV", subtype="FLOAT")
    partial.replace(target)


def peak_memory_mb() -> float:
    """Largest resident size so far, the interpreter and the libraries included."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage here: after a fork and exec it remembers the parent's size.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def _say(answers: TextIO, what: dict[str, Any]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
