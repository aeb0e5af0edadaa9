"""Demucs on a live signal, by explicit state, with the numbers of the offline network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from audio_enh.errors import CheckpointError
from audio_enh.models.base import CausalModel, State
from audio_enh.models.demucs import Demucs, reference_arguments
from audio_enh.models.demucs.streaming_conv import conv_step, conv_transpose_step, conv_transpose_tail
from audio_enh.models.level import hold


class CausalDemucs(Demucs, CausalModel):
    """`Demucs` with a one-directional LSTM and no look at the whole signal, offline and live.

    Frame ``t`` of the LSTM sees the samples from ``t * stride ** depth`` on (at the network's rate), as many
    as the receptive field holds, and the ``stride ** depth`` output samples at the same place are final once
    it is there. So a hop is ``stride ** depth / resample`` samples, and after a hop the newest frame that is
    complete lies ``frame_lag`` hops back: the receptive field and the look-ahead of the interpolation
    filters, in whole hops. The filters on the way down add theirs:

        delay = frame_lag * hop_length + 112 * (1 - 1 / resample)

    By the definition of the DNS challenge the frame is ``delay + hop_length``, the stride ``hop_length``. For
    the paper's model that is 596 samples of delay and 69 ms of latency. The paper's 41 ms are a frame of 597
    samples and 64 of look-ahead; what is equal to the offline output needs all 168 that the filters look
    ahead, whole hops add 87, and the definition adds the stride, 256.

    Args:
        time_constant: of the running level, in seconds.
        normalize: ``"running"`` or ``"none"``.

    All other arguments are those of `Demucs`.

    Raises:
        ValueError: also if the hop is not a whole number of samples.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        hidden: int = 48,
        depth: int = 5,
        kernel_size: int = 8,
        stride: int = 4,
        resample: int = 4,
        growth: float = 2.0,
        max_hidden: int = 10_000,
        glu: bool = True,
        normalize: Literal["none", "running"] = "running",
        time_constant: float = 1.0,
        lstm_layers: int = 2,
        rescale: float = 0.1,
    ) -> None:
        if normalize not in ("none", "running"):
            raise ValueError(
                f"a causal model cannot normalise by {normalize!r}: use 'running' or 'none', or Demucs"
            )
        super().__init__(
            sample_rate, hidden, depth, kernel_size, stride, resample, growth, max_hidden, glu, normalize,
            time_constant, causal=True, lstm_layers=lstm_layers, rescale=rescale,
        )  # fmt: skip
        if stride**depth % resample:
            raise ValueError(
                f"stride ** depth = {stride**depth} must be a multiple of resample {resample} to stream"
            )
        self.frame_stride = stride**depth
        self.hop_length = self.frame_stride // resample

        # By how much what is known lags behind the input: in samples upsampled, then in each level's frames.
        lag = sum(stage.zeros * resample // 2**i for i, stage in enumerate(self._upsamplers))
        self._lags = [lag]
        for _ in range(depth):
            lag = math.ceil((lag + kernel_size) / stride) - 1
            self._lags.append(lag)
        self.frame_lag = lag
        filter_lag = sum(stage.zeros * 2 ** (i + 1) for i, stage in enumerate(self._downsamplers)) // resample
        self.delay = self.frame_lag * self.hop_length + filter_lag
        self.latency = self.delay + 2 * self.hop_length
        self._delay_hops = math.ceil(self.delay / self.hop_length)

    @classmethod
    def from_reference(
        cls,
        state_dict: Mapping[str, Tensor],
        kwargs: Mapping[str, Any],
        *,
        normalize: Literal["none", "running"] = "running",
        time_constant: float = 1.0,
    ) -> CausalDemucs:
        """As `Demucs.from_reference`, for a causal model.

        Such weights were trained with the level of whole utterances, which a live signal does not offer:
        ``normalize`` says what takes its place.

        Raises:
            CheckpointError: also if the weights are of a bidirectional model.
        """
        arguments = reference_arguments(kwargs)
        if not arguments.pop("causal"):
            raise CheckpointError("these weights are of a bidirectional model: it runs offline, with Demucs")
        model = cls(**arguments | {"normalize": normalize, "time_constant": time_constant})
        model.load_reference_state_dict(state_dict)
        return model

    def init_state(self, batch: int = 1) -> State:
        """See `CausalModel.init_state`: hops so far, level, and what `_Stream` lists."""
        zeros = next(self.parameters()).new_zeros
        encoders, decoders = self._encoders, self._decoders
        overlap = self.kernel_size - self.stride
        rnn = (batch, self.lstm.num_layers, self.lstm.hidden_size)
        levels = [zeros(batch, 2), zeros(batch, self._delay_hops)] if self.running_level is not None else []
        return _Stream(
            hops=zeros(batch, 1),
            level=levels,
            up=[stage.init_state(batch) for stage in self._upsamplers],
            encoder=[
                zeros(batch, encoder.conv.in_channels, self._lags[i + 1] * self.stride - self._lags[i])
                for i, encoder in enumerate(encoders)
            ],
            skips=[
                zeros(batch, encoder.conv.out_channels, self._frames(i) * self.frame_lag - self._lags[i + 1])
                for i, encoder in enumerate(encoders[:-1])
            ],
            recurrent=[zeros(rnn), zeros(rnn)],
            overlaps=[zeros(batch, decoder.conv.out_channels, overlap) for decoder in decoders],
            down=[stage.init_state(batch) for stage in self._downsamplers],
        ).pack()

    def step(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        """See `CausalModel.step`."""
        samples = audio.shape[-1]
        if samples % self.hop_length:
            raise ValueError(f"a step takes multiples of {self.hop_length} samples, not {samples}")
        if samples == 0:
            return audio, state
        stream = self._unpack(state)
        audio, gain = self._normalize_step(audio, stream)
        x = self._decode_step(self._encode_step(self._upsample_step(audio, stream), stream), stream)
        x = self._downsample_step(x, stream)
        # Counted only as far as it matters: until nothing of what is computed lies before the first sample,
        # and one more, from where `valid_length` grows by a hop with every hop.
        hops = stream.hops + samples // self.hop_length
        stream.hops = hops.clamp(max=self._delay_hops + 1)
        return x if gain is None else x * gain[:, :samples], stream.pack()

    def flush(self, tail: Tensor, state: State) -> Tensor:
        """See `CausalModel.flush`.

        What is left of the signal is padded as `forward` pads it and goes through the rest of the network at
        once: no frame comes after the last, and nothing is heard after the padded signal's end.
        """
        batch, samples = tail.shape
        if samples >= self.hop_length:
            raise ValueError(f"the tail of a stream is shorter than {self.hop_length} samples, not {samples}")
        stream = self._unpack(state)
        if not torch.equal(stream.hops, stream.hops[:1].expand_as(stream.hops)):
            # Streams that did not start together are padded differently.
            each = [self.flush(tail[i : i + 1], tuple(s[i : i + 1] for s in state)) for i in range(batch)]
            return torch.cat(each)
        hops = int(stream.hops[0])
        total = hops * self.hop_length + samples
        if total == 0:
            return tail.new_zeros(batch, self.delay)

        x, gain = self._normalize_step(tail, stream)
        x = self._upsample_step(F.pad(x, (0, self.valid_length(total) - total)), stream, last=True)
        x = self._encode_step(x, stream)
        # In a stream as short as the lag, what has been computed so far lies before its start.
        early = max(0, self.frame_lag - hops)
        stream.skips = [skip[..., early * self._frames(i) :] for i, skip in enumerate(stream.skips)]
        x = self._decode(x[..., early:], stream, last=True)
        x = self._downsample_step(F.pad(x, (early * self.frame_stride, 0)), stream, last=True)
        x = x[:, : samples + self.delay]
        return x if gain is None else x * gain

    def _normalize_step(self, audio: Tensor, stream: _Stream) -> tuple[Tensor, Tensor | None]:
        """``audio`` of unit level, and the level at the output: of the ``delay`` samples before ``audio`` and
        its own."""
        if self.running_level is None:
            return audio, None
        tracked, recent = stream.level
        samples = audio.shape[-1]
        if samples:
            whole_hops = F.pad(audio, (0, -samples % self.hop_length))
            levels, tracked = self.running_level.step(whole_hops, tracked)
            audio = audio / (hold(levels, self.hop_length)[:, :samples] + self.floor)
            recent = torch.cat([recent, levels], dim=-1)
        gain = hold(recent, self.hop_length)
        start = self._delay_hops * self.hop_length
        stream.level = [tracked, recent[:, recent.shape[-1] - self._delay_hops :]]
        return audio, gain[:, start - self.delay : start + samples]

    def _upsample_step(self, x: Tensor, stream: _Stream, last: bool = False) -> Tensor:
        position = stream.hops * self.hop_length
        for i, stage in enumerate(self._upsamplers):
            if last:
                x = F.pad(x, (0, stage.zeros))
            x, stream.up[i] = stage.step(x, stream.up[i])
            position = 2 * (position - stage.zeros)
            x = _silence_before_start(x, position)
        return x

    def _downsample_step(self, x: Tensor, stream: _Stream, last: bool = False) -> Tensor:
        position = (stream.hops - self.frame_lag) * self.frame_stride
        for i, stage in enumerate(self._downsamplers):
            if last:
                x = F.pad(x, (0, 2 * stage.zeros + x.shape[-1] % 2))
            x, stream.down[i] = stage.step(x, stream.down[i])
            position = position / 2 - stage.zeros
            x = _silence_before_start(x, position)
        return x

    def _encode_step(self, x: Tensor, stream: _Stream) -> Tensor:
        """Samples at the network's rate to the last level's frames; the others go to ``stream.skips``."""
        x = x.unsqueeze(1)
        for i, encoder in enumerate(self._encoders):
            x, stream.encoder[i] = conv_step(encoder.conv, x, stream.encoder[i])
            if x.shape[-1]:
                x = encoder.after_conv(x)
            if i < self.depth - 1:
                stream.skips[i] = torch.cat([stream.skips[i], x], dim=-1)
        return x

    def _decode_step(self, frames: Tensor, stream: _Stream) -> Tensor:
        """Frames to final samples, ``frame_stride`` for each.

        The first ``frame_lag`` frames of a stream lie before its start. They must leave no trace: what they
        do to the state is undone. Only that many frames of a call can be such, the rest go through at once.
        """
        early = min(self.frame_lag, frames.shape[-1])
        outputs = []
        for i in range(early):
            before = stream.recurrent + stream.overlaps
            started = stream.hops + i >= self.frame_lag
            output = self._decode(frames[..., i : i + 1], stream)
            outputs.append(output * started)
            after = stream.recurrent + stream.overlaps
            kept = [torch.where(started[..., None], new, old) for new, old in zip(after, before, strict=True)]
            stream.recurrent, stream.overlaps = kept[:2], kept[2:]
        if frames.shape[-1] > early:
            outputs.append(self._decode(frames[..., early:], stream))
        return torch.cat(outputs, dim=-1)

    def _decode(self, frames: Tensor, stream: _Stream, last: bool = False) -> Tensor:
        """LSTM and decoder; after the ``last`` frames, with all that is still in the overlaps."""
        x = frames
        if x.shape[-1]:
            x = x + self._lstm_step(x, stream)
        for i, decoder in enumerate(self._decoders):
            if i > 0:
                skip = stream.skips[-i]
                x, stream.skips[-i] = x + skip[..., : x.shape[-1]], skip[..., x.shape[-1] :]
            if x.shape[-1]:
                x = decoder.before_conv(x)
            x, stream.overlaps[i] = conv_transpose_step(decoder.conv, x, stream.overlaps[i])
            if last:
                x = torch.cat([x, conv_transpose_tail(decoder.conv, stream.overlaps[i])], dim=-1)
            x = decoder.after_conv(x)
        return x.squeeze(1)

    def _lstm_step(self, x: Tensor, stream: _Stream) -> Tensor:
        hidden, cell = (s.transpose(0, 1).contiguous() for s in stream.recurrent)
        if x.shape[-1] > 1:
            output, (hidden, cell) = self.lstm(x.transpose(1, 2), (hidden, cell))
            stream.recurrent = [hidden.transpose(0, 1), cell.transpose(0, 1)]
            return output.transpose(1, 2)
        # One frame, as in a live stream: on the CPU, nn.LSTM rearranges all its weights in every call, which
        # takes twice as long as the rest of the network; its cells do not.
        output, states = x.squeeze(-1), []
        for weights, *state in zip(self.lstm.all_weights, hidden, cell, strict=True):
            states.append(torch.lstm_cell(output, state, *weights))
            output = states[-1][0]
        stream.recurrent = [torch.stack(tensors, dim=1) for tensors in zip(*states, strict=True)]
        return output.unsqueeze(-1)

    def _frames(self, level: int) -> int:
        """Frames of this level of the encoder for each of the last."""
        return self.stride ** (self.depth - 1 - level)

    def _unpack(self, state: State) -> _Stream:
        tensors = iter(state)

        def take(count: int) -> list[Tensor]:
            return list(islice(tensors, count))

        doublings = len(self.upsample)
        return _Stream(
            hops=next(tensors),
            level=take(0 if self.running_level is None else 2),
            up=take(doublings),
            encoder=take(self.depth),
            skips=take(self.depth - 1),
            recurrent=take(2),
            overlaps=take(self.depth),
            down=take(doublings),
        )


@dataclass
class _Stream:
    """The state by name. A step replaces the tensors of its own copy, and never writes into one."""

    hops: Tensor
    """Hops so far, ``(batch, 1)``, counted up to when it no longer matters."""
    level: list[Tensor]
    """State of the level tracker, and the levels of the hops whose output is still due."""
    up: list[Tensor]
    """Past input of the filters on the way up."""
    encoder: list[Tensor]
    """Each level's input that later frames need."""
    skips: list[Tensor]
    """Each level's output that the decoder has not come to yet; the last level's is used at once."""
    recurrent: list[Tensor]
    """Hidden and cell state of the LSTM, ``(batch, layers, units)``."""
    overlaps: list[Tensor]
    """What past frames add to the samples to come, from the bottom up."""
    down: list[Tensor]
    """Past input of the filters on the way down."""

    def pack(self) -> State:
        return (
            self.hops, *self.level, *self.up, *self.encoder, *self.skips, *self.recurrent, *self.overlaps,
            *self.down,
        )  # fmt: skip


def _silence_before_start(x: Tensor, position: Tensor) -> Tensor:
    """Zero what lies before the first sample of a stream, as offline there is nothing.

    Args:
        x: ``(batch, samples)``.
        position: ``(batch, 1)``, where its first sample lies.
    """
    index = torch.arange(x.shape[-1], device=x.device, dtype=position.dtype)
    return x * (position + index >= 0)
