"""Runs a plan: progress, errors by file, summary, report."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

import audio_enh
from audio_enh.cli._errors import debugging, describe, describe_speed
from audio_enh.cli._plan import PIPE, Job
from audio_enh.cli._terminal import printable
from audio_enh.errors import AudioFileError
from audio_enh.inference.enhancer import Enhancer
from audio_enh.inference.files import FileStats, enhance_files
from audio_enh.io import AtomicTarget, AudioInfo, LeftOut
from audio_enh.io.discover import summarize
from audio_enh.options import FileOptions

REPORT_NAME = "enhance_report.json"


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file; ``stats`` of those that were enhanced, ``error`` of those that failed."""

    job: Job
    status: Literal["enhanced", "skipped", "failed"]
    stats: FileStats | None = None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """One row of the report."""
        row: dict[str, Any] = {
            "input": str(self.job.source),
            "output": str(self.job.target),
            **({} if self.job.removed is None else {"removed": str(self.job.removed)}),
            "status": self.status,
            "error": self.error,
        }
        if self.stats is not None:
            row |= dataclasses.asdict(self.stats)
            row["real_time_factor"] = self.stats.elapsed / self.stats.seconds if self.stats.seconds else None
        return row


@dataclass
class Batch:
    """Enhances files, and tells what becomes of each.

    Args:
        jobs: what to do.
        options: what is done to each.
        overwrite: replace outputs that are there, instead of skipping their inputs.
        console: where messages and progress go.
        quiet: say nothing but errors.
        check: called after every block; raises to stop.
        left_out: what the folders hold besides, for the summary.
    """

    jobs: Sequence[Job]
    options: FileOptions
    overwrite: bool
    console: Console
    quiet: bool
    check: Callable[[], None]
    left_out: Sequence[LeftOut] = ()
    outcomes: list[FileOutcome] = field(default_factory=list)
    elapsed: float = 0.0
    _told: set[str] = field(default_factory=set)

    def pending(self) -> list[Job]:
        """Note which files are done already, and give the rest."""
        rest = []
        for job in self.jobs:
            if job.done and not self.overwrite:
                self.outcomes.append(FileOutcome(job, "skipped"))
            else:
                rest.append(job)
        return rest

    def run(self, jobs: Sequence[Job], enhancer: Enhancer) -> None:
        """Enhance ``jobs``; an error in one of them does not keep the others from being done."""
        began = time.perf_counter()
        try:
            self._run(jobs, enhancer, began)
        finally:
            self.elapsed = time.perf_counter() - began

    def _run(self, jobs: Sequence[Job], enhancer: Enhancer, began: float) -> None:
        # A file's length is known when its turn comes; until then its size stands for the work that it is.
        sizes = [_size(job) for job in jobs]
        lengths: dict[int, float] = {}
        with self._progress() as progress:
            known = any(sizes)
            task = progress.add_task("", total=sum(sizes) if known else None, speed="", position="")
            seconds_done, shares = [0.0] * len(jobs), [0.0] * len(jobs)

            def files() -> Iterator[tuple[Path, Path, Path | None]]:
                for number, job in enumerate(jobs, 1):
                    position = f"{number}/{len(jobs)}" if len(jobs) > 1 else ""
                    progress.update(task, description=printable(job.source.name), position=position)
                    yield job.source, job.target, job.removed

            def on_open(number: int, info: AudioInfo) -> None:
                if info.duration:
                    lengths[number] = info.duration

            def on_progress(number: int, seconds: float) -> None:
                self.check()
                seconds_done[number] = seconds
                if number in lengths:
                    shares[number] = min(seconds / lengths[number], 1.0)
                show()

            def show() -> None:
                completed = sum(size * share for size, share in zip(sizes, shares, strict=True))
                speed = describe_speed(sum(seconds_done) / (time.perf_counter() - began))
                progress.update(task, completed=completed if known else None, speed=speed)

            results = enhance_files(enhancer, files(), self.options, progress=on_progress, on_open=on_open)
            with contextlib.closing(results):
                for number, result in results:
                    outcome = _file_outcome(jobs[number], result)
                    self.outcomes.append(outcome)
                    self._tell(outcome)
                    shares[number] = 1.0
                    show()

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.fields[position]}"),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=self.quiet or not self.console.is_terminal,
        )

    def say(self, text: str) -> None:
        """One line, unless quiet."""
        if not self.quiet:
            self._print(text)

    def _print(self, text: str) -> None:
        self.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def _tell(self, outcome: FileOutcome) -> None:
        if outcome.stats is None:
            self._print(f"error: {outcome.error}")
            return
        stats, job = outcome.stats, outcome.job
        speed = f" ({describe_speed(stats.seconds / stats.elapsed)})" if stats.seconds else ""
        self.say(f"{job.source} -> {job.target}: {stats.seconds:.1f} s in {stats.elapsed:.1f} s{speed}")
        for warning in stats.warnings:
            if warning not in self._told:  # those that name no file hold for all of them
                self._told.add(warning)
                self.say(f"warning: {warning}")
        if stats.clipped:
            self.say(
                f"warning: {job.target}: {stats.clipped} samples beyond full scale were clipped; "
                "a float format (-o NAME.wav from a float input) keeps them"
            )

    def summary(self) -> dict[str, Any]:
        """Counts and times of the whole batch."""
        seconds = sum(o.stats.seconds for o in self.outcomes if o.stats is not None)
        return {
            **{kind: self.count(kind) for kind in ("enhanced", "skipped", "failed")},
            "not_started": len(self.jobs) - len(self.outcomes),
            "left_out": len(self.left_out),
            "seconds": seconds,
            "elapsed": self.elapsed,
            "real_time_factor": self.elapsed / seconds if seconds and self.elapsed else None,
        }

    def count(self, status: str) -> int:
        """Number of files that ended so."""
        return sum(outcome.status == status for outcome in self.outcomes)

    def tell_summary(self) -> None:
        """The batch in one line, where there was more than one file to do."""
        summary = self.summary()
        if len(self.jobs) == 1 and not summary["skipped"]:
            self.tell_left_out()
            return
        text = f"{summary['enhanced']} enhanced, {summary['skipped']} skipped, {summary['failed']} failed"
        if summary["seconds"]:
            speed = describe_speed(summary["seconds"] / self.elapsed)
            text += f"; {summary['seconds']:.1f} s of audio in {self.elapsed:.1f} s ({speed})"
        if summary["skipped"]:
            text += "; outputs that were there are kept unless --overwrite is given"
        self.say(text)
        self.tell_left_out()

    def tell_left_out(self) -> None:
        """What the folders hold besides, in one line."""
        if self.left_out:
            self.say(f"left out: {len(self.left_out)} ({summarize(self.left_out)})")

    def write_report(self, path: Path, settings: dict[str, Any]) -> None:
        """Write the JSON report, whole or not at all.

        Of files that were skipped now, the report of the run that did them is kept.
        """
        earlier = _previous_rows(path)
        rows = []
        place = {job.target: number for number, job in enumerate(self.jobs)}
        for outcome in sorted(self.outcomes, key=lambda outcome: place[outcome.job.target]):
            row = outcome.as_json()
            rows.append({**earlier.get(row["output"], {}), **row} if outcome.status == "skipped" else row)
        report = {
            "audio_enh": audio_enh.__version__,
            "settings": {**settings, **self.options.as_dict()},
            "summary": self.summary(),
            "files": rows,
            "left_out": [{"input": str(item.path), "reason": item.reason} for item in self.left_out],
        }
        target = AtomicTarget(path)
        try:
            target.temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        except BaseException:
            target.discard()
            raise
        target.commit()


def _file_outcome(job: Job, result: FileStats | Exception) -> FileOutcome:
    if isinstance(result, FileStats):
        return FileOutcome(job, "enhanced", result)
    if job.piped and isinstance(result.__cause__, BrokenPipeError):
        raise result.__cause__ from None  # whoever read stdout has enough; that is no error
    if debugging():
        traceback.print_exception(result)
    # Messages of the audio files' layer name the file themselves.
    prefix = "" if isinstance(result, AudioFileError) else f"{job.source}: "
    return FileOutcome(job, "failed", error=prefix + describe(result))


def _previous_rows(path: Path) -> dict[str, dict[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {row["output"]: row for row in rows}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}  # there is none, or something else lies there under its name


def _size(job: Job) -> int:
    """Bytes of the input, 0 where there is no telling; what is wrong with a file is found when its turn comes."""
    try:
        return 0 if str(job.source) == PIPE else job.source.stat().st_size
    except OSError:
        return 0
