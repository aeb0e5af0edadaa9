"""Live enhancement: as many samples out as in, at any rate, a known number of samples later."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audio_enh.dsp.drywet import SilenceGate, wet_weight
from audio_enh.errors import UserError
from audio_enh.inference.catalog import default_model
from audio_enh.streaming.backend import Backend, BackendName, open_backend
from audio_enh.streaming.fifo import Fifo
from audio_enh.streaming.resampler import Resampler

if TYPE_CHECKING:
    from audio_enh.models.base import CausalModel

Audio = NDArray[np.float32]
ChannelMode = Literal["independent", "shared"]

# Longer blocks go through in pieces, which bounds the memory.
MAX_PIECE = 2048
# Nothing that anybody hears, but below about 1e-38 each operation takes many times as long.
TINY = 1e-20
# The time in which a change of strength takes effect.
FADE_SECONDS = 0.02


class Latency(NamedTuple):
    """Delay of a stream by part, in samples at the stream's rate; the sum is whole."""

    resampler_in: float
    model: float
    buffering: float
    resampler_out: float


class LiveStream:
    """Enhances a live signal block by block.

    ``process`` gives as many samples as it gets, ``latency_samples`` late, for blocks of any size. Put together
    with what ``flush`` gives, and without the first ``latency_samples``, the output is that of
    :meth:`audio_enh.Enhancer.enhance` on the signal followed by silence, however it is cut into blocks: to float
    tolerance at the model's own rate. At other rates the resamplers differ (short filters here, long ones for
    files), and the model's hops lie ``latency.resampler_in`` samples earlier in the signal; what is enhanced
    offline after that many zeros agrees to better than 50 dB on speech.

    NaN and infinite samples are taken as 0 and counted. One stream is for one thread; `strength`,
    `max_attenuation` may be set and counters read from others.

    Args:
        model: see `open_backend`; a `Backend` too, whose ``batch`` must be what ``channels`` and ``channel_mode``
            ask for.
        sample_rate: of the stream, in Hz; the model's own if None.
        channels: rows of every block.
        backend, device, threads: see `open_backend`.
        channel_mode: ``"independent"`` enhances each channel by itself, at the price of one stream each.
            ``"shared"`` enhances their mean once and gives it to all of them: the sound of a stereo microphone
            that is to be heard as one, at half the price. What differs between the channels is lost (where
            ``strength`` is below 1, the dry part keeps it), and channels of opposite sign cancel.
        strength: 0 gives the input, that much later, 1 the enhanced signal.
        max_attenuation: in dB, None for no limit; see :meth:`audio_enh.Enhancer.enhance`.
        block_length: promise that every block is a multiple of this many samples. Less has to be buffered then:
            nothing where it is a multiple of the model's hop, which makes the latency up to a hop shorter.

    Attributes:
        latency: the delay by part.
        latency_samples: its sum.
        invalid_samples: NaN and infinite input samples so far.
        model_failures: hops so far for which the model gave NaN or infinite samples; they are silent, and the
            model started anew.

    Raises:
        UserError: an option out of range, or as `open_backend`.
    """

    def __init__(
        self,
        model: str | Path | CausalModel | Backend | None = None,
        sample_rate: int | None = None,
        channels: int = 1,
        *,
        backend: BackendName = "auto",
        device: str = "cpu",
        threads: int = 1,
        channel_mode: ChannelMode = "independent",
        strength: float = 1.0,
        max_attenuation: float | None = None,
        block_length: int | None = None,
    ):
        if channel_mode not in ("independent", "shared"):
            raise UserError(f"unknown channel_mode {channel_mode!r}: independent or shared")
        if channels < 1 or (block_length is not None and block_length < 1):
            raise UserError("channels and block_length must be 1 or more")
        rows = channels if channel_mode == "independent" else 1
        self.backend = (
            model
            if isinstance(model, Backend)
            else open_backend(
                default_model(sample_rate) if model is None else model,
                rows,
                backend=backend,
                device=device,
                threads=threads,
            )
        )
        if self.backend.batch != rows:
            raise UserError(f"the backend is for {self.backend.batch} streams, not for {rows}")
        self.model_rate = self.backend.sample_rate
        self.sample_rate = self.model_rate if sample_rate is None else sample_rate
        if not 1000 <= self.sample_rate <= 1_000_000 or self.sample_rate != int(self.sample_rate):
            raise UserError(f"sample_rate must be a whole number of Hz, 1000 to 1000000, not {sample_rate}")
        self.sample_rate = int(self.sample_rate)  # sound cards tell theirs as floats
        self.channels = channels
        self.channel_mode = channel_mode
        self.block_length = block_length
        self.strength = strength
        self.max_attenuation = max_attenuation

        # Samples of the stream for one of the model.
        ratio = Fraction(self.sample_rate, self.model_rate)
        buffering = _buffering(self.backend.hop_length, ratio, block_length)
        self._down = self._up = None
        delay_in = delay_out = Fraction(0)
        if ratio != 1:
            self._down = Resampler(self.sample_rate, self.model_rate, rows)
            delay_in = self._down.delay
            # The way back makes the sum whole, so that the dry signal is delayed by exactly as much.
            least = Resampler.min_delay(self.model_rate, self.sample_rate)
            before = delay_in + ratio * self.backend.delay + buffering
            whole = math.ceil(before + ratio * least)
            self._up = Resampler(self.model_rate, self.sample_rate, rows, delay=(whole - before) / ratio)
            delay_out = self._up.delay * ratio
        self.latency = Latency(
            float(delay_in), float(ratio * self.backend.delay), float(buffering), float(delay_out)
        )
        self.latency_samples = int(delay_in + ratio * self.backend.delay + buffering + delay_out)
        self._prefill = buffering

        unit = block_length or 1
        self._piece = piece = max(1, MAX_PIECE // unit) * unit
        hop = self.backend.hop_length
        per_piece = math.ceil(piece / ratio) + 1
        self._dry = Fifo(channels, self.latency_samples + piece)
        self._pending = Fifo(rows, hop + per_piece)
        self._delayed = Fifo(rows, self.backend.delay + hop)
        self._hops = np.zeros((rows, per_piece + 2 * hop), np.float32)
        self._enhanced = Fifo(rows, buffering + piece + 2 * math.ceil((hop + 1) * ratio))
        self._hop_ramp = np.linspace(0, 1, hop + 1, dtype=np.float32)[1:]
        self._fade_step = 1 / max(1, round(FADE_SECONDS * self.sample_rate))
        self.invalid_samples = 0
        self.model_failures = 0
        self.reset()

    @property
    def strength(self) -> float:
        """0 to 1; a change fades in over 20 ms."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        wet_weight(value)
        self._strength = value

    @property
    def max_attenuation(self) -> float | None:
        """In dB; a change fades in over 20 ms."""
        return self._max_attenuation

    @max_attenuation.setter
    def max_attenuation(self, value: float | None) -> None:
        wet_weight(1.0, value)
        self._max_attenuation = value

    def reset_channel(self, channel: int) -> None:
        """Let a new signal begin in one channel while the others go on; for independent channels.

        Its hops lie where those of the others do, so that its first one may be filled up with zeros in front.
        """
        if self.channel_mode != "independent":
            raise ValueError("channels that share a state cannot start anew one by one")
        if not 0 <= channel < self.channels:
            raise IndexError(f"there is no channel {channel} among {self.channels}")
        self.backend.reset(channel)
        for resampler in (self._down, self._up):
            if resampler is not None:
                resampler.reset(channel)
        for fifo in (self._dry, self._pending, self._delayed, self._enhanced):
            fifo.clear_row(channel)
        self._gate.reset(channel)

    def reset(self) -> None:
        """Forget the signal: the next sample is the first. Options and counters stay."""
        self.backend.reset()
        for resampler in (self._down, self._up):
            if resampler is not None:
                resampler.reset()
        self._dry.clear(zeros=self.latency_samples)
        self._pending.clear()
        self._delayed.clear(zeros=self.backend.delay)
        self._enhanced.clear(zeros=self._prefill)
        self._gate = SilenceGate(self.sample_rate, self.channels)
        self._wet = wet_weight(self._strength, self._max_attenuation)
        self._model_weight = 1.0
        self._warm_up_hops = 0
        self._stopped = False

    def process(self, block: Audio, *, run_model: bool = True) -> Audio:
        """Take the next samples.

        Args:
            block: float, ``(channels, n)``, or of one channel ``(n,)``; full scale is 1.
            run_model: False leaves the model out, for when the processor is too busy: the input takes its
                place (through the resamplers, equally late) from the next hop but one on, and the model starts
                anew when it is run again. Both changes are cross-faded.

        Returns:
            float32 of the block's shape, a new array: the output for the input ``latency_samples`` earlier.

        Raises:
            UserError: another shape or type, or a length that breaks the promise of ``block_length``.
        """
        block = np.asarray(block)
        if block.ndim == 1 and self.channels == 1:
            return self.process(block[None], run_model=run_model)[0]
        if block.ndim != 2 or block.shape[0] != self.channels or block.dtype.kind != "f":
            one = " or (samples,)" if self.channels == 1 else ""
            raise UserError(
                f"expected floats of shape ({self.channels}, samples){one}, not {block.dtype} {block.shape}"
            )
        samples = block.shape[1]
        if self.block_length is not None and samples % self.block_length:
            raise UserError(f"{samples} samples are no multiple of block_length {self.block_length}")
        output = np.array(block, np.float32)
        for start in range(0, samples, self._piece):
            piece = output[:, start : start + self._piece]
            self._process_piece(piece, run_model)
        return output

    def flush(self) -> Audio:
        """End the signal: the last ``latency_samples`` of output, ``(channels, latency_samples)``; then `reset`."""
        unit = self.block_length or 1
        zeros = -(-self.latency_samples // unit) * unit
        rest = self.process(np.zeros((self.channels, zeros), np.float32))[:, : self.latency_samples]
        self.reset()
        return rest

    def _process_piece(self, piece: Audio, run_model: bool) -> None:
        """Replace the samples of ``piece`` by the output."""
        finite = np.isfinite(piece)
        if not finite.all():
            self.invalid_samples += int(finite.size - np.count_nonzero(finite))
            piece[~finite] = 0
        piece[np.abs(piece) < TINY] = 0
        samples = piece.shape[1]

        model_input = piece if self.channel_mode == "independent" else piece.mean(axis=0, keepdims=True)
        if self._down is not None:
            model_input = self._down.process(model_input)
        self._pending.push(model_input)
        hop = self.backend.hop_length
        ready = len(self._pending) // hop * hop
        for start in range(0, ready, hop):
            self._hops[:, start : start + hop] = self._enhance_hop(self._pending.pop(hop), run_model)
        enhanced = self._hops[:, :ready]
        self._enhanced.push(enhanced if self._up is None else self._up.process(enhanced))

        self._dry.push(piece)
        self._mix(self._enhanced.pop(samples), self._dry.pop(samples), out=piece)

    def _enhance_hop(self, audio: Audio, run_model: bool) -> Audio:
        self._delayed.push(audio)
        dry = self._delayed.pop(audio.shape[1])
        if not run_model and self._model_weight == 0:
            # What the first hops after a restart give lies before the restart.
            self._warm_up_hops = -(-self.backend.delay // self.backend.hop_length)
            self._stopped = True
            return dry
        if self._model_weight == 0 and self._stopped:
            self.backend.reset()
            self._stopped = False
        enhanced = self._checked(self.backend.step(audio))
        before = self._model_weight
        if not run_model:
            self._model_weight = 0.0
        elif self._warm_up_hops > 0:
            self._warm_up_hops -= 1
        else:
            self._model_weight = 1.0
        if before == self._model_weight:
            return enhanced if before else dry
        ramp = before + (self._model_weight - before) * self._hop_ramp
        return dry + ramp * (enhanced - dry)

    def _checked(self, enhanced: Audio) -> Audio:
        finite = np.isfinite(enhanced).all(axis=1)
        if finite.all():
            return enhanced
        enhanced = enhanced.copy()
        for row in np.flatnonzero(~finite):
            self.model_failures += 1
            self.backend.reset(int(row))
            enhanced[row] = 0
        return enhanced

    def _mix(self, enhanced: Audio, dry: Audio, out: Audio) -> None:
        gain = self._gate(dry)
        if gain is not None:
            enhanced = enhanced * gain
        target = wet_weight(self._strength, self._max_attenuation)
        if target == self._wet:
            np.multiply(enhanced, np.float32(target), out=out)
            if target != 1:
                out += np.float32(1 - target) * dry
            return
        distance = target - self._wet
        steps = np.arange(1, dry.shape[1] + 1) * self._fade_step
        wet = self._wet + math.copysign(1, distance) * np.minimum(steps, abs(distance))
        self._wet = target if steps[-1] >= abs(distance) else float(wet[-1])
        out[:] = wet * enhanced + (1 - wet) * dry


def _buffering(hop: int, ratio: Fraction, block_length: int | None) -> int:
    """Samples of the stream to keep in stock so that output is always there for as many as come in.

    After ``n`` samples the model has had ``ceil(n / ratio)``, of which whole hops have come out again; the stock is
    the largest gap between the two.

    Args:
        hop: in samples of the model.
        ratio: samples of the stream for one of the model.
        block_length: ``n`` is a multiple of this.
    """
    # Any n: the worst is just before a hop is full.
    bound = math.floor(ratio * (hop - 1))
    # The gaps repeat after so many samples of the stream.
    period = ratio.numerator * hop
    if block_length is None or period > 1_000_000:
        return bound
    given = block_length * np.arange(1, period // math.gcd(period, block_length) + 1, dtype=np.int64)
    hops = -(-given * ratio.denominator // ratio.numerator) // hop
    returned = -(-hops * hop * ratio.numerator // ratio.denominator)
    return max(0, int((given - returned).max()))
