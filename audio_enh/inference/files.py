"""From file to file, with memory that does not grow with the length."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from audio_enh.inference.enhancer import Enhancer
from audio_enh.io import AudioReader, AudioWriter


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


def enhance_file(
    enhancer: Enhancer,
    source: str | Path,
    target: str | Path,
    *,
    seed: int | None = None,
    strength: float = 1.0,
    max_attenuation: float | None = None,
    allow_truncated: bool = False,
    on_block: Callable[[float], None] | None = None,
) -> FileStats:
    """Enhance ``source`` into ``target``: same rate, channels, length, sample format and tags.

    The target appears whole or not at all, whatever happens meanwhile.

    Args:
        enhancer: the model.
        source: any audio file, ``-`` for WAV on stdin.
        target: file to write, its extension decides the container; ``-`` for WAV on stdout.
        seed, strength, max_attenuation: see :meth:`Enhancer.enhance`.
        allow_truncated: use what is there of a source that is cut short or damaged, with a warning.
        on_block: told the seconds of audio read, after every block.

    Raises:
        AudioFileError: the source cannot be read or the target cannot be written.
        UserError: the source holds NaN or infinite samples, or an option is out of range.
    """
    began = time.perf_counter()
    with AudioReader(source, allow_truncated=allow_truncated) as reader:
        info = reader.info
        stream = enhancer.stream(
            info.sample_rate, info.channels, seed=seed, strength=strength, max_attenuation=max_attenuation
        )
        with AudioWriter(target, info) as writer:
            # Shared among the channels, as the model's steps are: memory does not grow with their number.
            for block in reader.blocks(enhancer.block_seconds / info.channels):
                writer.write(stream.process(block))
                if on_block is not None:
                    on_block(reader.frames_read / info.sample_rate)
            writer.write(stream.flush())
    return FileStats(
        sample_rate=info.sample_rate,
        channels=info.channels,
        frames=writer.frames,
        seconds=writer.frames / info.sample_rate,
        elapsed=time.perf_counter() - began,
        clipped=writer.clipped,
        warnings=(*reader.warnings, *writer.warnings),
    )
