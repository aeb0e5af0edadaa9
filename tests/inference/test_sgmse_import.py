"""Public SGMSE+ checkpoints: converted whole, averaged weights first, nothing run."""

from __future__ import annotations

import datetime
import os
import pickle
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from audio_enh.errors import CheckpointError
from audio_enh.inference.checkpoint import load_model
from audio_enh.inference.pickles import read_pickle
from audio_enh.inference.sgmse_import import import_sgmse
from tests.diffusion.goldens import arrays, weights

SMALL = {"nf": 8, "ch_mult": (1, 2, 2), "num_res_blocks": 1, "attn_resolutions": (64,)}
OUVE = {"backbone": "ncsnpp", "sde": "ouve", "theta": 1.5, "sigma_min": 0.05, "sigma_max": 0.5, "N": 30}
BRIDGE = {
    "backbone": "ncsnpp_v2", "sde": "sbve", "k": 2.6, "c": 0.4, "N": 50, "loss_type": "data_prediction",
    "c_in": "1", "c_out": "1", "c_skip": "0", "network_scaling": None, "sr": 16000, "pesq_weight": 0.0005,
}  # fmt: skip


def in_their_order(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """By number of module, as a state dict has them; safetensors sorts by name."""
    parts = ("W", "weight", "bias", "GroupNorm_0", "Conv_0", "Dense_0", "GroupNorm_1", "Conv_1", "Conv_2")

    def place(key: str) -> tuple:
        words = key.split(".")
        number = -1 if words[0] == "output_layer" else int(words[1])
        return number, *(parts.index(word) if word in parts else 99 for word in words[2:]), key

    return {key: state[key] for key in sorted(state, key=place)}


def write(path: Path, hyper: dict[str, Any], **more: Any) -> Path:
    """A file of the structure that Lightning and the public code write, the class of their data module included."""
    golden = weights("ncsnpp" if hyper["backbone"] == "ncsnpp" else "ncsnpp_v2")
    shadow = in_their_order(golden)
    module = types.ModuleType("sgmse.data_module")
    module.SpecsDataModule = type("SpecsDataModule", (), {"__module__": "sgmse.data_module"})  # type: ignore[attr-defined]
    sys.modules["sgmse"], sys.modules["sgmse.data_module"] = types.ModuleType("sgmse"), module
    try:
        checkpoint = {
            "epoch": 159,
            "global_step": 58000,
            "pytorch-lightning_version": "2.0.0",
            # Weights training ended with, which are not to be taken.
            "state_dict": {f"dnn.{key}": value + 0.1 for key, value in shadow.items()},
            "callbacks": {"ModelCheckpoint": {"best": torch.tensor(2.9), "dirpath": "/home/x"}},
            "hyper_parameters": {**SMALL, **hyper, "data_module_cls": module.SpecsDataModule},  # type: ignore[attr-defined]
            "ema": {"decay": 0.999, "num_updates": 58000, "shadow_params": list(shadow.values())},
            **more,
        }
        torch.save(checkpoint, path)
    finally:
        del sys.modules["sgmse"], sys.modules["sgmse.data_module"]
    return path


@pytest.mark.parametrize(("hyper", "name", "sign"), [(OUVE, "ncsnpp", -1), (BRIDGE, "ncsnpp_v2", 1)])
def test_answers_as_the_reference_does(tmp_path: Path, hyper: dict[str, Any], name: str, sign: int) -> None:
    imported = import_sgmse(write(tmp_path / "a.ckpt", hyper))
    golden = arrays(name)
    with torch.no_grad():
        out = imported.model.predict(golden["x_t"], golden["y"], golden["t"])
    assert imported.averaged
    assert imported.step == 58000
    assert (out - sign * golden["out"]).abs().max() < 1e-4 * golden["out"].abs().max()


def test_hyper_parameters_are_taken_over(tmp_path: Path) -> None:
    hyper = {
        **OUVE,
        "theta": 2.0,
        "n_fft": 510,
        "hop_length": 160,
        "spec_factor": 0.2,
        "t_eps": 0.02,
        "N": 50,
    }
    arguments = import_sgmse(write(tmp_path / "a.ckpt", hyper)).arguments
    assert arguments["process"] == {
        "name": "ouve",
        "theta": 2.0,
        "sigma_min": 0.05,
        "sigma_max": 0.5,
        "t_eps": 0.02,
    }
    assert arguments["sampler"] == {"name": "pc", "steps": 50, "snr": 0.5}
    assert (arguments["hop_length"], arguments["factor"]) == (160, 0.2)
    bridge = import_sgmse(write(tmp_path / "b.ckpt", BRIDGE)).arguments
    assert bridge["prediction"] == "data"
    assert bridge["sampler"] == {"name": "ode", "steps": 50}


def test_samplers_of_the_file_are_the_models(tmp_path: Path) -> None:
    cases = [(OUVE, "pc", "pc"), (OUVE, "ode", "pf_rk45"), (BRIDGE, "ode", "ode"), (BRIDGE, "sde", "sde")]
    for i, (hyper, theirs, ours) in enumerate(cases):
        imported = import_sgmse(write(tmp_path / f"{i}.ckpt", {**hyper, "sampler_type": theirs}))
        assert imported.model.sampler_name == ours
        assert imported.arguments["sampler"]["steps"] == hyper["N"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("centered", False),
        ("progressive_input", "residual"),
        ("progressive_input", "none"),
        ("progressive_combine", "cat"),
        ("skip_rescale", False),
        ("sampler_type", "sde"),
    ],
)
def test_what_would_compute_something_else_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    """Settings that leave the weights' names and shapes as they are."""
    with pytest.raises(CheckpointError, match=f"{key} is '{value}'; known"):
        import_sgmse(write(tmp_path / "a.ckpt", {**OUVE, key: value}))


def test_factors_around_the_network(tmp_path: Path) -> None:
    """The public code heeds c_out and c_skip, but for denoisers."""
    score = {**BRIDGE, "sde": "ouve", "loss_type": "score_matching", "sigma_data": 0.2}
    every = {"c_in": "edm", "c_out": "edm", "c_skip": "edm"}
    cases = [
        ({**score, "c_in": "edm"}, "edm_input"),
        ({**score, **every}, "edm"),
        ({**score, **every, "loss_type": "denoiser"}, "edm_input"),
        ({**score, "c_out": "edm", "loss_type": "denoiser"}, "none"),
    ]
    for i, (hyper, expected) in enumerate(cases):
        imported = import_sgmse(write(tmp_path / f"{i}.ckpt", hyper))
        assert imported.arguments["preconditioning"] == expected
        assert any("c_out" in told for told in imported.not_taken) == (hyper["loss_type"] == "denoiser")
    with pytest.raises(CheckpointError, match="c_in, c_out, c_skip are 1, edm, 0"):
        import_sgmse(write(tmp_path / "mixed.ckpt", {**score, "c_out": "edm"}))


@pytest.mark.parametrize("place", ["dnn._orig_mod.", "_orig_mod.dnn."])
def test_compiled_models_are_plain_ones(tmp_path: Path, place: str) -> None:
    golden = in_their_order(weights("ncsnpp"))
    path = write(tmp_path / "a.ckpt", OUVE, state_dict={place + key: value for key, value in golden.items()})
    network = import_sgmse(path).model.network
    assert torch.equal(network.output_layer.bias, golden["output_layer.bias"])


def test_without_averages_the_last_weights_are_taken(tmp_path: Path) -> None:
    imported = import_sgmse(write(tmp_path / "a.ckpt", OUVE, ema=None))
    assert not imported.averaged
    expected = weights("ncsnpp")["output_layer.bias"] + 0.1
    torch.testing.assert_close(imported.model.network.output_layer.bias, expected)


def test_old_averages_leave_out_what_is_not_trained(tmp_path: Path) -> None:
    shadow = [v for key, v in in_their_order(weights("ncsnpp")).items() if key != "all_modules.0.W"]
    imported = import_sgmse(write(tmp_path / "a.ckpt", OUVE, ema={"shadow_params": shadow}))
    assert imported.averaged


def test_command_makes_a_checkpoint(tmp_path: Path) -> None:
    source = write(tmp_path / "a.ckpt", OUVE)
    command = [
        str(Path(sys.executable).with_name("audio-enh")),
        "import-checkpoint",
        str(source),
        "-o",
        str(tmp_path / "mine"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    model, config = load_model(tmp_path / "mine", "cpu")
    assert config["info"]["training_steps"] == 58000
    reference = import_sgmse(source).model.state_dict()
    assert all(torch.equal(value, reference[key]) for key, value in model.state_dict().items())
    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
    assert again.stderr.count("\n") == 1


class Attack:
    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("where", ["hyper_parameters", "ema", "extra"])
@pytest.mark.parametrize(("function", "named"), [(os.system, "system"), (eval, "eval"), (getattr, "getattr")])
def test_a_malicious_file_is_refused(tmp_path: Path, where: str, function: Any, named: str) -> None:
    marker = tmp_path / "was-here"
    calls = {
        os.system: (f"touch {marker}",),
        eval: (f"open({str(marker)!r}, 'w')",),
        getattr: ("text", "upper"),
    }
    path = write(tmp_path / "evil.ckpt", OUVE, **{where: {"x": Attack(function, *calls[function])}})
    with pytest.raises(CheckpointError, match=named):
        import_sgmse(path)
    assert not marker.exists()


def test_stand_ins_run_nothing(tmp_path: Path) -> None:
    """Whatever a file calls a class of the training's libraries, nothing is imported for it."""
    assert "sgmse" not in sys.modules
    checkpoint = read_pickle(write(tmp_path / "a.ckpt", OUVE))
    assert "sgmse" not in sys.modules
    stand_in = checkpoint["hyper_parameters"]["data_module_cls"]
    assert stand_in("any", thing=1) is not None


def test_numbers_of_a_configuration_are_read(tmp_path: Path) -> None:
    """NumPy's scalars and Python 2's long, which omegaconf's pickles name, as plain or inert values."""
    extra = {"best": np.float64(2.9), "epoch": np.int64(3), "curve": np.arange(3.0), "kind": int, "set": {1}}
    path = write(tmp_path / "a.ckpt", OUVE, extra=extra, when=datetime.timedelta(seconds=3))
    content = read_pickle(path)
    assert content["extra"]["kind"] is int
    assert content["extra"]["set"] == {1}
    assert import_sgmse(path).averaged
    # As torch.save wrote it under Python 2.
    with zipfile.ZipFile(tmp_path / "old.ckpt", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}q\x00X\x04\x00\x00\x00kindq\x01c__builtin__\nlong\ns.")
        archive.writestr("a/version", "3")
    assert read_pickle(tmp_path / "old.ckpt") == {"kind": int}


def test_what_is_no_such_file_is_told(tmp_path: Path) -> None:
    cases: list[tuple[Path, str]] = [(tmp_path / "none.ckpt", "no such file")]
    text = tmp_path / "text.ckpt"
    text.write_bytes(pickle.dumps({"state_dict": {}}))
    cases.append((text, "not a PyTorch checkpoint"))
    other = tmp_path / "other.ckpt"
    torch.save({"weights": torch.zeros(3)}, other)
    cases.append((other, "state_dict"))
    cases.append((write(tmp_path / "unknown.ckpt", {**OUVE, "sde": "ouvp"}), "ouvp"))
    cases.append((write(tmp_path / "dcunet.ckpt", {**OUVE, "nf": 16}), "all_modules|averaged|fit"))
    broken = tmp_path / "broken.ckpt"
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02garbage")
    cases.append((broken, "cannot read"))
    for path, match in cases:
        with pytest.raises(CheckpointError, match=match):
            import_sgmse(path)
