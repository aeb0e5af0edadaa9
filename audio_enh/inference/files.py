"""From file to file, with memory that does not grow with the length."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from audio_enh.errors import UserError
from audio_enh.inference.enhancer import Enhancer
from audio_enh.io import AudioReader, AudioWriter
from audio_enh.models.generative import GenerativeModel


@dataclass(frozen=True)
class FileStats:
    """What enhancing a file came to.

    Attributes:
        sample_rate: in Hz.
        channels: number of channels.
        frames: samples per channel.
        seconds: length of the audio.
        elapsed: seconds it took, reading and writing included.
        clipped: samples beyond full scale that an integer format had to clip.
        warnings: what a user should be told, one line each.
    """

    sample_rate: int
    channels: int
    frames: int
    seconds: float
    elapsed: float
    clipped: int
    warnings: tuple[str, ...]


def curve_paths(target: str | Path) -> tuple[Path, Path]:
    """Where the uncertainty of an output goes: ``talk.wav`` has ``talk.uncertainty.csv`` and ``.png`` beside it."""
    base = Path(target)
    return base.with_name(f"{base.stem}.uncertainty.csv"), base.with_name(f"{base.stem}.uncertainty.png")


def enhance_file(
    enhancer: Enhancer,
    source: str | Path,
    target: str | Path,
    *,
    seed: int | None = None,
    strength: float = 1.0,
    max_attenuation: float | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    samples: int = 1,
    combine: Literal["mean", "median"] = "mean",
    uncertainty: bool = False,
    allow_truncated: bool = False,
    on_block: Callable[[float], None] | None = None,
) -> FileStats:
    """Enhance ``source`` into ``target``: same rate, channels, length, sample format and tags.

    The target appears whole or not at all, whatever happens meanwhile.

    Args:
        enhancer: the model.
        source: any audio file, ``-`` for WAV on stdin.
        target: file to write, its extension decides the container; ``-`` for WAV on stdout.
        seed, strength, max_attenuation, sampler, steps, samples, combine: see :meth:`Enhancer.enhance`.
        uncertainty: write how far the draws of a generative model are apart as well, see :func:`curve_paths`.
        allow_truncated: use what is there of a source that is cut short or damaged, with a warning.
        on_block: told the seconds of audio that are done, after every block of a file or step of a sampler.

    Raises:
        AudioFileError: the source cannot be read or the target cannot be written.
        UserError: the source holds NaN or infinite samples, or an option is out of range.
    """
    began = time.perf_counter()
    if uncertainty and (samples < 2 or str(target) == "-"):
        raise UserError("the uncertainty takes 2 samples or more, and a file as output to stand beside")
    generative = isinstance(enhancer.model, GenerativeModel)
    with AudioReader(source, allow_truncated=allow_truncated) as reader:
        info = reader.info
        stream = enhancer.stream(
            info.sample_rate,
            info.channels,
            strength=strength,
            max_attenuation=max_attenuation,
            seed=seed,
            sampler=sampler,
            steps=steps,
            samples=samples,
            combine=combine,
            # Reading runs ahead of a sampler by a window, and one window may take minutes.
            on_step=on_block,
        )
        with AudioWriter(target, info) as writer:
            # Shared among the channels, as the model's steps are: memory does not grow with their number.
            for block in reader.blocks(enhancer.block_seconds / info.channels):
                writer.write(stream.process(block))
                if on_block is not None and not generative:
                    on_block(reader.frames_read / info.sample_rate)
            writer.write(stream.flush())
    if uncertainty and stream.uncertainty is not None:
        table, picture = curve_paths(target)
        stream.uncertainty.write_csv(table)
        stream.uncertainty.write_png(picture, title=Path(target).name)
    return FileStats(
        sample_rate=info.sample_rate,
        channels=info.channels,
        frames=writer.frames,
        seconds=writer.frames / info.sample_rate,
        elapsed=time.perf_counter() - began,
        clipped=writer.clipped,
        warnings=(*reader.warnings, *writer.warnings),
    )
