"""A system run over the noisy files of a set, in a process of its own; an interrupted run goes on."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from audio_enh.digest import file_sha256
from audio_enh.io.owned import claim

from .outputs import FORMER_JOURNAL, JOURNAL
from .pairing import Group
from .rows import NOISY, Task
from .runs import Processed, Run, System

WORKER = Path(__file__).with_name("worker.py")
# Of earlier versions of the worker and the adapters here, which gave the same output and measured the same.
_EQUAL = {
    "281e3a4997c5a6a58a2ba850809aa8325f9441f121ff4ae08284d3d11dc99e9b": "worker.py",
    "56ee969fabbdaa1c8c7cec1a09a1ef50e079da96ba07a582e7ce6c43211c6ab6": "benchmark/shipped.py",
}
# A system of the benchmark that says nothing for so long hangs. The slowest sampler takes minutes for a file.
PATIENCE_SECONDS = 3600.0
_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM")


class LoadingFailed(Exception):
    """A system is installed but does not run; the message is one line that says why."""


def process_set(
    system: System,
    python: Path,
    packages: Mapping[str, str],
    groups: Sequence[Group],
    folder: Path,
    on_file: Callable[[Processed], None] | None = None,
    again: bool = False,
    seeds: Sequence[int | None] = (None,),
    one_core: bool = True,
    patience: float | None = PATIENCE_SECONDS,
) -> Run:
    """Enhance the noisy file of every group into ``folder/[seed-N/]KEY.wav``.

    Args:
        python: interpreter of the system's environment.
        packages: what is installed there; other versions start anew.
        groups: with the role ``noisy``.
        folder: of this system; holds the journal of earlier runs too.
        on_file: told of every file.
        again: enhance what an earlier run has enhanced too, for its time. A file that comes out the same is left
            untouched.
        seeds: one pass over the set each; None is a pass without a seed.
        one_core: bind the system to one core and its libraries to one thread.
        patience: after so many seconds without an answer the system is ended; None waits for ever.

    Raises:
        LoadingFailed: the system cannot be loaded.
    """
    claim(folder)
    journal = folder / JOURNAL
    header = json.loads(
        json.dumps({"system": _identity(system), "worker": file_sha256(WORKER), "packages": dict(packages)})
    )
    weight_bytes, known = _read(journal, header)
    if not journal.exists():
        known = _read_former(folder / FORMER_JOURNAL, system)
    passes = [(group, seed) for seed in seeds for group in groups]
    done: dict[tuple[str, int | None], Processed] = {}
    todo = []
    for group, seed in passes:
        earlier = known.get((group.key, seed))
        usable = earlier is not None and earlier.error is None and earlier.input == _stamp(group.paths[NOISY])
        if earlier is not None and usable and not again and target(folder, group.key, seed).exists():
            done[group.key, seed] = earlier
            if on_file is not None:
                on_file(earlier)
        else:
            todo.append((group, seed))
    if todo:
        worker = _Worker(python, system, folder / "log.txt", one_core, patience)
        try:
            weight_bytes = worker.start()
            # Rewritten, which drops a line that an interruption cut.
            with journal.open("w", encoding="utf-8") as file:
                _append(file, {**header, "weight_bytes": weight_bytes})
                for earlier in known.values():
                    _append(file, asdict(earlier))
                for group, seed in todo:
                    result = _ask(worker, group, seed, folder)
                    done[group.key, seed] = result
                    _append(file, asdict(result))
                    if on_file is not None:
                        on_file(result)
        finally:
            worker.stop()
    return Run([done[group.key, seed] for group, seed in passes], weight_bytes)


def tasks_of(
    system: System, run: Run, groups: Sequence[Group], folder: Path, timed: bool = False
) -> list[Task]:
    """What is to be measured of a run, in its order.

    Args:
        timed: with the time that the enhancement took.
    """
    by_key = {group.key: group for group in groups}
    return [
        Task(
            file=done.file,
            system=system.name,
            seed=done.seed,
            estimate=target(folder, done.file, done.seed),
            reference=by_key[done.file].paths.get("clean"),
            noisy=by_key[done.file].paths[NOISY],
            failed=done.failure,
            seconds_enhancing=(done.seconds_wall or None) if timed else None,
        )
        for done in run.files
    ]


def target(folder: Path, key: str, seed: int | None = None) -> Path:
    """Where the enhanced file of a test item goes."""
    return (folder if seed is None else folder / f"seed-{seed}") / f"{key}.wav"


def checkpoint_system(model: str, adapter: Path, load: Mapping[str, Any], option: str = "") -> System:
    """A checkpoint of this project as a system.

    Args:
        model: name, folder or hub address.
        adapter, load: see :class:`System`.
        option: told apart from the others of this checkpoint by this.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    from audio_enh.inference.catalog import WEIGHTS, find_checkpoint, read_config

    folder = find_checkpoint(model)
    info = read_config(folder).get("info", {})
    name = Path(folder).name if Path(model).exists() else model.removeprefix("hf://").replace("/", "--")
    return System(
        name=f"{name}:{option}" if option else name,
        kind="model",
        adapter=adapter,
        load=load,
        latency_ms=info.get("latency_ms"),
        parameters=info.get("parameters"),
        licence=str(info.get("licence", "")),
        source="audio_enh",
        weights_sha256=file_sha256(folder / WEIGHTS),
    )


def _identity(system: System) -> dict[str, Any]:
    """What must be the same for files of an earlier run to be taken."""
    return {
        "name": system.name,
        "adapter_sha256": file_sha256(system.adapter),
        "load": dict(system.load),
        "sample_rate": system.sample_rate,
        "delay": system.delay,
        "requirements": [*system.requirements, *system.without_dependencies],
        "weights_sha256": system.weights_sha256,
    }


def _ask(worker: _Worker, group: Group, seed: int | None, folder: Path) -> Processed:
    source = group.paths[NOISY]
    job = {"source": str(source.resolve()), "target": str(target(folder, group.key, seed).resolve())}
    try:
        answer = worker.ask(job if seed is None else {**job, "seed": seed})
    except _Died as death:
        worker.start()  # the rest of the files are not to be lost with this one
        answer = {"error": str(death), "reason": "crashed"}
    return Processed(group.key, _stamp(source), seed=seed, **answer)


class _Died(Exception):
    """The worker's process has ended."""


class _Worker:
    """The process in which a system runs."""

    def __init__(
        self, python: Path, system: System, log: Path, one_core: bool, patience: float | None
    ) -> None:
        self._log = log
        self._one_core = one_core
        self._patience = patience
        options = {
            "load": dict(system.load),
            "sample_rate": system.sample_rate,
            "delay": system.delay,
            "one_core": one_core,
        }
        # -I: neither this folder, nor the current one, nor the user's packages are searched for a peer's modules.
        isolated = ["-I"] if system.kind == "peer" else []
        self._command = [str(python), *isolated, str(WORKER), str(system.adapter), json.dumps(options)]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> int | None:
        """Load the system; gives the size of the weights.

        Raises:
            LoadingFailed: it ended instead.
        """
        single = {f"{name}_NUM_THREADS": "1" for name in _THREADS} if self._one_core else {}
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **single},
            )
        try:
            return self._answer()["weight_bytes"]
        except _Died as death:
            raise LoadingFailed(str(death)) from death

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
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
        alarm = None if self._patience is None else threading.Timer(self._patience, process.kill)
        if alarm is not None:
            alarm.start()
        try:
            line = process.stdout.readline()
        finally:
            if alarm is not None:
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


def _read(
    journal: Path, header: Mapping[str, Any]
) -> tuple[int | None, dict[tuple[str, int | None], Processed]]:
    """Earlier results of the same system; lines that an interruption cut are dropped."""
    known: dict[tuple[str, int | None], Processed] = {}
    if not journal.exists():
        return None, known
    lines = journal.read_text(encoding="utf-8").splitlines()
    try:
        first = json.loads(lines[0])
        weight_bytes = first.pop("weight_bytes")
        for place, key in ((first, "worker"), (first["system"], "adapter_sha256")):
            if place[key] in _EQUAL:
                place[key] = file_sha256(Path(__file__).parent / _EQUAL[place[key]])
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
        known[result.file, result.seed] = result
    return weight_bytes, known


def _read_former(journal: Path, system: System) -> dict[tuple[str, int | None], Processed]:
    """Results of ``evaluate --model`` of the last release, of the same weights and number of threads."""
    known: dict[tuple[str, int | None], Processed] = {}
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.exists() else ():
        try:
            data = json.loads(line)
            same = (data["weights_sha256"], data["threads"]) == (
                system.weights_sha256,
                system.load["threads"],
            )
            if same and data["failure"] is None:
                known[data["file"], data["seed"]] = Processed(
                    data["file"],
                    tuple(data["input"]),
                    seconds_audio=data["seconds_audio"],
                    seconds_wall=data["seconds_computing"],
                    peak_memory_mb=data["peak_memory_mb"],
                    seed=data["seed"],
                    device=data["device"],
                )
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return known


def _append(file: Any, data: Mapping[str, Any]) -> None:
    file.write(json.dumps(data) + "\n")
    file.flush()


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
