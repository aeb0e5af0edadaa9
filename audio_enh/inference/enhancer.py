"""The library's front door: noisy audio in, clean audio of the same kind out."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audio_enh.dsp.drywet import wet_weight
from audio_enh.errors import UserError
from audio_enh.inference.generative import GenerativeRunner, SamplingOptions
from audio_enh.inference.linked import CHANNEL_MODES, ChannelMode, ChannelRunner
from audio_enh.inference.pool import WindowPool
from audio_enh.inference.runners import CausalRunner, ModelRunner, WindowRunner
from audio_enh.inference.stream import EnhanceStream, check_finite
from audio_enh.inference.uncertainty import UncertaintyCurve
from audio_enh.models.base import MAX_RATE, MIN_RATE, CausalModel, EnhancementModel
from audio_enh.models.generative import GenerativeModel

# What the user gives is what comes back.
Array = TypeVar("Array", NDArray[np.floating], Tensor)

MAX_CHANNELS = 256


class Enhancer:
    """A model ready for audio of any rate, length and channel count.

    Audio is resampled to the model's rate and back (linear phase, no delay). Channels of one scene, as a stereo
    microphone gives them, are enhanced together, so that sounds stay where they are; others side by side and
    independently. What lies above half the model's rate is not in the enhanced signal: a 48 kHz
    recording through a 16 kHz model comes back at 48 kHz with nothing above 8 kHz. ``strength`` and
    ``max_attenuation`` mix the original in, with its whole band.

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

    Attributes:
        sample_rate: the model's rate, in Hz.
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

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path | None = None, device: str = "auto") -> Enhancer:
        """Load a checkpoint; the same as :func:`audio_enh.load`, which see."""
        from audio_enh.inference.checkpoint import DEFAULT_MODEL, load_model

        model, config = load_model(DEFAULT_MODEL if name_or_path is None else name_or_path, device)
        return cls(model, config)

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
        self,
        audio: Array,
        sample_rate: int,
        *,
        strength: float = 1.0,
        max_attenuation: float | None = None,
        seed: int | None = None,
        sampler: str | None = None,
        steps: int | None = None,
        samples: int = 1,
        combine: Literal["mean", "median"] = "mean",
        sampler_options: Mapping[str, Any] | None = None,
        channel_mode: ChannelMode = "auto",
    ) -> Array:
        """Enhance a whole signal.

        Args:
            audio: floating-point numpy array or torch tensor, ``(samples,)`` or ``(channels, samples)``, full
                scale is 1; any length, 0 samples too.
            sample_rate: of ``audio``, in Hz.
            strength: 0 gives the input back, to the bit; 1 the enhanced signal; between them the output is
                ``input + strength * (enhanced - input)``.
            max_attenuation: let no sound be turned down by more than so many dB, 0 or more. The weight of
                the enhanced signal is at most ``1 - 10 ** (-max_attenuation / 20)``, so that what the model
                removes stays in the output, that much quieter.
            seed: of a generative model's noise, 0 if None; the models without noise of their own do not use it.
            sampler, steps, samples, combine, sampler_options: of generative models only, see
                :class:`SamplingOptions`.
            channel_mode: ``linked`` enhances the channels' sum and does to each of them what that did to the sum, see
                :mod:`audio_enh.inference.linked`; ``independent`` enhances each by itself; ``auto`` links channels
                that have enough in common.

        Returns:
            The enhanced signal: type, dtype, device, shape and alignment (0 samples of delay) of ``audio``.
            Samples may lie beyond full scale, as in the input; nothing is clipped.

        Raises:
            UserError: integers, NaN or infinite samples, a wrong shape, or an option out of range.
        """
        options = SamplingOptions(seed, sampler, steps, samples, combine, sampler_options)
        return self._enhance(audio, sample_rate, options, strength, max_attenuation, channel_mode)[0]

    def enhance_with_uncertainty(
        self,
        audio: Array,
        sample_rate: int,
        *,
        samples: int = 8,
        strength: float = 1.0,
        max_attenuation: float | None = None,
        seed: int | None = None,
        sampler: str | None = None,
        steps: int | None = None,
        combine: Literal["mean", "median"] = "mean",
        sampler_options: Mapping[str, Any] | None = None,
        channel_mode: ChannelMode = "auto",
    ) -> tuple[Array, UncertaintyCurve]:
        """Enhance a whole signal by several draws of a generative model, and tell where they disagree.

        Where they do, the model may be inventing speech. Arguments as in :meth:`enhance`; ``samples`` is at least 2.

        Returns:
            The enhanced signal, and the draws' spread over time.
        """
        if samples < 2:
            raise UserError(f"uncertainty takes at least 2 samples, not {samples}")
        options = SamplingOptions(seed, sampler, steps, samples, combine, sampler_options)
        enhanced, curve = self._enhance(audio, sample_rate, options, strength, max_attenuation, channel_mode)
        return enhanced, curve or UncertaintyCurve(0.02, np.zeros(0), np.zeros(0))

    def stream(
        self,
        sample_rate: int,
        channels: int = 1,
        *,
        strength: float = 1.0,
        max_attenuation: float | None = None,
        seed: int | None = None,
        sampler: str | None = None,
        steps: int | None = None,
        samples: int = 1,
        combine: Literal["mean", "median"] = "mean",
        sampler_options: Mapping[str, Any] | None = None,
        channel_mode: ChannelMode = "auto",
        on_step: Callable[[float], None] | None = None,
        pool: WindowPool | None = None,
    ) -> EnhanceStream:
        """Enhance a signal block by block, with memory that does not grow with its length.

        Output waits for a whole step (``block_seconds``) or window, and of several channels, unless they are
        ``independent``, for the first 10 s of sound; for live sound, in steps of one hop, see
        :mod:`audio_enh.streaming`. Options as in :meth:`enhance`.

        Args:
            on_step: of generative models, told after each step of the sampler how many seconds of the signal are
                done.
            pool: shared with other streams, so that windows of several signals are enhanced together; by default
                one of its own, of ``windows_per_call``. Of no use to causal models.

        Returns:
            An object with ``process(block) -> block`` and ``flush() -> block``, blocks being float32 arrays
            ``(channels, n)``.
        """
        options = SamplingOptions(seed, sampler, steps, samples, combine, sampler_options)
        return self._stream(
            sample_rate, channels, options, strength, max_attenuation, channel_mode, on_step, pool
        )

    def check_options(
        self,
        *,
        seed: int | None = None,
        sampler: str | None = None,
        steps: int | None = None,
        samples: int = 1,
        combine: Literal["mean", "median"] = "mean",
        sampler_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Raise the UserError now that :meth:`enhance` would raise with such options."""
        SamplingOptions(seed, sampler, steps, samples, combine, sampler_options).check(self.model)

    def _enhance(
        self,
        audio: Array,
        sample_rate: int,
        options: SamplingOptions,
        strength: float,
        max_attenuation: float | None,
        channel_mode: ChannelMode,
    ) -> tuple[Array, UncertaintyCurve | None]:
        samples = _as_channels(audio)
        check_finite(samples, sample_rate=_checked_rate(sample_rate))
        stream = self._stream(sample_rate, samples.shape[0], options, strength, max_attenuation, channel_mode)
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

    def _stream(
        self,
        sample_rate: int,
        channels: int,
        options: SamplingOptions,
        strength: float,
        max_attenuation: float | None,
        channel_mode: ChannelMode,
        on_step: Callable[[float], None] | None = None,
        pool: WindowPool | None = None,
    ) -> EnhanceStream:
        if channel_mode not in CHANNEL_MODES:
            raise UserError(f"no channel_mode {channel_mode!r}: choose {', '.join(CHANNEL_MODES)}")
        if not 1 <= channels <= MAX_CHANNELS:
            raise UserError(
                f"{channels} channels: give audio as (channels, samples), 1 to {MAX_CHANNELS} channels"
            )
        options.check(self.model)
        return EnhanceStream(
            functools.partial(self._runner, channels, options, on_step, pool, channel_mode),
            model_rate=self.sample_rate,
            sample_rate=_checked_rate(sample_rate),
            channels=channels,
            wet=wet_weight(strength, max_attenuation),
            device=self.device,
        )

    def _runner(
        self,
        channels: int,
        options: SamplingOptions,
        on_step: Callable[[float], None] | None,
        pool: WindowPool | None,
        channel_mode: ChannelMode = "independent",
    ) -> ModelRunner:
        if channels > 1 and channel_mode != "independent":

            def make_runner(batch: int) -> ModelRunner:
                return self._runner(batch, options, on_step, pool)

            return ChannelRunner(make_runner, channels, self.sample_rate, channel_mode)
        if isinstance(self.model, CausalModel):
            # Channels are a batch: with more of them shorter steps keep the memory where it is.
            seconds = self.block_seconds / channels
            return CausalRunner(self.model, channels, round(seconds * self.sample_rate))
        pool = WindowPool(self.windows_per_call) if pool is None else pool
        if isinstance(self.model, GenerativeModel):
            return GenerativeRunner(
                self.model,
                channels,
                options,
                window_seconds=self.window_seconds,
                overlap_seconds=self.overlap_seconds,
                pool=pool,
                on_step=on_step,
            )
        return WindowRunner(
            self._enhance_windows,
            channels,
            window_length=round(self.window_seconds * self.sample_rate),
            overlap=round(self.overlap_seconds * self.sample_rate),
            pool=pool,
        )

    def _enhance_windows(self, audio: Tensor, starts: Sequence[int], tell: Callable[[float], None]) -> Tensor:
        return self.model(audio)[None]


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
