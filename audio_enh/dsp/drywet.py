"""How the enhanced signal and its input are put together, for files and live: weights, digital silence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import UserError

Audio = NDArray[np.float32]


def wet_weight(strength: float = 1.0, max_attenuation: float | None = None) -> float:
    """Weight of the enhanced signal in the output, the rest being the input; see :meth:`audio_enh.Enhancer.enhance`.

    With ``a = 10 ** (-max_attenuation / 20)`` and input ``speech + noise``, a model that leaves only
    ``speech`` gives ``(1 - a) * speech + a * (speech + noise) = speech + a * noise``: the noise is down by
    ``max_attenuation`` dB and the speech as it was.
    """
    if not 0 <= strength <= 1:
        raise UserError(f"strength must lie between 0 (input) and 1 (enhanced), not be {strength}")
    if max_attenuation is None:
        return float(strength)
    if not max_attenuation >= 0:
        raise UserError(f"max_attenuation must be 0 dB or more, not {max_attenuation}")
    return min(float(strength), 1 - 10 ** (-max_attenuation / 20))


class SilenceGate:
    """Keeps digital silence digital.

    A model may hum a little when nothing comes in. Where the input has been exactly zero for
    ``hold_seconds``, the output is made zero as well, after a fade. Shorter gaps (packet loss, edits) are
    left to the model, which may be one that fills them. Before the signal there was silence.

    Args:
        sample_rate: in Hz.
        channels: each is gated by itself.
    """

    hold_seconds = 0.5
    fade_seconds = 0.05

    def __init__(self, sample_rate: int, channels: int):
        self._hold = round(self.hold_seconds * sample_rate)
        self._fade = max(1, round(self.fade_seconds * sample_rate))
        self._run = np.full(channels, self._hold)  # zeros in a row so far, no more than hold

    def reset(self, channel: int) -> None:
        """Let a new signal begin in one channel."""
        self._run[channel] = self._hold

    def __call__(self, dry: Audio) -> Audio | None:
        """Gains ``(channels, n)`` between 0 and 1 for the output of ``dry``, or None where all are 1."""
        silent = dry == 0
        if not silent.size:
            return None
        if not silent.any():
            self._run[:] = 0
            return None
        position = np.arange(1, dry.shape[1] + 1)
        last_sound = np.maximum.accumulate(np.where(silent, 0, position), axis=1)
        run = position - last_sound + np.where(last_sound == 0, self._run[:, None], 0)
        self._run = np.minimum(run[:, -1], self._hold)
        if run.max() <= self._hold - self._fade:
            return None
        return np.clip((self._hold - run) / self._fade, 0, 1).astype(np.float32)
