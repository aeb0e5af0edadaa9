"""A full-band causal model: a network for the lower band, and gains for the bands above it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_enh.models.base import EnhancementModel, State
from audio_enh.models.causal_unet import CausalUNet, Insight
from audio_enh.models.light_recurrence import LightRecurrence
from audio_enh.models.silence import SkipsSilence


class FullBandUNet(SkipsSilence):
    """A :class:`CausalUNet` at a third of the sample rate, and a gain for each of a few bands above.

    The input is split into what the U-Net's rate can represent and the rest. The U-Net enhances the lower part. The
    rest, which holds the hiss of fricatives and of noise but hardly any harmonics, is divided into bands of equal
    width in ERB (Glasberg and Moore 1990), and each is multiplied by a gain between 0 and 1. A small recurrent
    network computes the gains from the energies of these bands and from what the U-Net found out about the same
    frame. Wide bands with real gains above, and a finer mask below, are also what PercepNet (Valin et al. 2020,
    arXiv 2008.04259) and DeepFilterNet (Schroeter et al. 2022, arXiv 2110.05588) have.

    Both parts add up to the delayed input if nothing is changed in either. No gain is above 1, so nothing is added to
    bands in which the input holds nothing.

    Args:
        low: arguments of the :class:`CausalUNet`. This model's sample rate is three times as high.
        bands: number of bands above the U-Net's.
        hidden: units of the network that computes their gains.
        layers: its recurrent layers.
    """

    ratio = 3
    # Half the length of the filters that change the sample rate: 1 ms at 48 kHz, with 40 dB of attenuation from 0.55
    # kHz above the lower part's band.
    half_length = 48
    # Half the length of the filters that divide the rest into bands.
    half_band_length = 32
    # Of the U-Net's 256 bands as many groups are averaged for the gains' network.
    groups = 16
    # Power added to the bands' and the tracked one, as in :class:`MaskedFilterBank`.
    floor = 1e-10

    split: Tensor
    join: Tensor
    divide: Tensor

    def __init__(self, low: Mapping[str, Any], bands: int = 8, hidden: int = 64, layers: int = 2):
        super().__init__()
        self.low = CausalUNet(**low)
        self.bands = bands
        self.sample_rate = self.ratio * self.low.sample_rate
        self.hop_length = self.ratio * self.low.hop_length
        self.delay = self.ratio * self.low.delay + 2 * self.half_length
        self.latency = self.ratio * self.low.latency + 2 * self.half_length
        # Of the bands' signals, so that they meet the U-Net's output.
        self.wait = self.delay - 2 * self.half_length - self.half_band_length
        self.reach = self.ratio * self.low.reach + self.delay + 2 * self.half_length
        if self.wait < 0:
            raise ValueError(f"hops of {self.low.hop_length} samples are too short for the filters")

        # Computed by NumPy: under torch.device("meta"), as checkpoints are checked, tensors have no values.
        low_pass = torch.from_numpy(_low_pass(0.97 / self.ratio, self.half_length, 40.0))
        self.register_buffer("split", low_pass[None, None], persistent=False)
        # One row for each of the samples that lie between two of the lower rate.
        padded = F.pad(self.ratio * low_pass, (0, self.ratio - 1 - (len(low_pass) - 1) % self.ratio))
        rows = padded.unflatten(0, (-1, self.ratio)).T.flip(1)
        self.register_buffer("join", rows[:, None].contiguous(), persistent=False)
        self.register_buffer("divide", torch.from_numpy(self._band_filters(bands))[:, None], persistent=False)

        units = self.low.bottleneck.rnn.hidden_size
        self.enter = nn.Sequential(nn.Linear(bands + 2 * self.groups + units, hidden), nn.LeakyReLU(0.1))
        self.memory = nn.ModuleList(LightRecurrence(hidden) for _ in range(layers))
        self.to_gains = nn.Linear(hidden, bands)
        with torch.no_grad():
            self.to_gains.weight.mul_(0.1)
            self.to_gains.bias.fill_(2.0)  # the untrained model nearly passes its input

    @classmethod
    def complete_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """See :meth:`EnhancementModel.complete_arguments`; here the U-Net's too."""
        complete = super().complete_arguments(arguments)
        return {**complete, "low": CausalUNet.complete_arguments(complete["low"])}

    def for_rate(self, sample_rate: int) -> EnhancementModel:
        """See :meth:`EnhancementModel.for_rate`: the U-Net alone, where signals hold nothing above its band."""
        return self.low if sample_rate <= self.low.sample_rate else self

    def _band_filters(self, bands: int) -> np.ndarray:
        """Linear-phase filters that add up to a pure delay, ``(bands, taps)``. The first passes all below, too: what
        little the rate changes leave there."""
        top = self.sample_rate / 2
        edges = _from_erb(np.linspace(_to_erb(top / self.ratio), _to_erb(top), bands + 1))[1:-1]
        below = [_low_pass(edge / top, self.half_band_length, 40.0) for edge in edges]
        delay = np.zeros(2 * self.half_band_length + 1, np.float32)
        delay[self.half_band_length] = 1.0
        return np.diff([0 * delay, *below, delay], axis=0)

    def init_hearing(self, batch: int) -> State:
        """See :meth:`SkipsSilence.init_hearing`: past input, past samples of the lower rate before and after the
        U-Net, past of the rest, the bands' delayed signals, the last gains, the gains' network, the U-Net."""
        like = self.to_gains.weight
        return (
            like.new_zeros(batch, 2 * self.half_length),
            like.new_zeros(batch, 2, self.join.shape[2] - 1),
            like.new_zeros(batch, 2 * self.half_band_length),
            like.new_zeros(batch, self.bands, self.wait),
            like.new_zeros(batch, self.bands),
            *(layer.init_state(batch, 1) for layer in self._layers()),
            *self.low.init_hearing(batch),
        )

    def hear(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        """See :meth:`SkipsSilence.hear`."""
        lower, upper, state = self.hear_parts(audio, state)
        return lower + upper, state

    def hear_parts(self, audio: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """:meth:`hear`, what the U-Net made of the lower part and the bands above it apart."""
        enhanced, bands, state = self.hear_bands(audio, state)
        return enhanced, bands.sum(dim=1), state

    def hear_bands(self, audio: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """:meth:`hear_parts` with the bands one by one, ``(batch, bands, samples)``."""
        past, past_low, past_rest, waiting, before, *others = state
        layers = self._layers()
        memories, low_state = others[: len(layers)], tuple(others[len(layers) :])

        audio = torch.cat([past, audio], dim=1)
        samples = audio.shape[1] - past.shape[1]
        lower = F.conv1d(audio[:, None], self.split, stride=self.ratio)[:, 0]
        enhanced, low_state, insight = self.low.hear_with_insight(lower, low_state)
        # The lower part before and after the U-Net, back at the full rate.
        both = torch.cat([past_low, torch.stack([lower, enhanced], dim=1)], dim=2)
        full = (
            F.conv1d(both.flatten(0, 1)[:, None], self.join).transpose(1, 2).unflatten(0, (-1, 2)).flatten(2)
        )
        passed, enhanced = full.unbind(1)

        rest = torch.cat([past_rest, audio[:, :samples] - passed], dim=1)
        divided = F.conv1d(rest[:, None], self.divide)
        frames = divided.unflatten(2, (-1, self.hop_length))
        gains, memories = self._gains(frames.square().mean(dim=3).transpose(1, 2), insight, list(memories))

        waiting = torch.cat([waiting, divided], dim=2)
        delayed = waiting[:, :, :samples].unflatten(2, (-1, self.hop_length))
        # Each gain fades into the next one, (batch, bands, frames, hop).
        after = gains.transpose(1, 2)
        earlier = torch.cat([before[:, :, None], after[:, :, :-1]], dim=2)
        rise = self._rise(after)
        faded = earlier[..., None] + (after - earlier)[..., None] * rise
        upper = (delayed * faded).flatten(2)
        state = (
            audio[:, samples:],
            both[:, :, both.shape[2] - past_low.shape[2] :],
            rest[:, samples:],
            waiting[:, :, samples:],
            after[:, :, -1],
            *memories,
            *low_state,
        )
        return enhanced, upper, state

    def upper_bands(self, audio: Tensor) -> Tensor:
        """The bands above the U-Net's, which :meth:`hear_bands` multiplies by gains, with the delay of its output.

        They are ``(batch, bands, samples)``.

        Args:
            audio: ``(batch, samples)``, from the beginning.
        """
        samples = audio.shape[1]
        padded = F.pad(audio, (2 * self.half_length, 0))
        lower = F.conv1d(padded[:, None], self.split, stride=self.ratio)
        passed = F.conv1d(F.pad(lower, (self.join.shape[2] - 1, 0)), self.join).transpose(1, 2).flatten(1)
        rest = F.pad(padded[:, :samples] - passed, (2 * self.half_band_length + self.wait, 0))
        return F.conv1d(rest[:, None], self.divide)[:, :, :samples]

    def _rise(self, like: Tensor) -> Tensor:
        place = (torch.arange(self.hop_length, device=like.device) + 0.5) * (math.pi / 2 / self.hop_length)
        return place.sin().square().to(like.dtype)

    def _gains(
        self, energies: Tensor, insight: Insight, memories: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Gains of the bands from their energies, both ``(batch, frames, bands)``."""
        power = insight.power[:, :, None] + self.low.power_floor
        # Decibels against the level below, of about -60 to 0, to about unit range.
        loud = ((energies + self.floor) / power).log10() / 2 + 1.5
        magnitude = (insight.mask.square().sum(dim=1) + 1e-8).sqrt().tanh()
        heard = insight.features[:, 2]
        averages = [x.unflatten(2, (self.groups, -1)).mean(dim=3) for x in (magnitude, heard)]
        x = self.enter(torch.cat([loud, *averages, insight.memory], dim=2))[:, :, None]
        for i, layer in enumerate(self._layers()):
            added, memories[i] = layer(x, memories[i])
            x = x + added
        return self.to_gains(x[:, :, 0]).sigmoid(), memories

    def _layers(self) -> list[LightRecurrence]:
        return [layer for layer in self.memory if isinstance(layer, LightRecurrence)]

    def flush(self, tail: Tensor, state: State) -> Tensor:
        """See :meth:`CausalModel.flush`: the stream goes on with zeros until every sample is out."""
        wanted = tail.shape[1] + self.delay
        hops = -(-wanted // self.hop_length)
        padding = hops * self.hop_length - tail.shape[1]
        output, _ = self.step(F.pad(tail, (0, padding)), state)
        return output[:, :wanted]

    def forward(self, audio: Tensor) -> Tensor:
        """See :meth:`EnhancementModel.forward`."""
        return self.flush(audio, self.init_state(audio.shape[0]))[:, self.delay :]


class UpperBands(SkipsSilence):
    """The bands above the U-Net's alone, enhanced: what a model of a lower sample rate cannot give.

    Args:
        whole: the model that has them.
    """

    def __init__(self, whole: FullBandUNet):
        super().__init__()
        self.whole = whole
        self.sample_rate, self.hop_length = whole.sample_rate, whole.hop_length
        self.delay, self.latency, self.reach = whole.delay, whole.latency, whole.reach

    def init_hearing(self, batch: int) -> State:
        """See :meth:`SkipsSilence.init_hearing`."""
        return self.whole.init_hearing(batch)

    def hear(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        """See :meth:`SkipsSilence.hear`."""
        _, upper, state = self.whole.hear_parts(audio, state)
        return upper, state

    flush = FullBandUNet.flush
    forward = FullBandUNet.forward


def _low_pass(cutoff: float, half_length: int, attenuation: float) -> np.ndarray:
    """Linear-phase low-pass by Kaiser's window; the cut-off (-6 dB) is a part of half the sample rate."""
    place = np.arange(-half_length, half_length + 1)
    beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    taps = cutoff * np.sinc(cutoff * place) * np.kaiser(len(place), beta)
    return (taps / taps.sum()).astype(np.float32)


def _to_erb(frequency: float) -> float:
    """Number of equivalent rectangular bandwidths below a frequency in Hz (Glasberg and Moore 1990)."""
    return 21.4 * math.log10(1 + 0.00437 * frequency)


def _from_erb(number: np.ndarray) -> np.ndarray:
    return (10 ** (number / 21.4) - 1) / 0.00437
