"""PyTorch and ONNX Runtime: the same numbers, independent rows, and no torch where none is needed."""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from audio_enh.errors import CheckpointError, UserError
from audio_enh.inference.catalog import DEFAULT_MODEL, ONNX, WEIGHTS, find_checkpoint
from audio_enh.inference.checkpoint import save_checkpoint
from audio_enh.models.demucs import Demucs
from audio_enh.streaming import LiveStream, open_backend
from audio_enh.streaming.backend import exported
from audio_enh.streaming.export import bundled_recordings, export_onnx, run_hops
from audio_enh.streaming.onnx_backend import OnnxBackend
from audio_enh.streaming.torch_backend import StaticStep, TorchBackend
from tests.streaming.models import small_demucs, small_dual_path, small_unet

MODELS = [small_unet, small_dual_path, small_demucs]


def noise(rows: int, samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((rows, samples))).astype(np.float32)


@pytest.fixture(scope="module", params=MODELS)
def pair(request, tmp_path_factory):
    """A model and its exported file."""
    model = request.param()
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export_onnx(model, path, name="small", weights_sha256="0" * 64, check_seconds=1)
    return model, path


def offline(model, audio: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        padded = torch.nn.functional.pad(torch.from_numpy(audio), (0, 2000))
        return model(padded).numpy()


def assert_streams_like_the_model(backend, model, rows: int) -> None:
    audio = noise(rows, 40 * model.hop_length)
    out = run_hops(backend, audio)[:, model.delay :]
    np.testing.assert_allclose(out, offline(model, audio)[:, : out.shape[1]], atol=2e-6)


@pytest.mark.parametrize("rows", [1, 3])
def test_both_give_what_the_model_gives(pair, rows):
    model, path = pair
    assert_streams_like_the_model(TorchBackend(model, rows), model, rows)
    assert_streams_like_the_model(TorchBackend(model, rows, optimize=False), model, rows)
    assert_streams_like_the_model(OnnxBackend(path, rows), model, rows)


@pytest.mark.parametrize("kind", ["torch", "eager", "onnx"])
def test_rows_fall_silent_at_different_times(pair, kind):
    model, path = pair
    hop = model.hop_length
    audio = noise(3, 200 * hop)
    audio[0, : 80 * hop] = audio[1, 30 * hop : 150 * hop + 7] = 0
    backend = OnnxBackend(path, 3) if kind == "onnx" else TorchBackend(model, 3, optimize=kind == "torch")
    out = run_hops(backend, audio)[:, model.delay :]
    np.testing.assert_allclose(out, offline(model, audio)[:, : out.shape[1]], atol=2e-6)


def test_a_file_for_one_stream_runs_several(pair, tmp_path):
    model, _ = pair
    path = tmp_path / "one.onnx"
    export_onnx(model, path, name="small", weights_sha256="0" * 64, batch=1, check_seconds=1)
    assert_streams_like_the_model(OnnxBackend(path, 3), model, 3)
    path = tmp_path / "two.onnx"
    export_onnx(model, path, name="small", weights_sha256="0" * 64, batch=2, check_seconds=1)
    assert_streams_like_the_model(OnnxBackend(path, 4), model, 4)
    with pytest.raises(CheckpointError, match="--batch"):
        OnnxBackend(path, 3)


@pytest.mark.parametrize("kind", ["torch", "eager", "onnx"])
def test_one_row_starts_anew_and_the_others_go_on(pair, kind):
    model, path = pair
    backend = OnnxBackend(path, 3) if kind == "onnx" else TorchBackend(model, 3, optimize=kind == "torch")
    hop = model.hop_length
    audio = noise(3, 60 * hop)
    expected = run_hops(backend, audio)
    late = run_hops(backend, audio[:, 30 * hop :])
    backend.reset()
    out = []
    for i in range(60):
        if i == 30:
            backend.reset(1)
        out.append(backend.step(audio[:, i * hop : (i + 1) * hop]).copy())
    out = np.concatenate(out, axis=1)
    np.testing.assert_allclose(out[[0, 2]], expected[[0, 2]], atol=1e-6)
    np.testing.assert_allclose(out[1, 30 * hop :], late[1], atol=1e-6)


def test_a_model_that_cannot_be_traced_runs_as_it_is():
    model = small_unet()
    step = model.step

    def fickle(audio, state):
        output, state = step(audio, state)
        return (output if torch.jit.is_tracing() else -output), state

    model.step = fickle
    audio = noise(1, 10 * model.hop_length)
    np.testing.assert_allclose(
        run_hops(TorchBackend(model), audio), run_hops(TorchBackend(model, optimize=False), audio), atol=1e-6
    )


@pytest.mark.parametrize("make", MODELS)
def test_a_step_in_place_is_a_step(make):
    # What a CUDA graph captures, here without the graph.
    model = make()
    audio = noise(2, 40 * model.hop_length)
    expected = run_hops(TorchBackend(model, 2, optimize=False), audio)
    with torch.inference_mode():
        static = StaticStep(model, 2)
        places = [state.data_ptr() for state in static.state]
        for _ in range(2):
            out = []
            for hop in torch.from_numpy(audio).split(model.hop_length, dim=1):
                static.input.copy_(hop)
                static.advance()
                out.append(static.output.clone())
            np.testing.assert_allclose(torch.cat(out, dim=1).numpy(), expected, atol=1e-6)
            static.reset(model.init_state(1), None)
        assert [state.data_ptr() for state in static.state] == places


def test_threads_of_the_program_stay_as_they_are():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        backend = TorchBackend(small_unet(), threads=1)
        backend.step(noise(1, 32))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_shipped_file_belongs_to_the_shipped_weights_and_gives_the_same():
    folder = find_checkpoint(DEFAULT_MODEL)
    exported(folder)
    onnx, eager = open_backend(), open_backend(backend="torch")
    assert (onnx.name, eager.name) == ("onnx", "torch")
    _, noisy, _, rate = bundled_recordings()[0]
    assert rate == onnx.sample_rate
    audio = noisy[None, : 3 * rate]
    np.testing.assert_allclose(run_hops(onnx, audio), run_hops(eager, audio), atol=1e-5)
    assert (onnx.delay, onnx.latency, onnx.hop_length) == (eager.delay, eager.latency, eager.hop_length)
    # 30 ms by the definition of the DNS challenge.
    assert onnx.latency / rate <= 0.032


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    model = small_unet()
    folder = tmp_path / "small"
    save_checkpoint(
        folder,
        model,
        {},
        arguments={"hop_length": 32, "window_length": 128, "channels": (4, 6), "rnn_hidden": 8},
    )
    return folder


def test_auto_takes_onnx_only_if_it_is_of_the_same_weights(checkpoint):
    assert open_backend(checkpoint).name == "torch"
    with pytest.raises(CheckpointError, match="audio-enh export"):
        open_backend(checkpoint, backend="onnx")
    shutil.copy(find_checkpoint(DEFAULT_MODEL) / ONNX, checkpoint / ONNX)
    assert open_backend(checkpoint).name == "torch"
    with pytest.raises(CheckpointError, match=f"other weights than {WEIGHTS}"):
        open_backend(checkpoint, backend="onnx")
    (checkpoint / ONNX).write_bytes(b"no model at all")
    assert open_backend(checkpoint).name == "torch"
    with pytest.raises(CheckpointError, match="cannot read"):
        open_backend(checkpoint, backend="onnx")


def test_a_file_of_other_origin_is_refused(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, 4])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 4])
    graph = helper.make_graph([helper.make_node("Identity", ["audio"], ["output"])], "g", [value], [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "other.onnx"
    onnx.save(model, str(path))
    with pytest.raises(CheckpointError, match="audio-enh export"):
        LiveStream(path)
    with pytest.raises(CheckpointError, match="does not exist"):
        LiveStream(tmp_path / "missing.onnx")


def test_what_does_not_fit_is_said():
    with pytest.raises(UserError, match="unknown backend"):
        open_backend(backend="tflite")
    with pytest.raises(UserError, match="not causal"):
        open_backend(Demucs(hidden=4, depth=2))
    with pytest.raises(UserError, match="runs on the CPU"):
        open_backend(backend="onnx", device="cuda")
    with pytest.raises(UserError, match="threads"):
        open_backend(threads=0)


PROGRAM = """
import sys, numpy as np
from audio_enh.streaming import LiveStream
stream = LiveStream(sample_rate=48000, channels=2, block_length=480)
out = stream.process(np.zeros((2, 480), np.float32))
assert stream.backend.name == "onnx" and out.shape == (2, 480)
assert "torch" not in sys.modules and "soundfile" not in sys.modules, "slow to start"
"""


def test_onnx_starts_without_torch_in_under_a_second():
    # Processor time, which is what a start takes on a machine that does nothing else.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
