"""Clean speech damaged at random: training data for universal enhancement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from audio_enh.data.datasets import Batch, TrainingData
from audio_enh.distortions import RandomDamage, Recordings
from audio_enh.distortions.damage import CHAIN, COUNTS, ROUND
from audio_enh.sources.packed import AudioFolder, PackedAudio

# Root mean square below which a stretch is taken for silence, and how often another one is drawn.
_SILENCE, _TRIES = 1e-3, 5


class DamagedDataset(Dataset[Batch]):
    """Item ``i`` is drawn by a generator seeded with ``(seed, i)``: reproducible, never-ending.

    Args:
        speech: clean speech.
        damage: what is done to it.
        seconds: duration of an item.
        seed: of the whole data set.
        kinds: of damage that items get in turn; see :meth:`RandomDamage.draw`.
    """

    def __init__(
        self,
        speech: PackedAudio,
        damage: RandomDamage,
        seconds: float,
        seed: int,
        kinds: Sequence[str] = (CHAIN,),
    ):
        self.speech = speech
        self.damage = damage
        self.length = round(seconds * speech.sample_rate)
        self.seed = seed
        self.kinds = tuple(kinds)

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self.seed, index))
        clean = self.speech.draw(rng, self.length, loop=False)
        for _ in range(_TRIES):
            if np.sqrt(np.mean(np.square(clean))) > _SILENCE:
                break
            clean = self.speech.draw(rng, self.length, loop=False)
        kind = self.kinds[index % len(self.kinds)]
        damaged = self.damage(clean[None], self.speech.sample_rate, rng, kind)
        noisy, target = (
            torch.from_numpy(np.ascontiguousarray(x[0])) for x in (damaged.audio, damaged.target)
        )
        return Batch(noisy, target, torch.tensor(float("nan")), torch.tensor(index))


@dataclass(eq=False, repr=False)
class DamageData(TrainingData):
    """Speech damaged anew for every item by :class:`audio_enh.distortions.RandomDamage`.

    Validation items are damaged by one distortion of each family in turn, then by two random chains.

    Attributes:
        speech, valid_speech: clean speech, of other speakers for validation.
        noise, valid_noise, rooms, valid_rooms, talkers: recordings for the distortions that need some; bundled ones
            where None. ``talkers`` are never a target; validation uses the bundled ones.
        counts: probability of 1, 2, ... distortions.
        severity: from where to where it is drawn, within 0 to 1.

    The others are those of :class:`TrainingData`.
    """

    speech: AudioFolder
    valid_speech: AudioFolder
    noise: AudioFolder | None = None
    valid_noise: AudioFolder | None = None
    rooms: AudioFolder | None = None
    valid_rooms: AudioFolder | None = None
    talkers: AudioFolder | None = None
    counts: Sequence[float] = COUNTS
    severity: Sequence[float] = (0.0, 1.0)

    @property
    def valid_groups(self) -> tuple[str, ...]:
        return tuple(kind.replace(" ", "_") for kind in ROUND)

    def prepare_data(self) -> None:
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        damage = self._damage(noise=self.noise, rooms=self.rooms, talkers=self.talkers)
        speech = self._pack(self.speech.files(), "speech")
        self.train_set = DamagedDataset(speech, damage, self.seconds, self.seed)
        if self.valid_items == 0:
            return
        damage = self._damage(noise=self.valid_noise, rooms=self.valid_rooms)
        speech = self._pack(self.valid_speech.files(), "speech")
        self.valid_set = DamagedDataset(speech, damage, self.valid_seconds, 0, kinds=ROUND)

    def _damage(self, **folders: AudioFolder | None) -> RandomDamage:
        cache = Path(self.cache).expanduser()
        recordings = Recordings.from_folders(self.sample_rate, cache, skip_broken=self.skip_broken, **folders)
        low, high = self.severity
        return RandomDamage(recordings, tuple(self.counts), (low, high))
