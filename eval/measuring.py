"""Many files measured: in worker processes, resumable, in an order that does not depend on the timing."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

from audio_enh.errors import UserError

from .arrays import missing_packages, select_metrics
from .file_scores import measure_file, metrics_for
from .metadata import Metadata, transcripts
from .metrics import BY_NAME
from .pairing import Group
from .rows import NOISY, Failure, Journal, Row, Settings, Task, failed_row

# How many files tell whether clean and noisy were swapped; each costs two windows of DNSMOS, 0.7 s.
_SWAP_CHECKS = 5
# Files in flight per worker: enough that none waits, few enough that memory does not grow with the set.
_QUEUED_PER_WORKER = 2

OnRow = Callable[[Row], None]


def make_tasks(groups: Sequence[Group], systems: Sequence[str], check_swap: bool = True) -> list[Task]:
    """One task per file and system, the unprocessed input first.

    Args:
        groups: from ``pair_folders``, with the roles ``clean`` and ``noisy`` where there are such.
        systems: the roles that are judged, beside ``noisy``.
        check_swap: look whether the reference sounds worse than the input, on 5 files spread over the set.
    """
    has_noisy = bool(groups) and NOISY in groups[0].paths
    judged = (NOISY, *systems) if has_noisy else tuple(systems)
    swap_system = judged[0] if check_swap and not missing_packages("dnsmos_ovrl") else None
    step = max(1, len(groups) // _SWAP_CHECKS)
    return [
        Task(
            file=group.key,
            system=system,
            seed=None,
            estimate=group.paths[system],
            reference=group.paths.get("clean"),
            noisy=group.paths.get(NOISY),
            check_swap=system == swap_system
            and "clean" in group.paths
            and index % step == 0
            and index // step < _SWAP_CHECKS,
        )
        for system in judged
        for index, group in enumerate(groups)
    ]


def with_transcripts(tasks: Sequence[Task], settings: Settings, metadata: Metadata) -> list[Task]:
    """The tasks with what is said in their files, where a metric needs it and the metadata tell."""
    if not any(BY_NAME[name].needs == "transcript" for name in settings.metrics):
        return list(tasks)
    said = transcripts(metadata)
    return [replace(task, transcript=said.get(task.file)) for task in tasks]


def evaluate_tasks(
    tasks: Sequence[Task],
    settings: Settings,
    journal_path: Path,
    *,
    workers: int = 1,
    overwrite: bool = False,
    on_row: OnRow | None = None,
    extra_settings: Mapping[str, object] | None = None,
) -> list[Row]:
    """Measure every task that an earlier run has not measured.

    Args:
        tasks: in the order of the result.
        settings: what to measure.
        journal_path: rows are kept there as they come; see ``Journal``.
        workers: processes; 0: in this one, without protection against a crash of a metric's native code.
        overwrite: measure everything anew.
        on_row: told of every row, those of the earlier run too.
        extra_settings: more that must be the same for the journal to be continued.

    Returns:
        One row per task, in the tasks' order.

    Raises:
        UserError: an unknown metric, a missing package, or a journal of other settings.
    """
    select_metrics(settings.metrics)
    recorded = {**_plain(settings), **(extra_settings or {})}
    with Journal(journal_path, recorded, overwrite) as journal:
        todo = []
        for task in tasks:
            row = journal.done(task)
            if row is None:
                todo.append(task)
            elif on_row is not None:
                on_row(row)
        for row in _measure_all(todo, settings, workers):
            journal.append(row)
            if on_row is not None:
                on_row(row)
        return [journal.rows[task.identity] for task in tasks]


def _plain(settings: Settings) -> dict[str, object]:
    return {
        "metrics": list(settings.metrics),
        "align_ms": settings.align_ms,
        "trim_ms": settings.trim_ms,
        "sample_rate": settings.sample_rate,
    }


def _measure_all(tasks: Sequence[Task], settings: Settings, workers: int) -> Iterator[Row]:
    """Rows as they come. When a worker dies, the tasks in flight are tried one by one, so that the one that
    kills its process is found and the others are not lost."""
    if workers == 0 or not tasks:
        for task in tasks:
            yield measure_file(task, settings)
        return
    remaining = list(reversed(tasks))
    while remaining:
        workers = min(workers, len(remaining))
        suspects = yield from _run_pool(remaining, settings, workers, workers * _QUEUED_PER_WORKER)
        while suspects:
            for dead in (yield from _run_pool(suspects, settings, workers=1, in_flight=1)):
                yield failed_row(
                    dead,
                    _names(dead, settings),
                    Failure("crashed", "the process that measured it died: a metric's native code"),
                )


def _names(task: Task, settings: Settings) -> list[str]:
    return [metric.name for metric in metrics_for(task, settings)]


def _run_pool(
    remaining: list[Task], settings: Settings, workers: int, in_flight: int
) -> Generator[Row, None, list[Task]]:
    """Take tasks off the end of ``remaining`` and measure them; gives those in flight when a worker died."""
    flying: dict[Future[Row], Task] = {}
    with single_threaded(), worker_pool(workers) as pool:
        try:
            while remaining or flying:
                while remaining and len(flying) < in_flight:
                    flying[pool.submit(measure_file, remaining[-1], settings)] = remaining[-1]
                    remaining.pop()
                finished, _ = wait(flying, return_when=FIRST_COMPLETED)
                for future in finished:
                    task = flying[future]
                    try:
                        row = future.result()
                    except (BrokenProcessPool, UserError):
                        raise
                    except Exception as error:
                        told = " ".join(f"{type(error).__name__}: {error}".split())
                        row = failed_row(task, _names(task, settings), Failure("broke_down", told))
                    del flying[future]
                    yield row
        except BrokenProcessPool:
            return list(flying.values())
    return []


@contextlib.contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes (a forked one would share torch's and onnxruntime's locks); on an exception, Ctrl-C
    too, what waits is dropped and only what runs is waited for."""
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        # Ctrl-C reaches the whole process group; the parent decides what becomes of it.
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """Processes started meanwhile compute with one thread each: files are what is parallel."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
