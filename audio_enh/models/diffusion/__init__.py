"""Diffusion on compressed spectrograms: a network, a process, a sampler, as one enhancement model."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from audio_enh import registry
from audio_enh.diffusion.noise import Noise, position_noise
from audio_enh.diffusion.samplers import SAMPLERS, samplers_for
from audio_enh.diffusion.sdes import PROCESSES, Process, over_items
from audio_enh.diffusion.times import OnStep
from audio_enh.dsp.spectrogram import CompressedSpectrogram
from audio_enh.models.base import with_defaults
from audio_enh.models.diffusion.lite import LiteUNet
from audio_enh.models.diffusion.ncsnpp import NCSNpp
from audio_enh.models.generative import GenerativeModel, LevelKind
from audio_enh.options import DEFAULT_SAMPLING, SamplingOptions

#: What a checkpoint calls the backbones.
NETWORKS: dict[str, type[nn.Module]] = {"lite": LiteUNet, "ncsnpp": NCSNpp}

PREDICTIONS = ("score", "denoiser", "data", "velocity")
PRECONDITIONINGS = ("none", "edm", "edm_input")
SCALINGS = ("none", "1/sigma", "1/t")


class DiffusionEnhancer(GenerativeModel):
    r"""Score-based and bridge models on compressed complex spectrograms: SGMSE and what followed it.

    The waveform is divided by its level, transformed, sampled from noisy to clean, transformed back. All
    arguments are plain values; the nested ones are mappings with a ``name`` and the arguments of what it names.

    The network's output ``F`` stands for

    ========== =====================================================================================
    prediction
    ========== =====================================================================================
    score      the score (Richter et al. 2023)
    denoiser   the mean of the state without its noise: ``score = (D - x_t) / sigma^2`` (EDM)
    data       the clean coefficients (Jukic et al. 2024)
    velocity   slope of the straight path from clean to noisy: ``x0 = x_t - t v`` (flow matching)
    ========== =====================================================================================

    after ``c_skip x_t + c_out F(c_in x_t, c_in y, t)``, where preconditioning is asked for. :meth:`score`,
    :meth:`denoise` and :meth:`velocity` convert between them by the process's mean and variance.

    Args:
        sample_rate: in Hz.
        n_fft, hop_length, exponent, factor: of the spectrogram, see :class:`CompressedSpectrogram`.
        level: what the waveform is divided by: "peak" or "rms", see :func:`level_from`.
        process: one of :data:`PROCESSES`.
        network: one of :data:`NETWORKS`, or a class of the user's (``name: module.Class``), see
            :mod:`audio_enh.registry`. It takes and gives what :meth:`NCSNpp.forward` does; the number of frames that
            it is given is a multiple of its ``time_multiple``, if it has one.
        prediction: see above.
        preconditioning: "edm" for the factors of Karras et al. 2022 (arXiv 2206.00364, table 1) with the process's
            standard deviation; "edm_input" for ``c_in`` alone, as in denoisers of the public SGMSE code; or "none".
        sigma_data: standard deviation of the coefficients, for EDM preconditioning.
        network_scaling: "1/sigma" or "1/t" divides the network's output by the process's standard deviation or
            by t; or "none".
        sampler: one of :data:`SAMPLERS`, used where no other is asked for.
        high_pass: see :class:`GenerativeModel`.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 510,
        hop_length: int = 128,
        exponent: float = 0.5,
        factor: float = 0.15,
        level: LevelKind = "peak",
        process: Mapping[str, Any] = {"name": "ouve"},
        network: Mapping[str, Any] = {"name": "lite"},
        prediction: str = "score",
        preconditioning: str = "none",
        sigma_data: float = 0.1,
        network_scaling: str = "none",
        sampler: Mapping[str, Any] = {"name": "pc"},
        high_pass: float = 0.0,
    ):
        super().__init__()
        _check_choice("level", level, ("peak", "rms"))
        _check_choice("prediction", prediction, PREDICTIONS)
        _check_choice("preconditioning", preconditioning, PRECONDITIONINGS)
        _check_choice("network_scaling", network_scaling, SCALINGS)
        self.sample_rate = sample_rate
        self.spectrogram = CompressedSpectrogram(n_fft, hop_length, exponent, factor)
        self.level = level
        self.high_pass = high_pass
        self.process: Process = _construct("process", process, PROCESSES)
        self.network: nn.Module = _construct("network", network, NETWORKS)
        self.time_multiple = int(getattr(self.network, "time_multiple", 1))
        # Frames are centred on multiples of the hop: so many hops have one more frame.
        self.grid = hop_length * self.time_multiple
        self.window_remainder = -hop_length
        self.margin = n_fft
        self.prediction = prediction
        self.preconditioning = preconditioning
        self.sigma_data = sigma_data
        self.network_scaling = network_scaling
        self.sampler_names = samplers_for(self.process)
        sampler = dict(sampler)
        self.sampler_name = str(sampler.pop("name", "pc"))
        self.sampler_options = sampler
        _check_choice("sampler", self.sampler_name, self.sampler_names)
        find_sampler(self.sampler_name, self.sampler_options)

    @classmethod
    def complete_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """See :meth:`EnhancementModel.complete_arguments`; here the nested ones too."""
        complete = super().complete_arguments(arguments)
        for what, known in (("process", PROCESSES), ("network", NETWORKS)):
            given = complete[what]
            constructor = _named(what, given["name"], known)
            complete[what] = {"name": given["name"], **with_defaults(constructor, given)}
        sampler = dict(complete["sampler"])
        function, fixed = SAMPLERS[sampler.pop("name")]
        known_options = with_defaults(function, sampler)
        dropped = {"on_step", *fixed}
        complete["sampler"] = {
            "name": complete["sampler"]["name"],
            **{key: value for key, value in known_options.items() if key not in dropped},
        }
        return complete

    def generate(
        self,
        audio: Tensor,
        noise_for: Callable[[Tensor], Noise],
        options: SamplingOptions,
        on_step: OnStep | None,
    ) -> Tensor:
        """See :meth:`GenerativeModel.generate`."""
        y = self.encode(audio)
        x = self.sample(
            y,
            noise_for(y),
            sampler=options.sampler,
            steps=options.steps,
            on_step=on_step,
            **(options.sampler_options or {}),
        )
        return self.decode(x, audio.shape[1])

    def draw(
        self,
        audio: Tensor,
        starts: Sequence[int],
        options: SamplingOptions = DEFAULT_SAMPLING,
        *,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """See :meth:`GenerativeModel.draw`."""
        frames = [start // self.spectrogram.hop_length for start in starts]
        seed = options.seed or 0
        return self.generate(audio, lambda y: position_noise(y, seed, frames), options, on_step)

    def check_sampling(self, sampler: str | None, sampler_options: Mapping[str, Any]) -> None:
        """See :meth:`GenerativeModel.check_sampling`."""
        if "steps" in sampler_options:
            raise ValueError("the number of steps is an option of its own, not one of sampler_options")
        find_sampler(self.sampler_name if sampler is None else sampler, sampler_options)

    def draws_differ(self, sampler: str | None = None, steps: int | None = None) -> bool:
        """See :meth:`GenerativeModel.draws_differ`."""
        if self.process.std(torch.tensor([self.process.T])) > 0:
            return True
        # Bridge and flow begin at the noisy coefficients, and the last step adds no noise.
        name = self.sampler_name if sampler is None else sampler
        if steps is None:
            own = self.sampler_options if name == self.sampler_name else {}
            steps = int(with_defaults(SAMPLERS[name][0], own)["steps"])
        return name == "sde" and steps > 1

    @torch.no_grad()
    def sample(
        self,
        y: Tensor,
        noise: Noise,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        on_step: OnStep | None = None,
        **options: Any,
    ) -> Tensor:
        """Clean coefficients for noisy ones, both ``(batch, 1, bins, frames)``.

        Args:
            noise: see :mod:`audio_enh.diffusion.noise`.
            sampler, steps, on_step: see :meth:`enhance`.
            options: of the sampler; a wrong name is a ValueError.
        """
        name = self.sampler_name if sampler is None else sampler
        if name == self.sampler_name:
            options = {**self.sampler_options, **options}
        if steps is not None:
            options["steps"] = steps
        run = find_sampler(name, options)
        return run(self.process, self, y, noise, on_step=on_step)

    # Waveform to coefficients and back.

    def encode(self, audio: Tensor) -> Tensor:
        """Signals of level 1, ``(batch, samples)``, to coefficients ``(batch, 1, bins, frames)``; frames are filled
        up to what the network takes."""
        coefficients = self.spectrogram(audio)
        missing = -coefficients.shape[3] % self.time_multiple
        return nn.functional.pad(coefficients, (0, missing)) if missing else coefficients

    def decode(self, coefficients: Tensor, length: int) -> Tensor:
        """The inverse of :meth:`encode`: ``(batch, length)``."""
        return self.spectrogram.inverse(coefficients, length)

    def analyse(self, noisy: Tensor, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs for training: coefficients of both under the noisy signal's level, and that level ``(batch, 1)``."""
        level = self.measure_level(noisy)
        return self.encode(noisy / level), self.encode(clean / level), level

    def synthesise(self, coefficients: Tensor, length: int, level: Tensor) -> Tensor:
        """Signals ``(batch, length)`` of coefficients, at their level; differentiable."""
        return self.decode(coefficients, length) * level

    # What the network says, in every form.

    def predict(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """The model's prediction in its own form.

        Args:
            x_t, y: state and noisy coefficients, ``(batch, 1, bins, frames)``.
            t: times ``(batch,)``.
        """
        sigma = over_items(self.process.std(t), y)
        if self.preconditioning == "none":
            out = self.network(x_t, y, t)
        else:
            c_in = (sigma.square() + self.sigma_data**2).rsqrt()
            out = self.network(c_in * x_t, c_in * y, t)
        if self.network_scaling == "1/sigma":
            out = out / sigma
        elif self.network_scaling == "1/t":
            out = out / over_items(t, y)
        if self.preconditioning == "edm":
            return (self.sigma_data * c_in).square() * x_t + (sigma * self.sigma_data * c_in) * out
        return out

    def score(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """The score ``-z / sigma``, shapes as in :meth:`predict`."""
        prediction = self.predict(x_t, y, t)
        if self.prediction == "score":
            return prediction
        if self.prediction == "denoiser":
            mean = prediction
        else:
            mean = self.process.mean(self._clean(prediction, x_t, y, t), y, t)
        return (mean - x_t) / over_items(self.process.std(t), y).square()

    def denoise(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """The clean coefficients, shapes as in :meth:`predict`."""
        return self._clean(self.predict(x_t, y, t), x_t, y, t)

    def velocity(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """``(x_t - x0) / t``, shapes as in :meth:`predict`."""
        prediction = self.predict(x_t, y, t)
        if self.prediction == "velocity":
            return prediction
        return (x_t - self._clean(prediction, x_t, y, t)) / over_items(t, y)

    def _clean(self, prediction: Tensor, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        if self.prediction == "data":
            return prediction
        if self.prediction == "velocity":
            return x_t - over_items(t, y) * prediction
        mean = prediction
        if self.prediction == "score":
            mean = x_t + over_items(self.process.std(t), y).square() * prediction
        of_clean, of_noisy = self.process.mean_weights(t)
        return (mean - over_items(of_noisy, y) * y) / over_items(of_clean, y)


def find_sampler(name: str, options: Mapping[str, Any]) -> Callable[..., Tensor]:
    """The sampler of that name with its options filled in; a ValueError names what it does not know."""
    _check_choice("sampler", name, tuple(SAMPLERS))
    function, fixed = SAMPLERS[name]
    parameters = inspect.signature(function).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in {*fixed, "on_step"}]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"sampler {name} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    kinds = get_type_hints(function)
    for option, value in options.items():
        _check_kind(option, value, kinds[option])

    def run(
        process: Process, model: DiffusionEnhancer, y: Tensor, noise: Noise, *, on_step: OnStep | None
    ) -> Tensor:
        return function(process, model, y, noise, on_step=on_step, **fixed, **options)

    return run


def _construct(what: str, arguments: Mapping[str, Any], known: Mapping[str, type[Any]]) -> Any:
    arguments = dict(arguments)
    name = arguments.pop("name", None)
    constructor = _named(what, name, known)
    accepted = inspect.signature(constructor).parameters
    if unknown := sorted(set(arguments) - set(accepted)):
        raise ValueError(f"{what} {name} has no argument {', '.join(unknown)}; it has {', '.join(accepted)}")
    return constructor(**{k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()})


def _named(what: str, name: Any, known: Mapping[str, type[Any]]) -> type[Any]:
    """The class that a checkpoint or recipe calls so; of networks also the user's."""
    if what != "network" or "." not in str(name):
        _check_choice(f"name of {what}", name, tuple(known))
        return known[name]
    found = registry.find(str(name), registry.NETWORKS)
    if found is None:
        raise ValueError(f"there is no network {name!r}: {registry.how_to_name(registry.NETWORKS)}")
    return found


def _check_kind(option: str, value: Any, kind: Any) -> None:
    """A ValueError where a sampler's option is not of the type that the sampler declares."""
    if get_origin(kind) is Literal:
        _check_choice(option, value, get_args(kind))
    elif isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
        raise ValueError(f"{option} must be a {'' if kind is float else 'whole '}number, not {value!r}")
    elif not 0 <= value < math.inf:
        raise ValueError(f"{option} must be 0 or more, not {value!r}")


def _check_choice(what: str, value: Any, choices: Sequence[Any]) -> None:
    if value not in choices:
        raise ValueError(f"{what} must be one of {', '.join(map(str, choices))}, not {value!r}")
