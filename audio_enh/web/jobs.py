"""Work in processes of their own: a file that brings one down, or takes all memory, costs its own job only.

Jobs of several visitors take turns: who has the fewest jobs before him comes first. A job can be cancelled while it
waits and while it runs; a process that does not stop is ended.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Literal

from audio_enh.errors import UserError
from audio_enh.web.limits import Limits

State = Literal["waiting", "running", "done", "failed", "cancelled"]
#: Tells what is being done, and which part of it is done (None where there is no telling).
Report = Callable[[str, "float | None"], None]
#: A function of a module, so that another process finds it; its first argument is a :data:`Report`.
Task = Callable[..., Any]

#: Seconds in which a process has to follow a wish to stop.
PATIENCE = 3.0
#: Seconds after which a job is given up that nobody asks about: its page was closed.
ABANDONED = 60.0


class Cancelled(Exception):
    """Raised in a task, by its report, when it is to stop."""


@dataclass(eq=False)
class Job:
    """One call of a task.

    Attributes:
        visitor: whose it is.
        state: what became of it so far.
        phase: what is being done.
        fraction: of the phase that is done.
        since, told: when the phase began, and when it last told how far it is, by ``time.monotonic``.
        result: what the task gave.
        error: one line, of a job that failed.
    """

    visitor: str
    task: Task
    arguments: tuple[Any, ...]
    state: State = "waiting"
    phase: str = ""
    fraction: float | None = None
    since: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)
    result: Any = None
    error: str = ""
    stopping: bool = False
    seen: float = field(default_factory=time.monotonic)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def finished(self) -> bool:
        """Whether it came to an end, of whatever kind. Asking keeps it from being given up."""
        self.seen = time.monotonic()
        return self.over.is_set()

    def seconds_left(self) -> float | None:
        """Of the present phase, at the pace so far; None where it is too early to say."""
        spent = self.told - self.since
        if not self.fraction or self.fraction < 0.02 or spent < 0.5:
            return None
        return max(0.0, spent * (1 - self.fraction) / self.fraction - (time.monotonic() - self.told))

    def advance(self, phase: str, fraction: float | None) -> None:
        self.told = time.monotonic()
        if phase != self.phase:
            self.phase, self.since = phase, self.told
        self.fraction = fraction

    def end(self, state: State, error: str = "") -> None:
        self.state, self.error = state, error
        self.over.set()


class JobQueue:
    """Runs jobs, as many at a time as it has workers; a context manager.

    Args:
        workers: number of processes.
        limits: how many jobs may wait, and how long one may take.
    """

    def __init__(self, workers: int = 1, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._waiting: list[Job] = []
        self._running: list[Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, visitor: str, task: Task, *arguments: Any) -> Job:
        """Queue a call of ``task(report, *arguments)``.

        Raises:
            UserError: too many jobs wait already.
        """
        job = Job(visitor, task, arguments)
        with self._changed:
            self._drop()
            own = [other for other in (*self._running, *self._waiting) if other.visitor == visitor]
            if len(own) >= self.limits.waiting_each:
                raise UserError("wait until your other recordings are done, or cancel them")
            if len(self._waiting) >= self.limits.waiting:
                raise UserError("many others are waiting already: try again in a few minutes")
            # Behind every job that has as few of the same visitor before it.
            turns = [self._turn(other) for other in self._waiting]
            place = next((n for n, turn in enumerate(turns) if turn > len(own)), len(turns))
            self._waiting.insert(place, job)
            self._changed.notify()
        return job

    def _turn(self, job: Job) -> int:
        """How many of the same visitor come before it."""
        before = self._waiting[: self._waiting.index(job)]
        return sum(other.visitor == job.visitor for other in (*self._running, *before))

    def ahead(self, job: Job) -> int:
        """Number of jobs that come before one that waits."""
        with self._changed:
            return self._waiting.index(job) if job in self._waiting else 0

    def wait(self, job: Job) -> Any:
        """The result of a job.

        Raises:
            UserError: it failed.
        """
        while not job.finished:
            job.over.wait(0.5)
        if job.state != "done":
            raise UserError(job.error or "cancelled")
        return job.result

    def cancel(self, job: Job) -> None:
        """Ask a job to stop; one that waits ends at once."""
        with self._changed:
            job.stopping = True
            self._drop()

    def cancel_of(self, visitor: str) -> None:
        """Cancel all that a visitor asked for."""
        with self._changed:
            jobs = [job for job in (*self._waiting, *self._running) if job.visitor == visitor]
        for job in jobs:
            self.cancel(job)

    def close(self) -> None:
        """Cancel everything and end the processes."""
        with self._changed:
            self._closed = True
            for job in (*self._waiting, *self._running):
                job.stopping = True
            self._drop()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(2 * PATIENCE)

    def __enter__(self) -> JobQueue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        worker = Worker()
        try:
            while (job := self._next()) is not None:
                worker.run(job, 60 * self.limits.job_minutes)
                with self._changed:
                    self._running.remove(job)
        finally:
            worker.end()

    def _next(self) -> Job | None:
        with self._changed:
            while True:
                self._drop()
                if self._closed:
                    return None
                if self._waiting:
                    job = self._waiting.pop(0)
                    self._running.append(job)
                    return job
                self._changed.wait(1.0)

    def _drop(self) -> None:
        """Take those off the list that are not to be done any more."""
        for job in list(self._waiting):
            if job.stopping or _is_abandoned(job):
                self._waiting.remove(job)
                job.end("cancelled")


class Worker:
    """A process that does one job at a time and outlives it, with the models that it loaded."""

    def __init__(self) -> None:
        self._process: Any = None
        self._pipe: Connection | None = None
        self._stop: Any = None

    def run(self, job: Job, seconds: float) -> None:
        """Do a job, and put down in it what became of it."""
        job.advance("starting", None)
        job.state = "running"
        try:
            self._start()
            assert self._pipe is not None
            self._stop.clear()
            self._pipe.send((job.task, job.arguments))
            self._follow(job, self._pipe, seconds)
        except (EOFError, OSError):
            self._process.join(1.0)
            code = self._process.exitcode
            self.end()
            killed = f" (by signal {-code})" if code is not None and code < 0 else ""
            job.end(
                "failed", f"the work on this file came to a sudden end{killed}: is it damaged, or very large?"
            )

    def _follow(self, job: Job, pipe: Connection, seconds: float) -> None:
        deadline, asked = time.monotonic() + seconds, 0.0
        while True:
            now = time.monotonic()
            if not asked and (job.stopping or _is_abandoned(job) or now > deadline):
                asked = now
                self._stop.set()
            elif asked and now > asked + PATIENCE:
                self.end()
                return self._ended(job, deadline)
            if not pipe.poll(0.1):
                continue
            kind, *content = pipe.recv()
            if kind == "progress":
                job.advance(*content)
            elif kind == "result":
                (job.result,) = content
                return job.end("done")
            elif kind == "error":
                return job.end("failed", *content)
            else:
                return self._ended(job, deadline)

    def _ended(self, job: Job, deadline: float) -> None:
        if not job.stopping and time.monotonic() > deadline:
            return job.end("failed", "this took longer than a job may take on this server")
        return job.end("cancelled")

    def _start(self) -> None:
        if self._process is not None and self._process.is_alive():
            return
        self.end()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._stop = context.Event()
        self._process = context.Process(target=_serve, args=(theirs, self._stop), daemon=True)
        self._process.start()
        theirs.close()  # theirs alone now, so that its end is noticed here

    def end(self) -> None:
        """End the process, at once."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            self._process.terminate()
            self._process.join(1.0)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
            self._process = None


def _is_abandoned(job: Job) -> bool:
    return time.monotonic() > job.seen + ABANDONED


def _serve(pipe: Connection, stop: Any) -> None:
    """What the process does: calls, one after the other, until the server has gone."""
    # Ctrl-C reaches the whole process group; the server decides what becomes of its processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Read when torch is loaded: threads that wait by spinning take the cores from each other on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    def report(phase: str, fraction: float | None = None) -> None:
        if stop.is_set():
            raise Cancelled
        pipe.send(("progress", phase, fraction))

    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            task, arguments = pipe.recv()
            try:
                answer: tuple[Any, ...] = ("result", task(report, *arguments))
            except Cancelled:
                answer = ("cancelled",)
            except Exception as error:
                answer = ("error", explain(error))
            pipe.send(answer)


def explain(error: Exception) -> str:
    """An error in one line, for a visitor."""
    text = " ".join(str(error).split())
    return (
        text if isinstance(error, UserError) else f"a defect of this program: {type(error).__name__}: {text}"
    )
