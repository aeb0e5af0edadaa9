"""StreamRunner against a model whose every sample is known: a pure delay with a one-tap memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from audio_enh.models.base import CausalModel, State
from audio_enh.models.stream_runner import StreamRunner


class Smoother(CausalModel):
    """``y[n] = x[n] + x[n - 1] / 2``, given out five samples late in hops of four."""

    sample_rate = 16000
    hop_length = 4
    delay = 5
    latency = 13

    def forward(self, audio: Tensor) -> Tensor:
        return audio + F.pad(audio, (1, 0))[:, :-1] / 2

    def init_state(self, batch: int = 1) -> State:
        return torch.zeros(batch, 1), torch.zeros(batch, self.delay)

    def step(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        assert audio.shape[-1] % self.hop_length == 0
        assert audio.shape[-1] > 0
        return self._run(audio, state)

    def flush(self, tail: Tensor, state: State) -> Tensor:
        assert tail.shape[-1] < self.hop_length
        output, (_, line) = self._run(tail, state)
        return torch.cat([output, line], dim=-1)

    def _run(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        last, line = state
        signal = torch.cat([last, audio], dim=-1)
        line = torch.cat([line, signal[:, 1:] + signal[:, :-1] / 2], dim=-1)
        n = audio.shape[-1]
        return line[:, :n], (signal[:, -1:], line[:, n:])


@pytest.mark.parametrize("block", [1, 3, 4, 5, 64, 1000])
@pytest.mark.parametrize("samples", [0, 1, 3, 4, 5, 9, 200])
def test_output_equals_forward(samples: int, block: int) -> None:
    model = Smoother()
    audio = torch.randn(2, samples)
    runner = StreamRunner(model, batch=2)
    for _ in range(2):  # the second stream starts from nothing again
        streamed = torch.cat([*map(runner.process, audio.split(block, dim=-1)), runner.flush()], dim=-1)
        torch.testing.assert_close(streamed, model(audio) if samples else audio)


def test_reset_forgets_a_stream_cut_short() -> None:
    model = Smoother()
    runner = StreamRunner(model)
    runner.process(torch.ones(1, 7))
    runner.reset()
    audio = torch.randn(1, 10)
    torch.testing.assert_close(torch.cat([runner.process(audio), runner.flush()], -1), model(audio))


def test_the_callers_buffer_may_be_reused() -> None:
    model = Smoother()
    audio = torch.randn(1, 30)
    runner, buffer, out = StreamRunner(model), torch.empty(1, 3), []
    for block in audio.split(3, dim=-1):
        buffer.copy_(block)
        out.append(runner.process(buffer))
    torch.testing.assert_close(torch.cat([*out, runner.flush()], -1), model(audio))


def test_wrong_shapes_are_told() -> None:
    with pytest.raises(ValueError, match=r"\(2, samples\), not \(1, 4\)"):
        StreamRunner(Smoother(), batch=2).process(torch.zeros(1, 4))
    with pytest.raises(ValueError, match="at least 1"):
        StreamRunner(Smoother(), batch=0)
