"""From file to file, with memory that grows neither with their length nor with their number."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from audio_enh.errors import UserError
from audio_enh.inference.band import UpperBand
from audio_enh.inference.enhancer import Enhancer
from audio_enh.inference.pool import WindowPool
from audio_enh.io import AtomicTarget, AudioInfo, AudioReader, AudioWriter, count_tracks
from audio_enh.io.atomic import remove_leftovers
from audio_enh.io.discover import shorten_name
from audio_enh.io.remux import holds_several_tracks
from audio_enh.options import DEFAULT_FILES, FileOptions


@dataclass(frozen=True)
class FileStats:
    """What enhancing a file came to.

    Attributes:
        sample_rate: in Hz.
        channels: number of channels.
        frames: samples per channel.
        seconds: length of the audio.
        elapsed: seconds it took, reading and writing included; of the model's calls for several files its part.
        clipped: samples beyond full scale that an integer format had to clip.
        warnings: what a user should be told, one line each.
        linked: whether the channels were enhanced together, see :mod:`audio_enh.inference.linked`.
    """

    sample_rate: int
    channels: int
    frames: int
    seconds: float
    elapsed: float
    clipped: int
    warnings: tuple[str, ...]
    linked: bool = False


def curve_paths(target: str | Path) -> tuple[Path, Path]:
    """Where the uncertainty of an output goes: ``talk.wav`` has ``talk.uncertainty.csv`` and ``.png`` beside it."""
    base = Path(target)
    csv, png = (base.with_name(shorten_name(base.stem, f".uncertainty.{kind}")) for kind in ("csv", "png"))
    return csv, png


def enhance_file(
    enhancer: Enhancer,
    source: str | Path,
    target: str | Path,
    options: FileOptions = DEFAULT_FILES,
    *,
    removed: str | Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> FileStats:
    """Enhance ``source`` into ``target``: same rate, channels, length, sample format and tags.

    The target appears whole or not at all, whatever happens meanwhile.

    Args:
        enhancer: the model.
        source: any audio file, ``-`` for WAV on stdin.
        target: file to write, its extension decides the container; ``-`` for WAV on stdout.
        options: see there.
        removed: file for what is taken away, source minus target, in the target's way; its extension decides the
            container.
        progress: told how many seconds of the file are done, after every block and every step of a sampler.

    Raises:
        AudioFileError: the source cannot be read or the target cannot be written.
        UserError: the source holds NaN or infinite samples, or an option is out of range.
    """
    tell = None if progress is None else lambda _, seconds: progress(seconds)
    ((_, result),) = enhance_files(enhancer, [(source, target, removed)], options, progress=tell)
    if isinstance(result, Exception):
        raise result
    return result


#: Files that are open at a time, at most.
MAX_OPEN = 64


def enhance_files(
    enhancer: Enhancer,
    files: Iterable[tuple[str | Path, str | Path] | tuple[str | Path, str | Path, str | Path | None]],
    options: FileOptions = DEFAULT_FILES,
    *,
    progress: Callable[[int, float], None] | None = None,
    on_open: Callable[[int, AudioInfo], None] | None = None,
) -> Generator[tuple[int, FileStats | Exception]]:
    """Enhance many files, each as :func:`enhance_file` does.

    Files are read one after the other. A model that works on windows is given those of several files at a time, as
    many as ``enhancer.windows_per_call``; a file that waits for its last windows stays open meanwhile. Memory grows
    neither with the length nor with the number of files.

    Args:
        enhancer: the model.
        files: source, target and, if you like, a file for what is taken away, see :func:`enhance_file`.
        options: for all of them.
        progress: told the number of a file and the seconds of it that are done.
        on_open: told the number of a file and what it holds, when its turn comes.

    Yields:
        The number of a file, from 0, and what became of it, in the order in which they are done. An error of one file
        does not keep the others from being done. Closing the generator gives up the files that are open.
    """
    pool = WindowPool(enhancer.windows_per_call)
    waiting: list[_OpenFile] = []
    try:
        for number, (source, target, *rest) in enumerate(files):
            removed = rest[0] if rest else None
            tell = None if progress is None else functools.partial(progress, number)
            opened = None if on_open is None else functools.partial(on_open, number)
            file = _OpenFile(
                number, _enhance(enhancer, source, target, removed, options, pool, tell, opened), pool
            )
            waiting.append(file)
            while not file.waits and file.result is None:
                calls = pool.calls
                file.advance()
                if pool.calls > calls:  # there may be output for others
                    yield from _finished(waiting)
            if file.result is not None:
                yield from _finished(waiting)
            while len(waiting) >= MAX_OPEN:
                pool.finish_oldest()
                yield from _finished(waiting)
        pool.finish()
        yield from _finished(waiting)
    finally:
        for file in waiting:
            file.steps.close()


@dataclass(eq=False)
class _OpenFile:
    """A file on its way; ``steps`` give whether it can only wait for windows."""

    number: int
    steps: Generator[bool, None, FileStats]
    pool: WindowPool
    waits: bool = False
    elapsed: float = 0.0
    result: FileStats | Exception | None = None

    def advance(self) -> None:
        """Do the next step, or find that there is none."""
        began, shared = time.perf_counter(), self.pool.seconds
        try:
            self.waits = next(self.steps)
        except StopIteration as end:
            self.result = end.value
        except Exception as error:
            self.result = error
        self.elapsed += time.perf_counter() - began - (self.pool.seconds - shared)
        if isinstance(self.result, FileStats):
            self.result = replace(self.result, elapsed=self.result.elapsed + self.elapsed)


def _finished(files: list[_OpenFile]) -> Iterator[tuple[int, FileStats | Exception]]:
    """Those that are done by now; they are taken off the list."""
    for file in list(files):
        if file.waits and file.result is None:
            file.advance()
        if file.result is not None:
            files.remove(file)
            yield file.number, file.result


def _enhance(
    enhancer: Enhancer,
    source: str | Path,
    target: str | Path,
    removed: str | Path | None,
    options: FileOptions,
    pool: WindowPool,
    progress: Callable[[float], None] | None,
    on_open: Callable[[AudioInfo], None] | None = None,
) -> Generator[bool, None, FileStats]:
    """Yields after every block; True where only windows in the pool are still to be done."""
    if str(target) != "-":
        remove_leftovers(Path(target))
    if removed is not None:
        remove_leftovers(Path(removed))
    count = count_tracks(source) if options.track == "all" else 1
    if count == 1:
        if options.track == "all":
            options = replace(options, track=None)
        return (
            yield from _enhance_track(enhancer, source, target, removed, options, pool, progress, on_open)
        )
    if removed is not None:
        raise UserError(
            f"{source} has {count} sound tracks, and what is taken away is told of one: name it with --track"
        )
    if not holds_several_tracks(target) or options.uncertainty:
        raise UserError(
            f"{target} has no place for the {count} sound tracks of {source}: name an output such as .mkv or "
            ".mp4, or one track with --track"
        )
    done: list[FileStats] = []
    between: AtomicTarget | None = None
    try:
        for number in range(1, count + 1):
            former, between = between, None if number == count else AtomicTarget(Path(target))
            try:
                stats = yield from _enhance_track(
                    enhancer,
                    source if former is None else former.temporary,
                    target if between is None else between.temporary,
                    None,
                    replace(options, track=str(number)),
                    pool,
                    progress,
                    on_open,
                )
            finally:
                if former is not None:
                    former.discard()
            done.append(stats)
    finally:
        if between is not None:
            between.discard()
    return replace(
        done[-1],
        seconds=sum(stats.seconds for stats in done),
        elapsed=sum(stats.elapsed for stats in done),
        clipped=sum(stats.clipped for stats in done),
        warnings=tuple(dict.fromkeys(line for stats in done for line in stats.warnings)),
    )


def _enhance_track(
    enhancer: Enhancer,
    source: str | Path,
    target: str | Path,
    removed: str | Path | None,
    options: FileOptions,
    pool: WindowPool,
    progress: Callable[[float], None] | None,
    on_open: Callable[[AudioInfo], None] | None,
) -> Generator[bool, None, FileStats]:
    """Yields after every block; True where only windows in the pool are still to be done."""
    if options.uncertainty and (options.enhance.sampling.draws < 2 or str(target) == "-"):
        raise UserError("the uncertainty takes 2 draws or more, and a file as output to stand beside")
    with AudioReader(source, allow_truncated=options.allow_truncated, track=options.track) as reader:
        info = reader.info
        if on_open is not None:
            on_open(info)
        stream = enhancer.stream(
            info.sample_rate,
            info.channels,
            options.enhance,
            progress=progress,
            pool=pool,
        )
        upper = UpperBand(info.sample_rate, enhancer.working_rate(info.sample_rate) / 2)
        rest: AudioWriter | None = None
        with contextlib.ExitStack() as writers:
            writer = writers.enter_context(AudioWriter(target, info))
            if removed is not None:  # finished first: where the target is, this is too
                rest = writers.enter_context(AudioWriter(removed, info))
                stream.on_removed = rest.write
            # Shared among the channels, as the model's steps are: memory does not grow with their number.
            for block in reader.blocks(enhancer.block_seconds / info.channels):
                upper.add(block)
                writer.write(stream.process(block))
                if progress is not None:  # to let it stop the work where a model waits for more
                    progress(stream.seconds_done)
                yield False
            writer.write(stream.end())
            while not stream.complete:
                yield True
            writer.write(stream.flush())
    if options.uncertainty and stream.uncertainty is not None:
        table, picture = curve_paths(target)
        stream.uncertainty.write_csv(table)
        stream.uncertainty.write_png(picture, title=Path(target).name)
    lost: tuple[str, ...] = ()
    if upper.audible and options.enhance.strength == 1 and options.enhance.max_attenuation is None:
        lost = (
            f"sound above {upper.edge / 1000:g} kHz is lost, where this model hears nothing; "
            "causal-unet-48k keeps it, or --strength 0.9 a tenth of the original",
        )
    return FileStats(
        sample_rate=info.sample_rate,
        channels=info.channels,
        frames=writer.frames,
        seconds=writer.frames / info.sample_rate,
        elapsed=stream.shared_seconds,
        clipped=writer.clipped + (0 if rest is None else rest.clipped),
        warnings=(*reader.warnings, *writer.warnings, *(() if rest is None else rest.warnings), *lost),
        linked=stream.linked,
    )
