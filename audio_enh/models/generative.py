"""What models that draw their output promise to the code that runs them on long recordings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from audio_enh.diffusion.noise import Noise, seeded_noise
from audio_enh.diffusion.times import OnStep
from audio_enh.dsp.high_pass import zero_phase_high_pass
from audio_enh.models.base import EnhancementModel
from audio_enh.options import DEFAULT_SAMPLING, SamplingOptions

LevelKind = Literal["peak", "rms"]

# Speech has peaks of about ten times its root mean square: both kinds of level are then alike.
_RMS_TO_LEVEL = 10.0
# Sound below -80 dB of full scale is not amplified further.
_FLOOR = 1e-4


class GenerativeModel(EnhancementModel):
    """A model that samples clean speech given noisy, by noise that belongs to places of the recording.

    Attributes:
        level: how the level is measured at which the model wants its input, see :func:`level_from`.
        grid: windows of a recording begin at multiples of so many samples: there windows agree on frames.
        window_remainder: windows of ``k * grid + window_remainder`` samples waste nothing.
        margin: samples near a window's inner ends which differ from those of a longer window because of padding.
        sampler_names: what :meth:`draw` takes as ``sampler``.
        least_steps: the smallest number of steps; 0 where the model can do without sampling.
        high_pass: cut-off in Hz of the filter that takes rumble and offsets away before anything else, the
            measurement of the level included; 0 for none.
    """

    level: LevelKind
    grid: int
    window_remainder: int
    margin: int
    sampler_names: tuple[str, ...]
    least_steps: int = 1
    high_pass: float = 0.0

    def forward(self, audio: Tensor) -> Tensor:
        """See :meth:`EnhancementModel.forward`; with the model's own sampler, every item by seed 0."""
        return self.enhance(audio)

    def enhance(
        self,
        audio: Tensor,
        *,
        seed: int | Sequence[int] = 0,
        on_step: OnStep | None = None,
        **options: Any,
    ) -> Tensor:
        """Enhance whole signals.

        Args:
            audio: ``(batch, samples)``, as for ``forward``.
            seed: of the noise, one for all items or one for each.
            on_step: told after every step.
            options: ``sampler``, ``steps`` and ``sampler_options`` of :class:`SamplingOptions`.

        Returns:
            ``(batch, samples)``.
        """
        if audio.shape[1] == 0:
            return audio
        seeds = [seed] * len(audio) if isinstance(seed, int) else list(seed)
        if self.high_pass:
            audio = zero_phase_high_pass(audio, self.high_pass, self.sample_rate)
        level = self.measure_level(audio)
        chosen = SamplingOptions(**options)
        return self.generate(audio / level, lambda y: seeded_noise(y, seeds), chosen, on_step) * level

    @abstractmethod
    def generate(
        self,
        audio: Tensor,
        noise_for: Callable[[Tensor], Noise],
        options: SamplingOptions,
        on_step: OnStep | None,
    ) -> Tensor:
        """Clean signals for noisy ones of level 1, ``(batch, samples)`` both.

        Args:
            noise_for: gives the source of noise for the model's representation of ``audio``.
            options: the noise and the number of draws are the caller's part of them.
            on_step: see :meth:`enhance`.
        """

    @abstractmethod
    def draw(
        self,
        audio: Tensor,
        starts: Sequence[int],
        options: SamplingOptions = DEFAULT_SAMPLING,
        *,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Draw clean windows of a recording.

        Args:
            audio: noisy, ``(batch, samples)``, of level 1 (see :func:`level_from`).
            starts: place of each item's first sample in its recording, multiples of ``grid``.
            options: ``seed`` is that of the recording's noise; where windows overlap, they have the same. The number
                of draws is the caller's part.
            on_step: told the number of steps done and that of all, after each.

        Returns:
            ``(batch, samples)``, aligned.
        """

    def draws_differ(self, sampler: str | None = None, steps: int | None = None) -> bool:
        """Whether :meth:`draw` with such options depends on the seed; not where no noise is left to draw."""
        return True

    def check_sampling(self, sampler: str | None, sampler_options: Mapping[str, Any]) -> None:
        """Raise a ValueError where :meth:`draw` would not take such options, which says what it takes."""
        if sampler_options:
            raise ValueError(f"{type(self).__name__} has no options of its samplers")

    def measure_level(self, audio: Tensor) -> Tensor:
        """Level of each whole signal, ``(batch, samples)`` to ``(batch, 1)``."""
        peak = audio.abs().amax(dim=1, keepdim=True)
        return level_from(self.level, peak, audio.square().mean(dim=1, keepdim=True))


def level_from(kind: LevelKind, peak: Tensor, mean_square: Tensor) -> Tensor:
    """What a signal is divided by so that its level is 1: its peak, or ten times its root mean square.

    A click changes the peak but hardly the root mean square. Never below -80 dB of full scale, so that silence stays
    silence.
    """
    measured = peak if kind == "peak" else _RMS_TO_LEVEL * mean_square.sqrt()
    return torch.clamp(measured, min=_FLOOR)
