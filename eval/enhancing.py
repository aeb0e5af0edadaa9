"""Models run over a noisy set before it is measured, with their speed and memory."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from audio_enh.errors import AudioFileError, UserError

from .evaluator import worker_pool
from .pairing import Group
from .rows import NOISY, Failure, Task

if TYPE_CHECKING:
    from audio_enh.inference.enhancer import Enhancer

# Of what was enhanced, beside the files.
JOURNAL = "enhanced.jsonl"
_WARM_UP_SECONDS = 1.0


@dataclass(frozen=True)
class ModelRun:
    """A model, one or several times over the set.

    Attributes:
        system: its name in rows and reports.
        model: checkpoint name, folder or hub address.
        weights_sha256: of the weights file, hexadecimal.
        device: as for ``audio_enh.load``.
        seeds: one pass over the set each; ``(None,)`` for a model without randomness.
        threads: of the CPU; None: as many as torch likes.
        folder: where the enhanced files go, ``[seed-N/]key.wav``.
    """

    system: str
    model: str
    weights_sha256: str
    device: str
    seeds: tuple[int | None, ...]
    threads: int | None
    folder: Path


@dataclass(frozen=True)
class Enhanced:
    """What came of one file.

    Attributes:
        seconds_audio: length of the file.
        seconds_computing: time inside ``Enhancer.enhance``, without reading and writing.
        peak_memory_mb: largest resident size of the process so far, with the library and the weights; on CUDA
            the largest amount of device memory allocated.
        device: where it was computed.
        failure: set when there is no output.
        input: size and modification time of the noisy file.
        weights_sha256, threads: as they were.
    """

    file: str
    seed: int | None
    seconds_audio: float = 0.0
    seconds_computing: float = 0.0
    peak_memory_mb: float = 0.0
    device: str = ""
    failure: Failure | None = None
    input: tuple[int, int] = (0, 0)
    weights_sha256: str = ""
    threads: int | None = None


def plan_model(model: str, folder: Path, device: str, seeds: Sequence[int], threads: int | None) -> ModelRun:
    """Find a model's checkpoint and name its run.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    from audio_enh.inference.catalog import WEIGHTS, find_checkpoint

    checkpoint = find_checkpoint(model)
    system = Path(checkpoint).name if Path(model).exists() else model.removeprefix("hf://").replace("/", "--")
    return ModelRun(
        system,
        model,
        _sha256(checkpoint / WEIGHTS),
        device,
        tuple(seeds) or (None,),
        threads,
        folder / system,
    )


def enhance_set(
    run: ModelRun,
    groups: Sequence[Group],
    *,
    overwrite: bool = False,
    on_file: Callable[[Enhanced], None] | None = None,
) -> tuple[list[Task], list[Enhanced]]:
    """Enhance the noisy file of every group, in one process of its own.

    Files that an earlier run has enhanced with the same weights are kept, with the time it took then.

    Args:
        groups: with the role ``noisy``.
        overwrite: enhance everything anew.
        on_file: told of every file.

    Returns:
        Tasks to measure, and what the enhancement took, in the same order.

    Raises:
        UserError: the model or the device is not to be had.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    journal = run.folder / JOURNAL
    if overwrite:
        journal.unlink(missing_ok=True)
    known = _load(journal)
    todo, results = [], {}
    for seed in run.seeds:
        for group in groups:
            earlier = known.get((group.key, seed))
            current = _stamp(group.paths[NOISY])
            if earlier is not None and _still_good(earlier, run, current):
                results[group.key, seed] = earlier
                if on_file is not None:
                    on_file(earlier)
            else:
                todo.append((group.key, seed, group.paths[NOISY]))
    with journal.open("a", encoding="utf-8") as file:
        file.write("\n")  # ends a line that an interruption cut; empty lines are skipped
        for done in _enhance_all(run, todo):
            file.write(json.dumps(asdict(done)) + "\n")
            file.flush()
            results[done.file, done.seed] = done
            if on_file is not None:
                on_file(done)
    ordered = [(group, seed) for seed in run.seeds for group in groups]
    enhanced = [results[group.key, seed] for group, seed in ordered]
    tasks = [
        Task(
            file=group.key,
            system=run.system,
            seed=seed,
            estimate=_target(run, group.key, seed),
            reference=group.paths.get("clean"),
            noisy=group.paths[NOISY],
            failed=done.failure,
            seconds_enhancing=done.seconds_computing or None,
        )
        for (group, seed), done in zip(ordered, enhanced, strict=True)
    ]
    return tasks, enhanced


def _enhance_all(run: ModelRun, todo: Sequence[tuple[str, int | None, Path]]) -> Iterator[Enhanced]:
    """One process after another: a file that kills its process (memory) is told, and the rest go on."""
    waiting = list(todo)
    while waiting:
        try:
            with worker_pool(1) as pool:
                while waiting:
                    key, seed, source = waiting[0]
                    target = _target(run, key, seed)
                    yield pool.submit(_enhance_file, run, key, seed, source, target).result()
                    waiting.pop(0)
        except BrokenProcessPool:
            key, seed, source = waiting.pop(0)
            yield Enhanced(
                key,
                seed,
                failure=Failure("crashed", "the process that enhanced it died, perhaps for lack of memory"),
                input=_stamp(source),
                weights_sha256=run.weights_sha256,
                threads=run.threads,
            )


def _enhance_file(run: ModelRun, key: str, seed: int | None, source: Path, target: Path) -> Enhanced:
    """In the worker process."""
    from audio_enh.io import read_audio, write_audio

    enhancer = _enhancer(run.model, run.device, run.threads)
    failure = None
    seconds_audio = seconds = 0.0
    try:
        audio, rate = read_audio(source)
        seconds_audio = audio.shape[1] / rate
        started = perf_counter()
        enhanced = enhancer.enhance(audio, rate, seed=seed)
        seconds = perf_counter() - started
        write_audio(target, enhanced, rate, subtype="FLOAT")
    except AudioFileError as error:
        failure = Failure("unreadable", f"mixture: {error}")
    except (UserError, RuntimeError, MemoryError) as error:
        failure = Failure("enhancement_failed", " ".join(f"{type(error).__name__}: {error}".split()))
    return Enhanced(
        file=key,
        seed=seed,
        seconds_audio=seconds_audio,
        seconds_computing=seconds,
        peak_memory_mb=_peak_memory_mb(enhancer),
        device=str(enhancer.device),
        failure=failure,
        input=_stamp(source),
        weights_sha256=run.weights_sha256,
        threads=run.threads,
    )


@functools.lru_cache(maxsize=1)
def _enhancer(model: str, device: str, threads: int | None) -> Enhancer:
    """The model, loaded once per process and warmed up, so that the first file is not charged for it."""
    import torch

    import audio_enh

    if threads is not None:
        torch.set_num_threads(threads)
    enhancer = audio_enh.load(model, device)
    rate = enhancer.sample_rate
    noise = np.random.default_rng(0).standard_normal(round(_WARM_UP_SECONDS * rate)).astype(np.float32)
    enhancer.enhance(0.01 * noise, rate)
    return enhancer


def _peak_memory_mb(enhancer: Enhancer) -> float:
    if enhancer.device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(enhancer.device) / 2**20
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage here: after a fork and exec it remembers the parent's size.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def _target(run: ModelRun, key: str, seed: int | None) -> Path:
    folder = run.folder if seed is None else run.folder / f"seed-{seed}"
    return folder / f"{key}.wav"


def _still_good(earlier: Enhanced, run: ModelRun, stamp: tuple[int, int]) -> bool:
    return (
        earlier.failure is None
        and earlier.weights_sha256 == run.weights_sha256
        and earlier.threads == run.threads
        and earlier.input == stamp
        and _target(run, earlier.file, earlier.seed).exists()
    )


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _load(journal: Path) -> dict[tuple[str, int | None], Enhanced]:
    """Earlier results; lines that an interruption cut, or of another version, are dropped."""
    known: dict[tuple[str, int | None], Enhanced] = {}
    if not journal.exists():
        return known
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            data: dict[str, Any] = json.loads(line)
            failure = data.pop("failure")
            stamp = tuple(data.pop("input"))
            result = Enhanced(**data, input=stamp, failure=Failure(**failure) if failure else None)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue
        known[result.file, result.seed] = result
    return known


def _sha256(path: Path) -> str:
    import hashlib

    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
