"""Transmission: telephones, networks and what they lose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from audio_enh.distortions._coders import g711, through_libsndfile
from audio_enh.distortions.base import Audio, Context, Distortion, chosen, ranged
from audio_enh.dsp.signals import (
    add_at_snr,
    fit,
    from_db,
    onsets,
    peak,
    reference_level,
    resample,
    zero_phase,
)

#: Cross-fade at the edge of a lost or moved packet, in seconds; a step would be a click on top.
_EDGE_SECONDS = 0.001
_DTMF_ROWS = (697, 770, 852, 941)
_DTMF_COLUMNS = (1209, 1336, 1477, 1633)


class Transmission(Distortion):
    family = "transmission"


def gilbert_losses(rng: np.random.Generator, packets: int, rate: float, burst: float) -> NDArray[np.bool_]:
    """Which packets are lost, by a two-state chain (Gilbert 1960): ``(packets,)``.

    Args:
        rng: source of randomness; one draw a packet.
        packets: how many.
        rate: share that is lost in the long run, below 1.
        burst: mean number of packets lost in a row, at least 1.
    """
    recover = 1 / burst
    fail = min(1.0, recover * rate / (1 - rate))
    draws = rng.random(packets)
    lost, state = [], bool(draws[0] < rate)
    for draw in draws.tolist():
        lost.append(state)
        state = draw >= recover if state else draw < fail
    return np.array(lost, dtype=bool)


def conceal(audio: Audio, lost: NDArray[np.bool_], packet: int, sample_rate: int, repeat: bool) -> Audio:
    """Replace lost packets by silence, or by the last good one that fades by 6 dB each time.

    Args:
        audio: ``(channels, samples)``.
        lost: ``(packets,)``.
        packet: samples of a packet.
        sample_rate: in Hz, for the edges.
        repeat: instead of silence.
    """
    length = audio.shape[1]
    received = np.repeat(~lost, packet)[:length].astype(np.float64)
    edge = max(1, round(_EDGE_SECONDS * sample_rate))
    weight = np.convolve(np.pad(received, edge // 2, mode="edge"), np.full(edge, 1 / edge), "same")
    weight = weight[edge // 2 : edge // 2 + length].astype(np.float32)
    out = audio * weight
    if not repeat:
        return out
    filler = np.zeros_like(audio)
    last, gain = -1, 1.0
    for index, missing in enumerate(lost.tolist()):
        start = index * packet
        if not missing:
            last, gain = start, 1.0
        elif last >= 0:
            gain *= 0.5
            part = filler[:, start : start + packet]
            part += np.float32(gain) * audio[:, last : last + part.shape[1]]
    return out + filler * (1 - weight)


@dataclass(frozen=True)
class PacketLoss(Transmission):
    """Packets that never arrive, alone or in bursts; in their place is silence or the packet before."""

    rate: float = ranged(0.01, 0.4)
    packet: int = chosen(10, 20, 40, 60, unit="ms", free=True)
    burst: float = ranged(1, 4, "packets", free=True)
    concealment: str = chosen("silence", "repeat", free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        size = max(1, round(self.packet / 1000 * context.sample_rate))
        lost = gilbert_losses(context.rng, -(-audio.shape[1] // size), self.rate, self.burst)
        return conceal(audio, lost, size, context.sample_rate, self.concealment == "repeat")


@dataclass(frozen=True)
class Telephone(Transmission):
    """An analogue line: 300 to 3400 Hz or less, carbon-like saturation, hiss, G.711 at 8 kHz."""

    snr: float = ranged(45, 8, "dB")
    narrowing: float = ranged(0, 0.5, "octaves")
    law: str = chosen("mu", "a", free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        length = audio.shape[1]
        line = resample(audio, context.sample_rate, 8000)
        shift = 2**self.narrowing
        line = zero_phase(
            signal.butter(3, [300 * shift, 3400 / shift], "bandpass", fs=8000, output="sos"), line
        )
        level = 4 * reference_level(line, 8000)
        line = (level * np.tanh(line / level)).astype(np.float32)
        hiss = context.rng.standard_normal((1, line.shape[1])).astype(np.float32)
        line = add_at_snr(line, hiss, self.snr, 8000)
        gain = np.float32(min(1.0, 0.98 / max(peak(line), 1e-9)))
        subtype = "ULAW" if self.law == "mu" else "ALAW"
        line = np.stack([g711(channel * gain, subtype, 8) for channel in line]) / gain
        return fit(resample(line, 8000, context.sample_rate), length)


@dataclass(frozen=True)
class Dtmf(Transmission):
    """Keys pressed during the call: pairs of tones as in ITU-T Q.23."""

    level: float = ranged(-36, 6, "dB re speech")
    rate: float = ranged(0.5, 3, "per second", free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        rate, rng = context.sample_rate, context.rng
        out = audio.copy()
        top = np.sqrt(2) * reference_level(audio, rate) * from_db(self.level)
        for start in onsets(rng, audio.shape[1], self.rate, rate):
            row, column = _DTMF_ROWS[int(rng.integers(4))], _DTMF_COLUMNS[int(rng.integers(4))]
            size = max(2, int(rng.uniform(0.05, 0.25) * rate))
            time = np.arange(size) / rate
            key = (np.sin(2 * np.pi * row * time) + np.sin(2 * np.pi * column * time)) * (top / np.sqrt(2))
            fade = np.clip(np.minimum(time, time[-1] - time) / 0.003, 0, 1)
            part = out[:, start : start + size]
            part += (key * fade)[: part.shape[1]].astype(np.float32)
        return out


@dataclass(frozen=True)
class Voip(Transmission):
    """A bad internet call: Opus at a low bit rate, its packets of 20 ms lost in bursts and concealed."""

    bitrate: int = chosen(24, 20, 16, 12, 10, 8, 6, unit="kbit/s")
    loss: float = ranged(0.005, 0.3)
    burst: float = ranged(1, 4, "packets", free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        rate = 16000
        call = resample(audio, context.sample_rate, rate)
        gain = np.float32(min(1.0, 0.98 / max(peak(call), 1e-9)))
        length = call.shape[1]
        padded = fit(call * gain, length + rate // 10)
        level = (256 - self.bitrate) / 250
        call = (
            np.stack([fit(through_libsndfile(c, rate, "OGG", "OPUS", level), length) for c in padded]) / gain
        )
        lost = gilbert_losses(context.rng, -(-length // 320), self.loss, self.burst)
        call = conceal(call, lost, 320, rate, repeat=True)
        return fit(resample(call, rate, context.sample_rate), audio.shape[1])


@dataclass(frozen=True)
class FrameShuffle(Transmission):
    """Packets in the wrong order: some change places with the next one."""

    rate: float = ranged(0.01, 0.45)
    packet: int = chosen(10, 20, 40, unit="ms", free=True)

    def _apply(self, audio: Audio, context: Context) -> Audio:
        size = max(1, round(self.packet / 1000 * context.sample_rate))
        count = audio.shape[1] // size
        order = np.arange(count)
        swaps = context.rng.random(count) < self.rate
        for index in range(count - 1):
            if swaps[index] and order[index] == index:
                order[index], order[index + 1] = index + 1, index
        whole = audio[:, : count * size].reshape(len(audio), count, size)
        moved = whole[:, order].reshape(len(audio), -1)
        return np.concatenate([moved, audio[:, count * size :]], axis=1)
