"""Where distortions get recorded noises, other talkers and room responses from."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Protocol

import numpy as np

from audio_enh.dsp.signals import Audio, resample
from audio_enh.errors import AudioFileError
from audio_enh.io import read_audio
from audio_enh.sources.channels import to_mono
from audio_enh.sources.packed import AudioFolder, PackedAudio
from audio_enh.sources.packing import room_channels


class Sounds(Protocol):
    """Mono recordings to draw from, at any rate."""

    def draw(self, rng: np.random.Generator, length: int, sample_rate: int) -> Audio:
        """A random stretch of ``length`` samples, ``(length,)``; a short recording is repeated."""

    def whole(self, rng: np.random.Generator, sample_rate: int) -> Audio:
        """A random recording from beginning to end, ``(samples,)``."""


@functools.lru_cache(maxsize=64)
def _load(path: Path, sample_rate: int, rooms: bool) -> Audio:
    """``(channels, samples)``: one channel, or all those of a room."""
    if rooms:
        audio, rate = room_channels(path)
    else:
        audio, rate = read_audio(path)
        if not np.isfinite(audio).all():
            raise AudioFileError(f"{path} contains NaN or infinite samples")
        if audio.size == 0:
            raise AudioFileError(f"{path} has no samples")
        audio = to_mono(audio)[0][None]
    return resample(audio, rate, sample_rate)


@dataclass(frozen=True)
class SoundFiles:
    """Files, read when they are drawn; the last 64 stay in memory. Each file is as likely as any other.

    Attributes:
        files: audio files.
        rooms: they are room responses: each of their channels is one to draw.
    """

    files: Sequence[Path]
    rooms: bool = False

    @classmethod
    def below(cls, folder: str, rooms: bool = False) -> SoundFiles:
        """The audio files in a folder or manifest.

        Raises:
            UserError: there are none.
        """
        return cls(tuple(AudioFolder(folder).files()), rooms)

    def draw(self, rng: np.random.Generator, length: int, sample_rate: int) -> Audio:
        audio = self.whole(rng, sample_rate)
        if len(audio) >= length:
            start = int(rng.integers(len(audio) - length + 1))
            return audio[start : start + length]
        start = int(rng.integers(len(audio)))
        return np.resize(np.roll(audio, -start), length)

    def whole(self, rng: np.random.Generator, sample_rate: int) -> Audio:
        channels = _load(self.files[int(rng.integers(len(self.files)))], sample_rate, self.rooms)
        return channels[int(rng.integers(len(channels))) if len(channels) > 1 else 0]


@dataclass(frozen=True)
class PackedSounds:
    """Training data that is packed already; files are drawn by their length."""

    packed: PackedAudio

    def draw(self, rng: np.random.Generator, length: int, sample_rate: int) -> Audio:
        rate = self.packed.sample_rate
        if rate == sample_rate:
            return self.packed.draw(rng, length, loop=True)
        audio = self.packed.draw(rng, -(-length * rate // sample_rate) + 1, loop=True)
        return resample(audio[None], rate, sample_rate)[0, :length]

    def whole(self, rng: np.random.Generator, sample_rate: int) -> Audio:
        _, audio = self.packed.draw_whole(rng)
        return resample(audio[None], self.packed.sample_rate, sample_rate)[0]


def _bundled(package: str, folder: str) -> SoundFiles:
    place = Path(str(resources.files(package))) / folder
    files = tuple(sorted(p for p in place.iterdir() if p.suffix in (".flac", ".ogg")))
    return SoundFiles(files, rooms=folder == "rooms")


@dataclass(frozen=True)
class Recordings:
    """Recorded material.

    Attributes:
        noise: of any kind; five bundled recordings if not given.
        talkers: speech for babble, never a target; five bundled sentences if not given.
        rooms: impulse responses; four bundled ones if not given.
    """

    noise: Sounds = field(default_factory=functools.partial(_bundled, "audio_enh", "samples/noise"))
    talkers: Sounds = field(default_factory=functools.partial(_bundled, "audio_enh", "samples/clean"))
    rooms: Sounds = field(default_factory=functools.partial(_bundled, "audio_enh.distortions", "rooms"))

    @classmethod
    def from_folders(
        cls,
        sample_rate: int,
        cache: Path,
        noise: AudioFolder | None = None,
        talkers: AudioFolder | None = None,
        rooms: AudioFolder | None = None,
        skip_broken: bool = False,
    ) -> Recordings:
        """Recordings decoded to ``sample_rate`` in Hz into ``cache``; bundled ones where None or empty.

        Raises:
            AudioFileError: files cannot be used, unless ``skip_broken``.
        """
        folders = {"noise": noise, "talkers": talkers, "rooms": rooms}
        found = {name: folder.files() for name, folder in folders.items() if folder is not None}
        packs = {
            name: PackedAudio(
                files,
                sample_rate,
                cache,
                skip_broken=skip_broken,
                rooms=name == "rooms",
                what=name.rstrip("s"),
            )
            for name, files in found.items()
            if files
        }
        return cls(**{name: PackedSounds(pack) for name, pack in packs.items()})
