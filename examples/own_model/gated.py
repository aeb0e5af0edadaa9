"""A model, a loss, a data module and a metric that are not part of audio_enh; docs/own_model.md goes through them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from audio_enh.data.datasets import Batch, TrainingData
from audio_enh.eval import Metric
from audio_enh.eval.metrics import Signals
from audio_enh.models.base import EnhancementModel
from audio_enh.sources.packed import AudioFolder, PackedAudio


class GatedNet(EnhancementModel):
    """A gain between 0 and 1 for every bin of a spectrogram, by a recurrent layer.

    Args:
        sample_rate: in Hz.
        n_fft: samples of a frame; the hop is a quarter of it.
        hidden: units of the recurrent layer.
    """

    def __init__(self, sample_rate: int = 16000, n_fft: int = 512, hidden: int = 64):
        super().__init__()
        self.sample_rate = sample_rate
        self.n_fft = n_fft
        bins = n_fft // 2 + 1
        self.norm = nn.LayerNorm(bins)
        self.rnn = nn.GRU(bins, hidden, batch_first=True)
        self.gate = nn.Linear(hidden, bins)
        # Not stored: computed from the arguments.
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """``(batch, samples)`` to the same; any length, 0 samples too."""
        if audio.shape[1] == 0:
            return audio
        window = self.get_buffer("window")
        padded = nn.functional.pad(audio.float(), (0, self.n_fft))
        hop = self.n_fft // 4
        spectrum = torch.stft(
            padded, self.n_fft, hop, window=window, pad_mode="constant", return_complex=True
        )
        features, _ = self.rnn(self.norm((spectrum.abs() + 1e-5).log().transpose(1, 2)))
        gain = self.gate(features).float().sigmoid().transpose(1, 2)
        return torch.istft(gain * spectrum, self.n_fft, hop, window=window, length=padded.shape[1])[
            :, : audio.shape[1]
        ]


class LeftNoise(nn.Module):
    """Part of the noise that is left, in power: a loss that has to know the noise.

    A term of :class:`audio_enh.losses.WeightedLoss`; with a parameter ``noisy`` it is given the noisy signals too.
    """

    def forward(self, estimate: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
        """``(batch, samples)`` each; a scalar."""
        return left_noise(estimate, clean, noisy).mean()


def left_noise(estimate: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
    """Square of the factor by which the noise is in the estimate's error, ``(...,)`` for ``(..., samples)``."""
    noise, error = noisy - clean, estimate - clean
    factor = (error * noise).sum(dim=-1) / (noise.square().sum(dim=-1) + 1e-8)
    return factor.square()


def _left_noise_db(signals: Signals) -> float:
    estimate, clean, noise = (
        torch.from_numpy(np.asarray(audio, np.float64))
        for audio in (signals.estimate, signals.reference, signals.noise)
    )
    return float(10 * torch.log10(left_noise(estimate, clean, clean + noise) + 1e-12))


LEFT_NOISE = Metric(
    name="left_noise",
    label="noise left",
    unit="dB",
    bounds=(None, None),
    higher_is_better=False,
    needs="noisy",
    sample_rates=(),
    packages=(),
    compute=_left_noise_db,
)


class HummingSpeech(Dataset[Batch]):
    """Speech in mains hum of a random level and phase; item ``i`` is drawn by a generator seeded with (seed, i)."""

    def __init__(self, speech: PackedAudio, seconds: float, seed: int):
        self.speech = speech
        self.length = round(seconds * speech.sample_rate)
        self.seed = seed

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self.seed, index))
        clean = self.speech.draw(rng, self.length, loop=False)
        time = np.arange(self.length) / self.speech.sample_rate
        hum = sum(np.sin(2 * np.pi * (50 * k * time + rng.random())) / k for k in range(1, 12))
        snr = rng.uniform(-5, 10)
        noise = hum * np.sqrt(np.square(clean).mean() / np.square(hum).mean() / 10 ** (snr / 10))
        noisy = torch.from_numpy((clean + noise).astype(np.float32))
        return Batch(noisy, torch.from_numpy(clean), torch.tensor(snr), torch.tensor(index))


@dataclass(eq=False, repr=False)
class HumData(TrainingData):
    """Humming speech for training, and other for validation.

    Attributes:
        speech, valid_speech: clean recordings.

    The others are those of :class:`TrainingData`.
    """

    speech: AudioFolder
    valid_speech: AudioFolder

    def prepare_data(self) -> None:
        """Decode into the cache."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Lightning calls this in every process."""
        cache = Path(self.cache).expanduser()
        speech = PackedAudio(self.speech.files(), self.sample_rate, cache)
        valid_speech = PackedAudio(self.valid_speech.files(), self.sample_rate, cache)
        self.train_set = HummingSpeech(speech, self.seconds, self.seed)
        self.valid_set = HummingSpeech(valid_speech, self.valid_seconds, seed=0)
