"""CausalDemucs: streamed output is the offline output, sample for sample, whatever the cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from audio_enh.models.demucs import Demucs
from audio_enh.models.demucs.causal import CausalDemucs
from audio_enh.models.stream_runner import StreamRunner

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "no resampling": {"depth": 3, "resample": 1},
    "resample 2": {"depth": 3, "resample": 2},
    "resample 4": {"depth": 3, "resample": 4},
    # The paper's geometry: hop 256, delay 596.
    "paper": {"depth": 5, "resample": 4},
    # A delay of more hops than the U-Net is deep; the padded length is not exact at the network's rate.
    "stride 2": {"depth": 4, "stride": 2, "resample": 4},
    "hop of one sample": {"depth": 1, "resample": 4},
    # No overlap between frames, and no delay.
    "kernel = stride": {"depth": 3, "kernel_size": 4, "resample": 1},
    # The receptive field is two whole hops: a stream of whole hops needs no padding.
    "exact fit": {"depth": 1, "resample": 1},
    "odd kernel": {"depth": 2, "kernel_size": 7, "stride": 3, "resample": 1, "glu": False},
    "three layers": {"depth": 2, "resample": 2, "lstm_layers": 3},
}


def build(name: str, normalize: str = "running") -> CausalDemucs:
    torch.manual_seed(1)
    arguments = CONFIGURATIONS[name] | {"normalize": normalize}
    model = CausalDemucs(hidden=4, growth=1.5, time_constant=0.3, **arguments).eval()
    with torch.no_grad():
        # Weights as they come are so small that the output is mostly bias: make the input matter.
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


@pytest.fixture(params=CONFIGURATIONS)
def model(request: pytest.FixtureRequest) -> CausalDemucs:
    return build(request.param)


def noise(samples: int, batch: int = 1, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


def stream(runner: StreamRunner, audio: Tensor, blocks: list[int] | int) -> Tensor:
    """``audio`` through ``runner`` in blocks of these sizes, the rest in one."""
    if isinstance(blocks, int):
        pieces = list(audio.split(blocks, dim=-1))
    else:
        pieces = list(audio.tensor_split(torch.tensor(blocks, dtype=torch.long).cumsum(0), dim=-1))
    return torch.cat([*map(runner.process, pieces), runner.flush()], dim=-1)


@torch.no_grad()
def assert_streams_as_offline(model: CausalDemucs, audio: Tensor, blocks: list[int] | int) -> None:
    offline = model(audio)
    streamed = stream(StreamRunner(model, audio.shape[0]), audio, blocks)
    assert streamed.shape == offline.shape
    scale = offline.abs().max().item() if offline.numel() else 1
    torch.testing.assert_close(streamed, offline, atol=min(1e-5, 1e-5 * scale), rtol=0)


@pytest.mark.parametrize("normalize", ["none", "running"])
def test_every_length_around_the_borders(model: CausalDemucs, normalize: str) -> None:
    # Padding, flush and warm-up change with the length relative to the hop and the delay.
    hop, delay = model.hop_length, model.delay
    lengths = {0, 1, 2, hop - 1, hop, hop + 1, 2 * hop - 1, 2 * hop, 3 * hop + hop // 2}
    lengths |= {
        delay - 1,
        delay,
        delay + 1,
        delay + hop - 1,
        delay + hop,
        delay + 2 * hop,
        delay + 4 * hop + 7,
    }
    for length in sorted(n for n in lengths if n >= 0):
        assert_streams_as_offline(model, noise(length, batch=2), hop)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(CONFIGURATIONS)),
    normalize=st.sampled_from(["none", "running"]),
    samples=st.integers(0, 3000),
    blocks=st.lists(st.integers(0, 900), max_size=12),
    batch=st.integers(1, 3),
)
def test_any_blocks(name: str, normalize: str, samples: int, blocks: list[int], batch: int) -> None:
    assert_streams_as_offline(build(name, normalize), noise(samples, batch), blocks)


@pytest.mark.parametrize("block", [1, 160, 777, 16000])
def test_seconds_of_audio_in_small_and_large_blocks(block: int) -> None:
    assert_streams_as_offline(build("resample 4"), noise(20000 if block > 1 else 2000), block)


def test_speech_after_two_seconds_of_silence() -> None:
    model = build("paper")
    audio = torch.cat([torch.zeros(1, 32000), noise(16000)], dim=-1)
    assert_streams_as_offline(model, audio, 480)


def test_the_level_forgets_silence() -> None:
    # Two seconds of silence, then sound: with a time constant of 0.3 s the output is soon what it is without
    # the silence. A cumulative mean would be sqrt(1.5 / 3.5) of it at the end.
    model = build("resample 2")
    sound = noise(24000)
    with torch.no_grad():
        alone = model(sound)
        after_silence = model(torch.cat([torch.zeros(1, 32000), sound], dim=-1))[:, 32000:]
    late = slice(16000, None)
    error = (after_silence[:, late] - alone[:, late]).norm() / alone[:, late].norm()
    assert error < 0.02


def test_a_runner_serves_one_stream_after_another(model: CausalDemucs) -> None:
    runner = StreamRunner(model, batch=2)
    for seed in range(2):
        audio = noise(model.delay + 3 * model.hop_length + 1, batch=2, seed=seed)
        streamed = stream(runner, audio, 100)
        torch.testing.assert_close(streamed, model(audio), atol=1e-5, rtol=0)
    runner.process(audio)
    runner.reset()
    torch.testing.assert_close(stream(runner, audio, 100), model(audio), atol=1e-5, rtol=0)


@torch.no_grad()
def test_new_input_never_changes_past_output(model: CausalDemucs) -> None:
    # A sample that has come out of a live stream depends on nothing that came in later.
    hop, delay = model.hop_length, model.delay
    base = noise(delay + 12 * hop + 3)
    offline = model(base)
    for cut in (0, hop, delay + hop, delay + 6 * hop):
        cut -= cut % hop
        changed = torch.cat([base[:, :cut], noise(base.shape[-1] - cut, seed=5)], dim=-1)
        final = max(0, cut - delay)
        torch.testing.assert_close(model(changed)[:, :final], offline[:, :final], atol=1e-6, rtol=0)
        # ... and longer input changes no more than that either, though it is padded differently.
        shorter = model(base[:, : cut + 1])
        torch.testing.assert_close(shorter[:, :final], offline[:, :final], atol=1e-6, rtol=0)
        # The bound is not idle: output soon after does depend on it. (Where interpolation filters look ahead,
        # their faded ends make the first dependence too small to see.)
        later = slice(final, final + (2 * hop + 1 if model.resample == 1 else delay + hop))
        assert not torch.equal(model(changed)[:, later], offline[:, later])


@torch.no_grad()
def test_delay_is_what_step_lags(model: CausalDemucs) -> None:
    audio = noise(model.delay + 8 * model.hop_length)
    audio = audio[:, : audio.shape[-1] // model.hop_length * model.hop_length]
    output, _ = model.step(audio, model.init_state())
    assert output.shape == audio.shape
    aligned = output[:, model.delay :]
    torch.testing.assert_close(aligned, model(audio)[:, : aligned.shape[-1]], atol=1e-5, rtol=0)


def test_the_papers_latency() -> None:
    model = build("paper")
    assert (model.hop_length, model.delay, model.latency) == (256, 2 * 256 + 84, 596 + 2 * 256)
    assert build("kernel = stride").delay == 0


@torch.no_grad()
def test_state_is_flat_float_batch_first_and_left_alone(model: CausalDemucs) -> None:
    state = model.init_state(3)
    assert all(tensor.shape[0] == 3 and tensor.is_floating_point() for tensor in state)
    audio = noise(model.hop_length, batch=3)
    for _ in range(5):
        before = [tensor.clone() for tensor in state]
        _, after = model.step(audio, state)
        assert all(torch.equal(a, b) for a, b in zip(before, state, strict=True))
        assert [t.shape for t in after] == [t.shape for t in state]  # fixed shapes: inputs of a graph
        assert model.step(audio[:, :0], state)[0].shape == (3, 0)
        state = after


@torch.no_grad()
def test_streams_of_a_batch_may_start_apart(model: CausalDemucs) -> None:
    # A server that joins a new stream to a running one: each must be as if alone.
    hop = model.hop_length
    tail = min(1, hop - 1)
    old, new = noise(9 * hop + tail, seed=1), noise(3 * hop + tail, seed=2)
    head, old_state = model.step(old[:, : 6 * hop], model.init_state())
    state = tuple(torch.cat(pair) for pair in zip(old_state, model.init_state(), strict=True))
    tails = torch.cat([old[:, 6 * hop :], new])
    outputs = []
    for block in tails[:, : 3 * hop].split(hop, dim=-1):
        output, state = model.step(block, state)
        outputs.append(output)
    outputs.append(model.flush(tails[:, 3 * hop :], state))
    both = torch.cat(outputs, dim=-1)
    torch.testing.assert_close(
        torch.cat([head, both[:1]], -1)[:, model.delay :], model(old), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(both[1:, model.delay :], model(new), atol=1e-5, rtol=0)


@torch.no_grad()
def test_same_network_as_offline_demucs() -> None:
    causal = build("resample 2")
    offline = Demucs(hidden=4, growth=1.5, depth=3, resample=2, normalize="running", time_constant=0.3).eval()
    offline.load_state_dict(causal.state_dict())
    audio = noise(3000)
    assert torch.equal(offline(audio), causal(audio))


@torch.no_grad()
def test_reference_weights_run_live() -> None:
    source = Demucs(hidden=4, depth=3, resample=2, normalize="utterance")
    names = {
        "encoder": {"conv": "0", "pointwise": "2"},
        "decoder": {"pointwise": "0", "conv": "2"},
    }
    weights = {}
    for name, tensor in source.state_dict().items():
        part, level, *rest = name.split(".")
        if part == "lstm":
            weights[f"lstm.{name}"] = tensor
        else:
            weights[f"{part}.{level}.{names[part][rest[0]]}.{rest[1]}"] = tensor
    model = CausalDemucs.from_reference(weights, {"hidden": 4, "depth": 3, "resample": 2}).eval()
    assert model.normalize == "running"
    assert_streams_as_offline(model, noise(2000), 333)


def test_what_cannot_stream_is_told() -> None:
    with pytest.raises(ValueError, match="cannot normalise by 'utterance'"):
        CausalDemucs(normalize="utterance")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="multiple of resample"):
        CausalDemucs(hidden=2, depth=2, stride=3, resample=2)
    model = build("resample 4")
    with pytest.raises(ValueError, match="multiples of 16 samples, not 17"):
        model.step(torch.zeros(1, 17), model.init_state())
    with pytest.raises(ValueError, match="shorter than 16"):
        model.flush(torch.zeros(1, 16), model.init_state())


@torch.no_grad()
def test_the_papers_model_in_full() -> None:
    torch.manual_seed(0)
    assert_streams_as_offline(CausalDemucs().eval(), noise(32000), [1, 5000, 3, 256, 255, 257, 9000])


@pytest.mark.filterwarnings("ignore")  # of the tracer, about sizes that are fixed on purpose
def test_step_exports_to_onnx(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model = build("paper")
    state = model.init_state()
    names = [f"state_{i}" for i in range(len(state))]

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, audio: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            output, after = self.model.step(audio, state)
            return (output, *after)

    audio = noise(20 * model.hop_length)
    blocks = audio.split(model.hop_length, dim=-1)
    torch.onnx.export(
        Step(), (blocks[0], *state), str(tmp_path / "step.onnx"), input_names=["audio", *names],
        output_names=["output", *(f"next_{name}" for name in names)], dynamo=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(tmp_path / "step.onnx")
    tensors, outputs = [tensor.numpy() for tensor in state], []
    for block in blocks:
        output, *tensors = session.run(
            None, {"audio": block.numpy(), **dict(zip(names, tensors, strict=True))}
        )
        outputs.append(torch.from_numpy(output))
    aligned = torch.cat(outputs, dim=-1)[:, model.delay :]
    torch.testing.assert_close(aligned, model(audio)[:, : aligned.shape[-1]], atol=1e-5, rtol=0)
