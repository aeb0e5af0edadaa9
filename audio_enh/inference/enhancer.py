"""The library's front door: noisy audio in, clean audio of the same kind out."""

from __future__ import annotations

import functools
import operator
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audio_enh.diffusion.times import OnStep
from audio_enh.dsp.drywet import wet_weight
from audio_enh.errors import UserError
from audio_enh.inference.draws import GenerativeRunner, check_sampling
from audio_enh.inference.linked import ChannelRunner
from audio_enh.inference.pool import WindowPool
from audio_enh.inference.runners import CausalRunner, ModelRunner, Progress, WindowRunner
from audio_enh.inference.stream import AlignedStream, check_finite
from audio_enh.inference.uncertainty import UncertaintyCurve
from audio_enh.inference.upper_bands import UpperBandsRunner
from audio_enh.models.base import MAX_RATE, MIN_RATE, CausalModel, EnhancementModel
from audio_enh.models.full_band import FullBandUNet, UpperBands
from audio_enh.models.generative import GenerativeModel
from audio_enh.options import CHANNEL_MODES, DEFAULTS, EnhanceOptions, SamplingOptions

# What the user gives is what comes back.
Array = TypeVar("Array", NDArray[np.floating], Tensor)

MAX_CHANNELS = 256
EIGHT_DRAWS = EnhanceOptions(sampling=SamplingOptions(draws=8))


class Enhancer:
    """A model ready for audio of any rate, length and channel count.

    Audio is resampled to the model's rate and back (linear phase, no delay). Channels of one scene, as a stereo
    microphone gives them, are enhanced together, so that sounds stay where they are; others side by side and
    independently. What lies above half the model's rate is not in the enhanced signal: a 48 kHz
    recording through ``causal-unet-16k`` comes back at 48 kHz with nothing above 8 kHz. ``causal-unet-48k``, the
    default, has the whole band, and gives its upper bands to the generative models (``upper_bands``). ``strength``
    and ``max_attenuation`` mix the original in.

    Input that has been digital silence (exactly zero) for half a second gives digital silence.

    One enhancer may be used by several threads at the same time: each call has a state of its own.

    Args:
        model: used in evaluation mode, on the device its parameters are on.
        config: the checkpoint's configuration, for those who ask.
        block_seconds: causal models are run in steps of this length, divided by the number of channels, so
            that memory does not grow with it. It is also how long :meth:`stream` waits for input.
        window_seconds: other models are run in overlapping windows of this length.
        overlap_seconds: overlap of two windows, over which they are cross-faded.
        windows_per_call: windows that such a model is given at a time, each channel counted as one; None is 8 on a
            GPU, otherwise 1.
        upper_bands: name of a checkpoint of a :class:`FullBandUNet`. Where a model that is not causal meets a signal
            of a higher sample rate than its own, that one enhances what lies above the model's band, which is lost
            otherwise.

    Attributes:
        sample_rate: the model's highest rate, in Hz; see :meth:`working_rate`.
        device: where it computes.
    """

    def __init__(
        self,
        model: EnhancementModel,
        config: dict[str, Any] | None = None,
        *,
        block_seconds: float = 1.0,
        window_seconds: float = 10.0,
        overlap_seconds: float = 1.0,
        windows_per_call: int | None = None,
        upper_bands: str | None = None,
    ):
        self.model = model.eval()
        self.config = config or {}
        self.sample_rate = model.sample_rate
        self.block_seconds = block_seconds
        self.window_seconds = window_seconds
        self.overlap_seconds = overlap_seconds
        parameter = next(model.parameters(), None)
        self.device = torch.device("cpu") if parameter is None else parameter.device
        if windows_per_call is None:
            windows_per_call = 1 if self.device.type == "cpu" else 8
        if windows_per_call < 1:
            raise UserError(f"windows_per_call must be at least 1, not {windows_per_call}")
        self.windows_per_call = windows_per_call
        self.upper_bands = upper_bands
        self._upper: UpperBands | None = None

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path | None = None, device: str = "auto") -> Enhancer:
        """Load a checkpoint; the same as :func:`audio_enh.load`, which see."""
        from audio_enh.inference.catalog import FULL_BAND_MODEL
        from audio_enh.inference.checkpoint import load_model

        model, config = load_model(FULL_BAND_MODEL if name_or_path is None else name_or_path, device)
        return cls(model, config, upper_bands=FULL_BAND_MODEL)

    def to(self, device: str) -> Enhancer:
        """Move the model to another device, ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; streams that are
        open must be finished before.

        Raises:
            DeviceError: the device is not there.
        """
        from audio_enh.inference.devices import resolve_device

        self.device = resolve_device(device)
        self.model.to(self.device)
        return self

    def enhance(
        self, audio: Array, sample_rate: int, options: EnhanceOptions = DEFAULTS, **changes: Any
    ) -> Array:
        """Enhance a whole signal.

        Args:
            audio: floating-point numpy array or torch tensor, ``(samples,)`` or ``(channels, samples)``, full
                scale is 1; any length, 0 samples too.
            sample_rate: of ``audio``, in Hz.
            options: what can be chosen, see :class:`EnhanceOptions`.
            changes: options by their names, instead of those in ``options``: ``strength``, ``max_attenuation``,
                ``channel_mode``, and of generative models ``steps``, ``sampler``, ``sampler_options``, ``seed``,
                ``draws`` and ``combine`` (:class:`SamplingOptions`).

        Returns:
            The enhanced signal: type, dtype, device, shape and alignment (0 samples of delay) of ``audio``.
            Samples may lie beyond full scale, as in the input; nothing is clipped.

        Raises:
            UserError: integers, NaN or infinite samples, a wrong shape, or an option out of range.
            TypeError: there is no such option.
        """
        return self._enhance(audio, sample_rate, options.changed(**changes))[0]

    def enhance_with_uncertainty(
        self, audio: Array, sample_rate: int, options: EnhanceOptions = EIGHT_DRAWS, **changes: Any
    ) -> tuple[Array, UncertaintyCurve]:
        """Enhance a whole signal by several draws of a generative model, and tell where they disagree.

        Where they do, the model may be inventing speech. Arguments as in :meth:`enhance`; ``draws`` is at least 2,
        and 8 if neither ``options`` nor ``draws`` is given.

        Returns:
            The enhanced signal, and the draws' spread over time.
        """
        options = options.changed(**changes)
        if options.sampling.draws < 2:
            raise UserError(f"uncertainty takes at least 2 draws, not {options.sampling.draws}")
        enhanced, curve = self._enhance(audio, sample_rate, options)
        return enhanced, curve or UncertaintyCurve(0.02, np.zeros(0), np.zeros(0))

    def stream(
        self,
        sample_rate: int,
        channels: int = 1,
        options: EnhanceOptions = DEFAULTS,
        *,
        progress: Progress | None = None,
        pool: WindowPool | None = None,
        **changes: Any,
    ) -> AlignedStream:
        """Enhance a signal block by block, with memory that does not grow with its length.

        Output waits for a whole step (``block_seconds``) or window, and of several channels, unless they are
        ``independent``, for the first 10 s of sound; for live sound, in steps of one hop, see
        :mod:`audio_enh.streaming`.

        Args:
            sample_rate: of the signal, in Hz.
            channels: number of its channels.
            options: what can be chosen, see :class:`EnhanceOptions`.
            progress: told how many seconds of the signal are done, after each step of a causal model or a sampler
                and each window of the other models.
            pool: shared with other streams, so that windows of several signals are enhanced together; by default
                one of its own, of ``windows_per_call``. Of no use to causal models.
            changes: options by their names, as :meth:`enhance` takes them; deprecated here.

        Returns:
            An object with ``process(block) -> block`` and ``flush() -> block``, blocks being float32 arrays
            ``(channels, n)``.
        """
        if changes:
            message = "Enhancer.stream takes EnhanceOptions; single options will go with the next release"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            progress = changes.pop("on_step", progress)
            options = options.changed(**changes)
        if options.channel_mode not in CHANNEL_MODES:
            raise UserError(f"no channel_mode {options.channel_mode!r}: choose {', '.join(CHANNEL_MODES)}")
        if not 1 <= channels <= MAX_CHANNELS:
            raise UserError(
                f"{channels} channels: give audio as (channels, samples), 1 to {MAX_CHANNELS} channels"
            )
        self.check_options(options)
        model = self.model.for_rate(_checked_rate(sample_rate))
        upper = self._upper_bands(model, sample_rate)
        return AlignedStream(
            functools.partial(self._runner, model, upper, channels, options, pool),
            model_rate=model.sample_rate if upper is None else upper.sample_rate,
            sample_rate=_checked_rate(sample_rate),
            channels=channels,
            wet=wet_weight(options.strength, options.max_attenuation),
            device=self.device,
            progress=progress,
        )

    def check_options(self, options: EnhanceOptions = DEFAULTS, **changes: Any) -> None:
        """Raise now the UserError that :meth:`enhance` would raise for options that do not fit the model."""
        check_sampling(options.changed(**changes).sampling, self.model)

    def _enhance(
        self,
        audio: Array,
        sample_rate: int,
        options: EnhanceOptions,
    ) -> tuple[Array, UncertaintyCurve | None]:
        samples = _as_channels(audio)
        check_finite(samples, sample_rate=_checked_rate(sample_rate))
        stream = self.stream(sample_rate, samples.shape[0], options)
        if stream.wet == 0 or samples.size == 0:
            return (audio.clone() if isinstance(audio, Tensor) else audio.copy()), None
        # Blocks, so that memory beside the two signals stays small.
        block = max(1, round(self.block_seconds * sample_rate))
        enhanced = np.empty_like(samples, dtype=np.float32)
        done = 0
        for start in range(0, samples.shape[1] + block, block):
            last = start >= samples.shape[1]
            out = stream.flush() if last else stream.process(samples[:, start : start + block])
            enhanced[:, done : done + out.shape[1]] = out
            done += out.shape[1]
        enhanced = enhanced.reshape(audio.shape)
        if isinstance(audio, Tensor):
            return torch.from_numpy(enhanced).to(audio), stream.uncertainty
        return enhanced.astype(audio.dtype, copy=False), stream.uncertainty

    def working_rate(self, sample_rate: int) -> int:
        """The rate in Hz at which signals of a rate are enhanced; what lies above half of it is lost."""
        model = self.model.for_rate(_checked_rate(sample_rate))
        upper = self._upper_bands(model, sample_rate)
        return model.sample_rate if upper is None else upper.sample_rate

    def _upper_bands(self, model: EnhancementModel, sample_rate: int) -> UpperBands | None:
        """What enhances the bands that the model does not know, loaded when it is first needed."""
        if self.upper_bands is None or isinstance(model, CausalModel) or sample_rate <= model.sample_rate:
            return None
        if self._upper is None:
            from audio_enh.inference.checkpoint import load_model

            whole, _ = load_model(self.upper_bands, str(self.device))
            if not isinstance(whole, FullBandUNet) or whole.low.sample_rate != model.sample_rate:
                return None
            self._upper = UpperBands(whole).eval()
        return self._upper

    def _runner(
        self,
        model: EnhancementModel,
        upper: UpperBands | None,
        channels: int,
        options: EnhanceOptions,
        pool: WindowPool | None,
        progress: Progress,
    ) -> ModelRunner:
        if channels > 1 and options.channel_mode != "independent":
            apart = options.changed(channel_mode="independent")

            def make_runner(batch: int) -> ModelRunner:
                return self._runner(model, upper, batch, apart, pool, progress)

            rate = model.sample_rate if upper is None else upper.sample_rate
            return ChannelRunner(make_runner, channels, rate, options.channel_mode)
        if upper is not None:
            lower = self._runner(model, None, channels, options, pool, progress)
            block = round(self.block_seconds / channels * upper.sample_rate)
            return UpperBandsRunner(lower, model.sample_rate, upper, channels, block)
        if isinstance(model, CausalModel):
            # Channels are a batch: with more of them shorter steps keep the memory where it is.
            seconds = self.block_seconds / channels
            return CausalRunner(model, channels, round(seconds * model.sample_rate), progress)
        pool = WindowPool(self.windows_per_call) if pool is None else pool
        if isinstance(model, GenerativeModel):
            return GenerativeRunner(
                model,
                channels,
                options.sampling,
                window_seconds=self.window_seconds,
                overlap_seconds=self.overlap_seconds,
                pool=pool,
                progress=progress,
            )
        return WindowRunner(
            functools.partial(_enhance_windows, model),
            channels,
            window_length=round(self.window_seconds * model.sample_rate),
            overlap=round(self.overlap_seconds * model.sample_rate),
            pool=pool,
            sample_rate=model.sample_rate,
            progress=progress,
        )


def _enhance_windows(
    model: EnhancementModel, audio: Tensor, starts: Sequence[int], on_step: OnStep
) -> Tensor:
    return model(audio)[None]


def _checked_rate(sample_rate: int) -> int:
    try:
        rate = operator.index(sample_rate)  # numpy's integers too
    except TypeError:
        raise UserError(f"sample_rate must be a whole number of Hz, not {sample_rate!r}") from None
    if not MIN_RATE <= rate <= MAX_RATE:
        raise UserError(f"sample_rate {rate} Hz is outside of {MIN_RATE} to {MAX_RATE} Hz: is it in kHz?")
    return rate


def _as_channels(audio: NDArray[np.floating] | Tensor) -> NDArray[np.floating]:
    """The audio as a numpy array ``(channels, samples)``, or a UserError."""
    if isinstance(audio, Tensor):
        floating = audio.is_floating_point()
        kind = str(audio.dtype)
        samples = audio.detach().cpu()
        array = (samples.float() if samples.dtype == torch.bfloat16 else samples).numpy()
    elif isinstance(audio, np.ndarray):
        floating = audio.dtype.kind == "f"
        kind, array = str(audio.dtype), audio
    else:
        raise UserError(f"audio is a {type(audio).__name__}: give a numpy array or a torch tensor")
    if not floating:
        raise UserError(f"audio is {kind}: convert to float, full scale 1 (int16: audio / 32768.0)")
    if array.ndim not in (1, 2):
        raise UserError(f"audio has shape {array.shape}: give (samples,) or (channels, samples)")
    if array.ndim == 2 and array.shape[0] > MAX_CHANNELS:
        raise UserError(f"audio has shape {array.shape}: give (channels, samples); is it transposed?")
    return np.atleast_2d(array)
