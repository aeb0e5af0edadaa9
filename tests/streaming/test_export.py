"""``audio-enh export`` and what it writes."""

import json

import numpy as np
import pytest
import torch

from audio_enh.cli import run
from audio_enh.digest import file_sha256
from audio_enh.errors import AudioFileError, CheckpointError
from audio_enh.inference.catalog import ONNX, WEIGHTS, find_checkpoint
from audio_enh.inference.checkpoint import save_checkpoint
from audio_enh.models.causal_unet import CausalUNet
from audio_enh.streaming import open_backend
from audio_enh.streaming.export import export_onnx, fold_normalization
from audio_enh.streaming.onnx_backend import OnnxBackend, read_metadata
from tests.inference.conftest import FirModel
from tests.streaming.models import small_demucs, small_dual_path, small_unet

ARGUMENTS = {"hop_length": 160, "window_length": 512, "channels": (4, 6), "rnn_hidden": 8}


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    folder = tmp_path / "tiny"
    save_checkpoint(folder, CausalUNet(**ARGUMENTS).eval(), {}, arguments=ARGUMENTS)
    return folder


@pytest.mark.parametrize("make", [small_unet, small_demucs])
def test_folding_changes_no_numbers_and_not_the_model(make):
    model = make()
    audio = 0.1 * torch.randn(2, 2000)
    with torch.no_grad():
        expected = model(audio)
        folded = fold_normalization(model)
        torch.testing.assert_close(folded(audio), expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(model(audio), expected, atol=0, rtol=0)
    kinds = [type(module).__name__ for module in folded.modules()]
    assert "BatchNorm2d" not in kinds


def test_the_file_tells_what_one_must_know(tmp_path):
    import onnx

    path = tmp_path / "folder" / "model.onnx"
    model = small_unet()
    report = export_onnx(model, path, name="small", weights_sha256="ab", check_seconds=1)
    assert report.max_error < 1e-5
    assert report.error_db < -90
    assert report.size == path.stat().st_size
    metadata = read_metadata(path)
    assert metadata.model == "small"
    assert metadata.weights_sha256 == "ab"
    assert metadata.quantized == ""
    for field in ("sample_rate", "hop_length", "delay", "latency"):
        assert getattr(metadata, field) == getattr(model, field)
    graph = onnx.load(str(path))
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
    # Nothing of the machine it was made on.
    assert b"/site-packages/" not in path.read_bytes()
    assert b"causal_unet.py" not in path.read_bytes()
    names = [value.name for value in graph.graph.input]
    assert names == ["audio", *(f"state_{i}" for i in range(len(model.init_state())))]


def test_a_wrong_file_is_not_written(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the old one")
    wrong = OnnxBackend.step
    monkeypatch.setattr(OnnxBackend, "step", lambda self, audio: 1.01 * wrong(self, audio))
    with pytest.raises(CheckpointError, match="differs from PyTorch"):
        export_onnx(small_unet(), path, name="small", weights_sha256="", check_seconds=1)
    assert path.read_bytes() == b"the old one"
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def test_what_cannot_be_exported_is_said(tmp_path):
    class Warm(FirModel):
        def init_state(self, batch=1):
            return tuple(state + 1 for state in super().init_state(batch))

    class Odd(FirModel):
        def step(self, audio, state):
            return torch.special.bessel_j0(audio), state

    with pytest.raises(CheckpointError, match="start from zero"):
        export_onnx(Warm(), tmp_path / "x.onnx", name="warm", weights_sha256="")
    with pytest.raises(CheckpointError, match="odd cannot be exported"):
        export_onnx(Odd(), tmp_path / "x.onnx", name="odd", weights_sha256="")
    with pytest.raises(AudioFileError, match="is a folder"):
        export_onnx(FirModel(), tmp_path, name="fir", weights_sha256="")
    assert not list(tmp_path.iterdir())


def test_the_command(checkpoint, capsys):
    assert run(["export", str(checkpoint)]) == 0
    out = capsys.readouterr().out
    assert "hop 10 ms, latency 30 ms, any number of streams" in out
    assert "compared with PyTorch on 26.6 s" in out
    # Live finds it.
    assert open_backend(checkpoint).name == "onnx"
    assert read_metadata(checkpoint / "model.onnx").weights_sha256 == file_sha256(
        checkpoint / "model.safetensors"
    )
    assert run(["models", "--json"]) == 0


def test_weights_that_are_float16_are_stored_so(tmp_path):
    """Half the file, and the very same output."""
    sizes, errors = [], []
    for half in (False, True):
        torch.manual_seed(0)
        model = CausalUNet(hop_length=160, window_length=512, channels=(4, 6), rnn_hidden=64).eval()
        for parameter in model.parameters():
            parameter.data = parameter.data.half().float() * (1 if half else 1 + 2**-12)
        path = tmp_path / f"{half}.onnx"
        report = export_onnx(model, path, name="unet", weights_sha256="", check_seconds=1)
        sizes.append(report.size)
        errors.append(report.max_error)
    assert sizes[1] < 0.6 * sizes[0]
    assert max(errors) < 1e-6


@pytest.mark.parametrize("make", [small_unet, small_dual_path])
def test_quantized_weights_stay_close(make, tmp_path):
    path = tmp_path / "int8.onnx"
    report = export_onnx(make(), path, name="small", weights_sha256="", quantize=True, check_seconds=1)
    assert read_metadata(path).quantized == "int8"
    # Rounded, so not the same; but no other sound.
    assert 1e-6 < report.max_error < 0.05
    assert report.error_db < -20


@pytest.mark.slow
def test_quantization_says_what_it_costs(checkpoint, capsys):
    pytest.importorskip("pesq")
    assert run(["export", str(checkpoint), "--quantize", "int8"]) == 0
    out = capsys.readouterr().out
    assert "PESQ-WB" in out
    assert "difference" in out
    path = checkpoint / "model-int8.onnx"
    assert read_metadata(path).quantized == "int8"
    # Not taken unasked: the numbers are not those of the weights.
    assert open_backend(checkpoint).name == "torch"
    audio = (0.1 * np.random.default_rng(0).standard_normal((1, 160))).astype(np.float32)
    assert np.isfinite(OnnxBackend(path).step(audio)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "0"], "--batch 0: a number of streams, or dynamic"),
        (["--quantize", "int4"], "--quantize int4: there is int8"),
        (["no-such-model"], "no checkpoint 'no-such-model'"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, message, capsys):
    assert run(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_models_counts_the_exported_file(capsys):
    assert run(["models", "--json"]) == 0
    (shipped,) = [each for each in json.loads(capsys.readouterr().out) if each["name"] == "causal-unet-16k"]
    folder = find_checkpoint("causal-unet-16k")
    assert shipped["bytes"] > sum((folder / name).stat().st_size for name in (WEIGHTS, ONNX))
