"""Clean speech damaged at random: training data for universal enhancement."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from audio_enh.data.datasets import Batch, TrainingData
from audio_enh.data.packed import AudioFolder, PackedAudio
from audio_enh.distortions import PackedSounds, RandomDamage, Recordings
from audio_enh.distortions.damage import COUNTS

# Root mean square below which a stretch is taken for silence, and how often another one is drawn.
_SILENCE, _TRIES = 1e-3, 5


class DamagedDataset(Dataset[Batch]):
    """Item ``i`` is drawn by a generator seeded with ``(seed, i)``: reproducible, never-ending.

    Args:
        speech: clean speech.
        damage: what is done to it.
        seconds: duration of an item.
        seed: of the whole data set.
    """

    def __init__(self, speech: PackedAudio, damage: RandomDamage, seconds: float, seed: int):
        self.speech = speech
        self.damage = damage
        self.length = round(seconds * speech.sample_rate)
        self.seed = seed

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self.seed, index))
        clean = self.speech.draw(rng, self.length, loop=False)
        for _ in range(_TRIES):
            if np.sqrt(np.mean(np.square(clean))) > _SILENCE:
                break
            clean = self.speech.draw(rng, self.length, loop=False)
        damaged = self.damage(clean[None], self.speech.sample_rate, rng)
        noisy, target = (
            torch.from_numpy(np.ascontiguousarray(x[0])) for x in (damaged.audio, damaged.target)
        )
        return Batch(noisy, target, torch.tensor(float("nan")), torch.tensor(index))


class DamageData(TrainingData):
    """Speech damaged anew for every item by :class:`audio_enh.distortions.RandomDamage`.

    Args:
        speech, valid_speech: clean speech, of other speakers for validation.
        noise, valid_noise, rooms, valid_rooms, talkers: recordings for the distortions that need some; bundled ones
            where None. ``talkers`` are never a target; validation uses the bundled ones.
        counts: probability of 1, 2, ... distortions.
        severity: from where to where it is drawn, within 0 to 1.

    The other arguments are those of :class:`TrainingData`.
    """

    def __init__(
        self,
        speech: AudioFolder,
        valid_speech: AudioFolder,
        noise: AudioFolder | None = None,
        valid_noise: AudioFolder | None = None,
        rooms: AudioFolder | None = None,
        valid_rooms: AudioFolder | None = None,
        talkers: AudioFolder | None = None,
        counts: tuple[float, ...] = COUNTS,
        severity: tuple[float, float] = (0.0, 1.0),
        sample_rate: int = 16000,
        seconds: float = 2.0,
        valid_seconds: float = 4.0,
        batch_size: int = 16,
        steps_per_epoch: int = 500,
        valid_items: int = 64,
        workers: int = 1,
        cache: str = "~/.cache/audio_enh",
        seed: int = 0,
    ):
        super().__init__(
            sample_rate,
            seconds,
            valid_seconds,
            batch_size,
            steps_per_epoch,
            valid_items,
            workers,
            cache,
            seed,
        )
        self.speech, self.valid_speech = speech, valid_speech
        self.folders = {"noise": noise, "rooms": rooms, "talkers": talkers}
        self.valid_folders = {"noise": valid_noise, "rooms": valid_rooms}
        self.counts = tuple(counts)
        self.severity = (severity[0], severity[1])

    def prepare_data(self) -> None:
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        self.train_set = DamagedDataset(
            self._pack(self.speech.files()), self._damage(self.folders), self.seconds, self.seed
        )
        self.valid_set = DamagedDataset(
            self._pack(self.valid_speech.files()), self._damage(self.valid_folders), self.valid_seconds, 0
        )

    def _damage(self, folders: dict[str, AudioFolder | None]) -> RandomDamage:
        found = {name: folder.files() for name, folder in folders.items() if folder is not None}
        packed = {name: PackedSounds(self._pack(files)) for name, files in found.items() if files}
        return RandomDamage(Recordings(**packed), counts=self.counts, severity=self.severity)
