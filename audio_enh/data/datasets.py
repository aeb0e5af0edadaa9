"""Torch datasets and the Lightning data module over the mixer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from audio_enh.data.mixing import MixConfig, Mixer
from audio_enh.data.packed import AudioFolder, PackedAudio


class Batch(NamedTuple):
    """Tensors ``(batch, samples)`` and ``(batch,)``: noisy, clean, signal-to-noise ratio in dB."""

    noisy: Tensor
    clean: Tensor
    snr: Tensor


class MixtureDataset(Dataset[Batch]):
    """Item ``i`` is the mixture drawn by a generator seeded with ``(seed, i)``: reproducible, never-ending.

    Args:
        mixer: what draws.
        seconds: duration of an item.
        seed: of the whole data set.
    """

    def __init__(self, mixer: Mixer, seconds: float, seed: int):
        self.mixer = mixer
        self.length = round(seconds * mixer.speech.sample_rate)
        self.seed = seed

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self.seed, index))
        noisy, clean, snr = self.mixer(rng, self.length)
        return Batch(torch.from_numpy(noisy), torch.from_numpy(clean), torch.tensor(snr))


class ForwardSampler(Sampler[int]):
    """Indices that go on from where training stands: each epoch is new, and the same again after a resume.

    Lightning's count of epochs is not used, since it differs between a run resumed at the end of an epoch and
    an unbroken one.

    Args:
        size: of an epoch.
        consumed: tells how many items have been trained on.
    """

    def __init__(self, size: int, consumed: Callable[[], int]):
        self.size = size
        self.consumed = consumed

    def __iter__(self) -> Iterator[int]:
        start = self.consumed()
        return iter(range(start, start + self.size))

    def __len__(self) -> int:
        return self.size


class MixtureData(lightning.LightningDataModule):
    """Training and validation mixtures from folders or manifests.

    Args:
        speech, noise: training audio.
        valid_speech, valid_noise: other speakers and other recordings, for validation.
        rooms, valid_rooms: recorded room responses.
        interferers: speech for babble.
        mix, valid_mix: the mixtures' statistics.
        sample_rate: in Hz.
        seconds, valid_seconds: duration of an item.
        batch_size: items of a step.
        steps_per_epoch: optimiser steps between validations.
        valid_items: number of validation mixtures; the same ones each time.
        workers: processes that mix; 0 mixes in the training process.
        cache: folder for the decoded audio.
        seed: of the mixtures.
    """

    def __init__(
        self,
        speech: AudioFolder,
        noise: AudioFolder,
        valid_speech: AudioFolder,
        valid_noise: AudioFolder,
        rooms: AudioFolder | None = None,
        valid_rooms: AudioFolder | None = None,
        interferers: AudioFolder | None = None,
        mix: MixConfig | None = None,
        valid_mix: MixConfig | None = None,
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
        super().__init__()
        self.folders = {"speech": speech, "noise": noise, "rooms": rooms, "interferers": interferers}
        self.valid_folders = {"speech": valid_speech, "noise": valid_noise, "rooms": valid_rooms}
        self.mix = mix or MixConfig()
        self.valid_mix = valid_mix or MixConfig()
        self.sample_rate = sample_rate
        self.seconds = seconds
        self.valid_seconds = valid_seconds
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.valid_items = valid_items
        self.workers = workers
        self.cache = Path(cache).expanduser()
        self.seed = seed

    def setup(self, stage: str | None = None) -> None:
        self.train_set = MixtureDataset(self._mixer(self.folders, self.mix), self.seconds, self.seed)
        self.valid_set = MixtureDataset(
            self._mixer(self.valid_folders, self.valid_mix), self.valid_seconds, seed=0
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(
            self.train_set,
            batch_size=self.batch_size,
            sampler=ForwardSampler(self.batch_size * self.steps_per_epoch, self._consumed),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            prefetch_factor=4 if self.workers else None,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        indices = range(self.valid_items)
        return DataLoader(self.valid_set, batch_size=min(8, self.valid_items), sampler=indices)

    def _consumed(self) -> int:
        if self.trainer is None:
            return 0
        return self.trainer.global_step * self.trainer.accumulate_grad_batches * self.batch_size

    def _mixer(self, folders: dict[str, AudioFolder | None], mix: MixConfig) -> Mixer:
        packed = {
            name: PackedAudio(folder.files(), self.sample_rate, self.cache)
            for name, folder in folders.items()
            if folder is not None
        }
        return Mixer(**packed, config=mix)
