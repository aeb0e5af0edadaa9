"""UNIVERSE and UNIVERSE++: universal enhancement by diffusion on the waveform, as one enhancement model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from audio_enh.diffusion.consistent_annealing import geometric_sigma, sample_consistently
from audio_enh.diffusion.noise import Noise, position_noise
from audio_enh.diffusion.times import OnStep, tell
from audio_enh.models.generative import GenerativeModel
from audio_enh.models.universe.condition import ConditionNetwork
from audio_enh.models.universe.heads import DecouplingHead, Head, MaskingHead, MixtureHead
from audio_enh.models.universe.score import EmbeddingKind, ScoreNetwork
from audio_enh.options import DEFAULT_SAMPLING, SamplingOptions

HeadKind = Literal["mixture", "decoupling", "masking"]
Preconditioning = Literal["none", "edm"]

# Frames at either end of a window that padding reaches: four blocks of four frames.
_MARGIN_FRAMES = 16
# A signal of level 1, see level_from, has this root mean square.
_RMS_OF_LEVEL_ONE = 0.1
# Of the local level of an estimate, relative to the whole: 30 dB below.
_QUIETEST = 10**-1.5
# Input scale of the noise level under EDM preconditioning (Scheibler et al. 2024).
_NOISE_SCALE = 0.25


class Universe(GenerativeModel):
    """Universal speech enhancement: Serra et al. 2022 (arXiv 2206.03065), Scheibler et al. 2024 (arXiv 2406.12194).

    A condition network listens to the damaged signal; a score network turns noise into clean speech under its
    conditions. The condition network also has an estimate of its own, in one pass: that alone is what 0 steps give.
    The defaults are UNIVERSE at 16 kHz; UNIVERSE++ has ``embedding="sinusoid"``, ``weight_normalised``,
    ``antialiasing``, ``head="decoupling"`` and ``preconditioning="edm"``.

    Samplers: ``langevin`` begins with noise alone; ``warm`` with the condition network's estimate under noise of
    ``warm_sigma``, and so needs fewer steps.

    Args:
        sample_rate: in Hz.
        channels: at the highest rate; they double at each change of rate.
        rates: by which the rate falls from level to level.
        mel_bands: of the condition network's spectrogram.
        mel_sample_rate: at which they are laid out; None is ``sample_rate``. The public checkpoints have 24000 at
            every rate.
        embedding, embedding_features, embedding_dimensions: of the noise level, see :class:`ScoreNetwork`.
        weight_normalised: weights as magnitude and direction.
        antialiasing: filters at the score network's changes of rate.
        head: how the condition network's features become an estimate: "mixture", "decoupling" or "masking".
        mixture_components: of the former.
        preconditioning: "edm": the score network predicts the clean signal after the factors of Karras et al. 2022
            (arXiv 2206.00364, table 1); "none": it predicts the score.
        level_db: the networks' signals have this root mean square, and no mean.
        sigma_min, sigma_max: noise levels at times 0 and 1.
        epsilon, steps: of the sampler, see :func:`sample_consistently`.
        warm_sigma: see above.
        sampler: the one used where no other is asked for.
        mel_exponent: of the power in the spectrogram; below 1 quiet bands are heard beside loud ones.
        residual_db: None: the score network makes the clean signal, as in the papers. A number: it makes what the
            condition network's estimate lacks of it (as residual diffusion does in Lemercier et al. 2023,
            arXiv 2212.11851, by other means), and this is the level of that.
        local_level: that and its noise go by the local level of the estimate, so that what noise the last step leaves
            is hidden by speech, and pauses stay quiet. Noise with the envelope of what is made is PriorGrad's idea
            (Lee et al. 2022, arXiv 2106.06406).
        data_level_db: the level that EDM preconditioning takes signals to have; None is ``level_db``.
        temperature: of the sampler's draws, whose noise is multiplied by it. Below 1 they keep closer to the most
            probable outcome, which forgives a score network that hardly tells noise from speech; at 0 all are equal.
        high_pass: see :class:`GenerativeModel`.
    """

    level = "rms"
    window_remainder = 0
    least_steps = 0
    sampler_names = ("langevin", "warm")

    def __init__(
        self,
        sample_rate: int = 16000,
        channels: int = 32,
        rates: Sequence[int] = (2, 4, 4, 5),
        mel_bands: int = 80,
        mel_sample_rate: int | None = None,
        embedding: EmbeddingKind = "fourier",
        embedding_features: int = 32,
        embedding_dimensions: int = 512,
        weight_normalised: bool = False,
        antialiasing: bool = False,
        head: HeadKind = "mixture",
        mixture_components: int = 3,
        preconditioning: Preconditioning = "none",
        level_db: float = -26.0,
        sigma_min: float = 5e-4,
        sigma_max: float = 5.0,
        epsilon: float = 1.3,
        steps: int = 8,
        warm_sigma: float = 0.1,
        sampler: str = "langevin",
        mel_exponent: float = 1.0,
        residual_db: float | None = None,
        local_level: bool = False,
        temperature: float = 1.0,
        data_level_db: float | None = None,
        high_pass: float = 0.0,
    ):
        super().__init__()
        if head not in ("mixture", "decoupling", "masking"):
            raise ValueError(f"head must be mixture, decoupling or masking, not {head!r}")
        if preconditioning not in ("none", "edm"):
            raise ValueError(f"preconditioning must be none or edm, not {preconditioning!r}")
        if not 0 < sigma_min <= warm_sigma <= sigma_max:
            raise ValueError(
                f"noise levels must rise from 0 over sigma_min, warm_sigma to sigma_max, not be {sigma_min}, "
                f"{warm_sigma}, {sigma_max}"
            )
        self.sample_rate = sample_rate
        self.high_pass = high_pass
        self.condition = ConditionNetwork(
            sample_rate, channels, rates, mel_bands, mel_sample_rate, weight_normalised, mel_exponent
        )
        self.score_network = ScoreNetwork(
            channels,
            rates,
            embedding,
            embedding_features,
            embedding_dimensions,
            weight_normalised,
            antialiasing,
        )
        self.head: Head
        self.latent_head: MixtureHead | None = None
        if head == "mixture":
            self.head = MixtureHead(channels, 1, mixture_components)
            self.latent_head = MixtureHead(self.condition.latent_channels, mel_bands, mixture_components)
        elif head == "decoupling":
            self.head = DecouplingHead(channels)
        else:
            self.head = MaskingHead(channels, self.condition.latent_channels, self.condition.rate)
        if local_level and residual_db is None:
            raise ValueError("a model with local_level must have residual_db")
        if temperature < 0:
            raise ValueError(f"temperature must be 0 or more, not {temperature}")
        self.preconditioning = preconditioning
        self.residual = residual_db is not None
        self.local_level = local_level
        self.signal_level = 10 ** (level_db / 20)
        # Standard deviation of what the score network makes.
        of_data = next(level for level in (residual_db, data_level_db, level_db) if level is not None)
        self.sigma_data = 10 ** (of_data / 20)
        if self.residual:
            # Nothing is added at first: what the score network does not know yet does no harm.
            with torch.no_grad():
                for parameter in self.score_network.output_conv.conv.parameters():
                    parameter.mul_(0.01)
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self.epsilon = epsilon
        self.steps = steps
        self.warm_sigma = warm_sigma
        self.temperature = temperature
        self._check_sampling(sampler, steps)
        self.sampler_name = sampler
        self.grid = self.condition.rate
        self.margin = _MARGIN_FRAMES * self.grid

    def draw(
        self,
        audio: Tensor,
        starts: Sequence[int],
        options: SamplingOptions = DEFAULT_SAMPLING,
        *,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """See :meth:`GenerativeModel.draw`."""

        def noise_for(state: Tensor) -> Noise:
            # Noise belongs to frames: a frame's samples lie along the other axis, then one after another.
            frames = state.unflatten(2, (-1, self.grid)).transpose(2, 3)
            draw = position_noise(frames, options.seed or 0, [start // self.grid for start in starts])
            return lambda: draw().transpose(2, 3).flatten(2)

        return self.generate(audio, noise_for, options, on_step)

    def check_sampling(self, sampler: str | None, sampler_options: Mapping[str, Any]) -> None:
        """See :meth:`GenerativeModel.check_sampling`."""
        for name, value in sampler_options.items():
            if name != "epsilon":
                raise ValueError(
                    f"sampler {sampler or self.sampler_name} has no option {name}; it has epsilon"
                )
            if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < math.inf:
                raise ValueError(f"epsilon must be a number from 1 on, not {value!r}")

    def draws_differ(self, sampler: str | None = None, steps: int | None = None) -> bool:
        """Whether :meth:`draw` with such options depends on the seed: not without steps or noise."""
        return self.temperature > 0 and (self.steps if steps is None else steps) > 0

    @torch.no_grad()
    def generate(
        self,
        audio: Tensor,
        noise_for: Callable[[Tensor], Noise],
        options: SamplingOptions,
        on_step: OnStep | None,
    ) -> Tensor:
        """See :meth:`GenerativeModel.generate`; 0 steps give the condition network's estimate."""
        sampler = self.sampler_name if options.sampler is None else options.sampler
        sampler_options = options.sampler_options or {}
        warm = sampler == "warm"
        steps = self._default_steps(warm) if options.steps is None else options.steps
        self._check_sampling(sampler, steps)
        self.check_sampling(sampler, sampler_options)
        gain = self.signal_level / _RMS_OF_LEVEL_ONE
        y = self.whole_frames(_without_mean(audio * gain))[:, None]
        conditions, features, latent = self.condition(y)
        estimate = self.estimate(features, latent, y) if steps == 0 or warm or self.residual else None
        if steps == 0:
            assert estimate is not None
            x = estimate
            tell(on_step, 0, 1)
        else:
            noise = noise_for(y)
            x = sample_consistently(
                lambda state, sigma: self.score(state, sigma, conditions),
                noise if self.temperature == 1 else lambda: self.temperature * noise(),
                steps=steps,
                sigma_min=self.sigma_min,
                sigma_max=self.warm_sigma if warm else self.sigma_max,
                epsilon=sampler_options.get("epsilon", self.epsilon),
                start=None if self.residual else estimate,
                on_step=on_step,
            )
            if self.residual:
                assert estimate is not None
                x = self.complete(estimate, x)
        return x[:, 0, : audio.shape[1]] / gain

    # Signals as the networks see them, and what the networks say of them; training calls these.

    def normalise(self, audio: Tensor, like: Tensor | None = None) -> Tensor:
        """Signals ``(batch, samples)`` at the networks' level, without mean; at the gain of ``like``, if given.

        Silence stays silence: see :meth:`measure_level`.
        """
        audio = _without_mean(audio)
        level = self.measure_level(audio if like is None else _without_mean(like))
        return audio * (self.signal_level / _RMS_OF_LEVEL_ONE / level)

    def whole_frames(self, audio: Tensor) -> Tensor:
        """``(batch, samples)`` followed by silence up to what the networks take, at least one frame."""
        return F.pad(audio, (0, -audio.shape[1] % self.grid))

    def sigma(self, t: Tensor) -> Tensor:
        """Noise levels at times between 0 and 1, ``(batch,)`` both."""
        return geometric_sigma(t, self.sigma_min, self.sigma_max)

    def score(self, x: Tensor, sigma: Tensor, conditions: Sequence[Tensor]) -> Tensor:
        """Gradient of the noisy state's log density.

        Args:
            x: states ``(batch, 1, samples)``: of the clean signal, or of what the estimate lacks.
            sigma: their noise levels ``(batch,)``.
            conditions: of the condition network.
        """
        if self.preconditioning == "none":
            return self.score_network(x, sigma, conditions).float()
        level = sigma[:, None, None]
        total = (level.square() + self.sigma_data**2).rsqrt()
        out = self.score_network(x * total, _NOISE_SCALE * sigma, conditions).float()
        # (D - x) / sigma^2 with D = c_skip x + c_out F; c_skip - 1 = -(sigma total)^2, without the cancellation.
        return out * (self.sigma_data * total / level) - x * total.square()

    def estimate(self, features: Tensor, latent: Tensor, audio: Tensor) -> Tensor:
        """The condition network's own estimate, ``(batch, 1, samples)``.

        Args:
            features, latent: of the condition network.
            audio: damaged signal that it heard, ``(batch, 1, samples)``.
        """
        return self.head.estimate(features, latent, audio)

    def lacking(self, clean: Tensor, estimate: Tensor) -> Tensor:
        """What the score network is to make of a clean signal ``(..., samples)``: all, or what the estimate lacks."""
        if not self.residual:
            return clean
        made = clean - estimate
        return made / self._envelope(estimate) if self.local_level else made

    def complete(self, estimate: Tensor, made: Tensor) -> Tensor:
        """Undo :meth:`lacking`: the clean signal by what the score network made."""
        if not self.residual:
            return made
        return estimate + made * self._envelope(estimate) if self.local_level else estimate + made

    def _envelope(self, estimate: Tensor) -> Tensor:
        """Level over some 50 ms relative to the whole signal's, for ``(..., samples)`` at the networks' level."""
        frames = estimate.float().unflatten(-1, (-1, self.grid))
        power = frames.square().mean(dim=-1) / self.signal_level**2
        power = power.reshape(-1, 1, power.shape[-1])
        smooth = F.avg_pool1d(F.pad(power, (2, 2), mode="replicate"), 5, stride=1)
        level = (smooth + _QUIETEST**2).sqrt()
        level = F.interpolate(level, scale_factor=float(self.grid), mode="linear", align_corners=False)
        return level.view(estimate.shape)

    def _default_steps(self, warm: bool) -> int:
        """The model's own number, or for a warm start so many that they are as far apart."""
        if not warm or self.steps == 0:
            return self.steps
        share = math.log(self.warm_sigma / self.sigma_min) / math.log(self.sigma_max / self.sigma_min)
        return 1 + round(share * (self.steps - 1))

    def _check_sampling(self, sampler: str, steps: int) -> None:
        if sampler not in self.sampler_names:
            raise ValueError(f"sampler must be one of {', '.join(self.sampler_names)}, not {sampler!r}")
        if steps < 0:
            raise ValueError(f"steps must be 0 or more, not {steps}")


def _without_mean(audio: Tensor) -> Tensor:
    return audio - audio.mean(dim=1, keepdim=True)
