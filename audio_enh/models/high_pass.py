"""A causal high-pass filter that runs by hops, against rumble, thumps and offsets."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class HighPass(nn.Module):
    """Butterworth high-pass, computed a hop at a time.

    Within a hop the recursion is one matrix product; from hop to hop it is carried by as many numbers as the
    filter has poles. These are the poles' own coordinates (the modal form), in which single precision is enough:
    in the direct form it is not, for a cut-off as far below the sample rate.

    The filter delays nothing by a fixed time, but it turns the phase, near its cut-off the most: at 100 Hz, where low
    voices have their fundamental, far enough to cost waveform scores dearly. A filter bank that follows takes that
    back, band by band (:meth:`in_phase`).

    Args:
        cutoff: frequency at which 3 dB are lost, in Hz.
        sample_rate: in Hz.
        hop_length: samples per hop.
        order: number of poles; 6 dB per octave each.
    """

    within: Tensor
    onward: Tensor
    powers: Tensor

    # What the state of longer ago than this leaves is not added up: below 1e-12 of it is left.
    negligible = 1e-12

    def __init__(self, cutoff: float, sample_rate: int, hop_length: int, order: int = 2):
        super().__init__()
        if not 0 < cutoff < sample_rate / 2:
            raise ValueError(f"the cut-off must be between 0 and {sample_rate / 2} Hz, got {cutoff}")
        self.hop_length = hop_length
        self.order = order
        # Butterworth's poles, from low-pass to high-pass, by the bilinear transform with the cut-off in its place.
        # (Not by SciPy, which takes longer to load than a short file to enhance.)
        angle = np.pi * (2 * np.arange(order) + order + 1) / (2 * order)
        analogue = np.tan(np.pi * cutoff / sample_rate) / np.exp(1j * angle)
        poles = (1 + analogue) / (1 - analogue)
        gain = np.prod((1 + poles) / 2).real
        self._poles, self._gain, self._sample_rate = poles, gain, sample_rate
        # Partial fractions; all zeros lie at 1.
        others = np.array([np.prod(1 - np.delete(poles, k) / pole) for k, pole in enumerate(poles)])
        residues = gain * (1 - 1 / poles) ** order / others
        sample = np.arange(hop_length)
        # Impulse response: a sum of the poles' powers. One of each conjugate pair is enough, at double weight.
        real = np.abs(poles.imag) < 1e-12
        kept = real | (poles.imag > 0)
        residues, poles, direct = (
            (np.where(real, 1.0, 2.0) * residues)[kept],
            poles[kept],
            gain / np.prod(poles).real,
        )
        response = (residues[:, None] * poles[:, None] ** sample).sum(axis=0).real
        response[0] += direct
        # From the samples of a hop: its output, and what they leave in the state at its end.
        lag = sample[None, :] - sample[:, None]
        output = np.where(lag >= 0, response[np.abs(lag)], 0.0)
        left = _pairs(poles[None, :] ** sample[::-1, None])
        # From the state: its share in the output, and what is left of it.
        share = residues[:, None] * poles[:, None] ** (sample + 1)
        decay = poles**hop_length
        self._constant("within", np.concatenate([output, left], axis=1))
        self._constant("onward", np.concatenate([share.real, -share.imag]))
        count = max(2, int(np.ceil(np.log(self.negligible) / np.log(np.abs(decay).max()))))
        self._constant("powers", np.stack([_matrix(decay**k) for k in range(count)]))

    def _constant(self, name: str, value: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(value).float(), persistent=False)

    def in_phase(self, frequencies: np.ndarray) -> Tensor:
        """By what to multiply the filtered signal's coefficients at some frequencies (Hz) so that their phase is the
        unfiltered signal's: real parts and imaginary parts, ``(2, frequencies)``."""
        delay = np.exp(-2j * np.pi * frequencies / self._sample_rate)
        response = self._gain * ((1 - delay) / (1 - self._poles[:, None] * delay)).prod(axis=0)
        back = response.conj() / np.abs(response)
        return torch.from_numpy(np.stack([back.real, back.imag])).float()

    def init_state(self, batch: int) -> Tensor:
        """``(batch, numbers)``; see :attr:`powers`."""
        return self.within.new_zeros(batch, self.onward.shape[0])

    def forward(self, audio: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, hops * hop_length)`` and the state to the same."""
        n = self.hop_length
        if audio.shape[1] == n:
            output, left = (audio @ self.within).split((n, state.shape[1]), dim=1)
            return output + state @ self.onward, left + state @ self.powers[1]
        hops = audio.unflatten(1, (-1, n)) @ self.within
        output, left = hops[..., :n], hops[..., n:]
        # The state before hop t is the sum over the past of what was left then, decayed since.
        past = torch.cat([state[:, None], left], dim=1)
        states = sum(
            nn.functional.pad(past[:, : past.shape[1] - k], (0, 0, k, 0)) @ power
            for k, power in enumerate(self.powers[: past.shape[1]])
        )
        assert isinstance(states, Tensor)
        return (output + states[:, :-1] @ self.onward).flatten(1), states[:, -1]


def _pairs(values: np.ndarray) -> np.ndarray:
    """Complex ``(..., n)`` to real ``(..., 2 n)``: all real parts, then all imaginary ones."""
    return np.concatenate([values.real, values.imag], axis=-1)


def _matrix(factors: np.ndarray) -> np.ndarray:
    """What multiplies a row of :func:`_pairs` by ``factors``: ``(2 n, 2 n)``."""
    real, imag = np.diag(factors.real), np.diag(factors.imag)
    return np.block([[real, imag], [-imag, real]])
