"""Torch datasets and Lightning data modules: mixtures drawn on the fly, and pairs recorded or mixed before."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from audio_enh.data.augment import random_band_stop
from audio_enh.data.mixing import MixConfig, Mixer
from audio_enh.errors import UserError
from audio_enh.sources.packed import AudioFolder, PackedAudio, PairFolder, pack_pairs


class Batch(NamedTuple):
    """What a training step sees.

    Attributes:
        noisy, clean: ``(batch, samples)``.
        snr: signal-to-noise ratio in dB, ``(batch,)``; NaN where it is not known.
        item: number among all ever drawn, ``(batch,)`` int64. What an objective draws at random for
            an item it draws from this number, so that a run does not depend on how its items are shared out.
        bandwidth: up to which frequency in Hz ``clean`` is speech, ``(batch,)``; infinite if that is not known.
            Losses do not look above it.
    """

    noisy: Tensor
    clean: Tensor
    snr: Tensor
    item: Tensor
    bandwidth: Tensor = torch.tensor(torch.inf)


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
        noisy, clean, snr, bandwidth = self.mixer(rng, self.length)
        return Batch(
            torch.from_numpy(noisy),
            torch.from_numpy(clean),
            torch.tensor(snr),
            torch.tensor(index),
            torch.tensor(bandwidth),
        )


class PairedDataset(Dataset[Batch]):
    """Random stretches of noisy files and the same stretches of their clean ones.

    Item ``i`` belongs to epoch ``i // pairs``, in which every pair comes once, in an order of its own; the
    stretch, and whatever else is random, is drawn by a generator seeded with ``(seed, i)``.

    Args:
        noisy, clean: equally many files, equally long.
        seconds: duration of an item.
        seed: of the whole data set.
        crop: draw the stretch; otherwise it is the file's beginning.
        shuffle: otherwise pairs come in their order.
        repeat: files shorter than an item are repeated; otherwise they are followed by silence.
        remix: the noise comes from a stretch of another pair (Defossez et al. 2020, who shuffle a batch's noises).
        band_mask: part of the mel scale of which a random band is taken out, see :func:`random_band_stop`; 0: none.
    """

    def __init__(
        self,
        noisy: PackedAudio,
        clean: PackedAudio,
        seconds: float,
        seed: int,
        crop: bool = True,
        shuffle: bool = True,
        repeat: bool = False,
        remix: bool = False,
        band_mask: float = 0.0,
    ):
        unequal = np.flatnonzero(noisy.lengths != clean.lengths)
        if unequal.size:
            i = int(unequal[0])
            raise UserError(
                f"'{noisy.files[i]}' has {noisy.lengths[i]} samples and its clean file '{clean.files[i]}'"
                f" {clean.lengths[i]}: pairs must be equally long"
            )
        self.noisy, self.clean = noisy, clean
        self.length = round(seconds * noisy.sample_rate)
        self.seed = seed
        self.crop = crop
        self.shuffle = shuffle
        self.repeat = repeat
        self.remix = remix
        self.band_mask = band_mask

    def __len__(self) -> int:
        return len(self.noisy)

    def __getitem__(self, index: int) -> Batch:
        epoch, place = divmod(index, len(self))
        if self.shuffle:
            place = int(np.random.default_rng((self.seed, epoch, 1)).permutation(len(self))[place])
        rng = np.random.default_rng((self.seed, index))
        noisy, clean = self._stretch(place, rng)
        if self.remix:
            others = self._stretch(int(rng.integers(len(self))), rng)
            noisy = clean + others[0] - others[1]
        if self.band_mask:
            noisy, clean = random_band_stop(
                np.stack([noisy, clean]), rng, self.noisy.sample_rate, self.band_mask
            )
        return Batch(
            torch.from_numpy(noisy),
            torch.from_numpy(clean),
            torch.tensor(float("nan")),
            torch.tensor(index),
        )

    def _stretch(self, place: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The same stretch of both files of a pair, ``(samples,)`` each, as long as an item."""
        spare = int(self.noisy.lengths[place]) - self.length
        start = int(rng.integers(spare + 1)) if self.crop and spare > 0 else 0
        both = [source.read(place, start, self.length) for source in (self.noisy, self.clean)]
        if spare < 0:
            # Of no samples there is nothing to repeat.
            mode: Literal["wrap", "constant"] = "wrap" if self.repeat and len(both[0]) else "constant"
            both = [np.pad(audio, (0, self.length - len(audio)), mode=mode) for audio in both]
        return both[0], both[1]


class ForwardSampler(Sampler[int]):
    """Indices that go on from where training stands: each epoch is new, and the same again after a resume.

    With several processes each takes every so-many-th item, so that together they take what one process with
    as large a batch would. Lightning's count of epochs is not used, since it differs between a run resumed at
    the end of an epoch and an unbroken one.

    Args:
        size: of an epoch, for one process.
        consumed: tells how many items all processes have trained on together.
        rank, processes: which of the processes this is, and of how many.
    """

    def __init__(self, size: int, consumed: Callable[[], int], rank: int = 0, processes: int = 1):
        self.size = size
        self.consumed = consumed
        self.rank = rank
        self.processes = processes

    def __iter__(self) -> Iterator[int]:
        start = self.consumed()
        return iter(range(start + self.rank, start + self.size * self.processes, self.processes))

    def __len__(self) -> int:
        return self.size


@dataclass(kw_only=True, eq=False, repr=False)
class TrainingData(lightning.LightningDataModule, ABC):
    """What all data modules have in common: batches that a resumed or distributed run sees as an unbroken one.

    Attributes:
        sample_rate: in Hz.
        seconds, valid_seconds: duration of an item.
        batch_size: items of a step, in each process.
        steps_per_epoch: batches between validations.
        valid_items: number of validation items; the same ones each time.
        workers: processes that prepare batches; 0 does it in the training process.
        cache: folder for the decoded audio.
        seed: of all that is drawn.
        skip_broken: leave out files that cannot be used, and say how many, instead of refusing to train.
    """

    sample_rate: int = 16000
    seconds: float = 2.0
    valid_seconds: float = 4.0
    batch_size: int = 16
    steps_per_epoch: int = 500
    valid_items: int = 64
    workers: int = 1
    cache: str = "~/.cache/audio_enh"
    seed: int = 0
    skip_broken: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self.train_set: Dataset[Batch]
        self.valid_set: Dataset[Batch]
        least = {"valid_items": 0, "workers": 0, "batch_size": 1, "steps_per_epoch": 1}
        for name, smallest in {**least, "seconds": 0.1, "valid_seconds": 0.1}.items():
            if getattr(self, name) < smallest:
                raise UserError(f"data.{name}={getattr(self, name)}: it must be at least {smallest}")
        # Items and batches that earlier starts of a run have trained on.
        self._before = (0, 0)

    @property
    def valid_groups(self) -> tuple[str, ...]:
        """Names of the groups that validation items belong to in turn, for scores by group; none by default."""
        return ()

    @abstractmethod
    def prepare_data(self) -> None:
        """Decode into the cache; Lightning calls this in one process of each machine before the others go on."""

    def train_dataloader(self) -> DataLoader[Batch]:
        rank, processes = self._place()
        return DataLoader(
            self.train_set,
            batch_size=self.batch_size,
            sampler=ForwardSampler(self.batch_size * self.steps_per_epoch, self._consumed, rank, processes),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            prefetch_factor=4 if self.workers else None,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        if self.valid_items == 0:
            return []
        rank, processes = self._place()
        indices = range(rank, self.valid_items, processes)
        return DataLoader(self.valid_set, batch_size=min(8, self.valid_items), sampler=indices)

    def _place(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def state_dict(self) -> dict[str, int]:
        """Where training stands in the items, for a resumed run."""
        return {"items": self._consumed(), "batches": self._batches()}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._before = state_dict["items"], state_dict["batches"]

    def _batches(self) -> int:
        return 0 if self.trainer is None else self.trainer.fit_loop.total_batch_idx + 1

    def _consumed(self) -> int:
        """Items, whatever the number of processes was in each start."""
        items, batches = self._before
        processes = self._place()[1]
        return items + (self._batches() - batches) * self.batch_size * processes

    def _pack(self, files: list[Path], what: str, rooms: bool = False) -> PackedAudio:
        cache = Path(self.cache).expanduser()
        return PackedAudio(
            files, self.sample_rate, cache, skip_broken=self.skip_broken, rooms=rooms, what=what
        )


@dataclass(eq=False, repr=False)
class MixtureData(TrainingData):
    """Training and validation mixtures from folders or manifests.

    Attributes:
        speech, noise: training audio.
        valid_speech, valid_noise: other speakers and other recordings, for validation.
        rooms, valid_rooms: recorded room responses.
        interferers: speech for babble.
        mix, valid_mix: the mixtures' statistics.

    The others are those of :class:`TrainingData`.
    """

    speech: AudioFolder
    noise: AudioFolder
    valid_speech: AudioFolder
    valid_noise: AudioFolder
    rooms: AudioFolder | None = None
    valid_rooms: AudioFolder | None = None
    interferers: AudioFolder | None = None
    mix: MixConfig = field(default_factory=MixConfig)
    valid_mix: MixConfig = field(default_factory=MixConfig)

    def prepare_data(self) -> None:
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        training = {
            "speech": self.speech,
            "noise": self.noise,
            "rooms": self.rooms,
            "interferers": self.interferers,
        }
        validation = {"speech": self.valid_speech, "noise": self.valid_noise, "rooms": self.valid_rooms}
        self.train_set = MixtureDataset(self._mixer(training, self.mix), self.seconds, self.seed)
        if self.valid_items:
            self.valid_set = MixtureDataset(
                self._mixer(validation, self.valid_mix), self.valid_seconds, seed=0
            )

    def _mixer(self, folders: dict[str, AudioFolder | None], mix: MixConfig) -> Mixer:
        packs = {}
        for name, folder in folders.items():
            if folder is None or not (files := folder.files()):
                continue
            packs[name] = self._pack(files, name.rstrip("s"), name == "rooms")
            if (weights := folder.weights(files)) is not None:
                packs[name].favour(weights)
            packs[name].limit_bands(folder.bandwidths(files))
        return Mixer(**packs, config=mix)


@dataclass(eq=False, repr=False)
class PairedData(TrainingData):
    """Noisy files with their clean ones, such as VoiceBank-DEMAND.

    Attributes:
        pairs: for training.
        valid_pairs: of other speakers, for validation; ``valid_items`` of them, evenly spread.
        repeat, remix, band_mask: of training items, see :class:`PairedDataset`.

    The others are those of :class:`TrainingData`.
    """

    pairs: PairFolder
    valid_pairs: PairFolder
    repeat: bool = False
    remix: bool = False
    band_mask: float = 0.0

    def prepare_data(self) -> None:
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        self.train_set = PairedDataset(
            *self._pairs(*self.pairs.files()),
            self.seconds,
            self.seed,
            repeat=self.repeat,
            remix=self.remix,
            band_mask=self.band_mask,
        )
        if self.valid_items == 0:
            return
        noisy, clean = self.valid_pairs.files()
        if len(noisy) > self.valid_items:
            chosen = np.linspace(0, len(noisy) - 1, self.valid_items).round().astype(int)
            noisy, clean = [noisy[i] for i in chosen], [clean[i] for i in chosen]
        self.valid_set = PairedDataset(
            *self._pairs(noisy, clean), self.valid_seconds, 0, crop=False, shuffle=False
        )
        self.valid_items = len(self.valid_set)

    def _pairs(self, noisy: list[Path], clean: list[Path]) -> tuple[PackedAudio, PackedAudio]:
        return pack_pairs(noisy, clean, self.sample_rate, Path(self.cache).expanduser(), self.skip_broken)
