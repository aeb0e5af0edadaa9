"""Checkpoints: a round trip is exact, and every way to be wrong is one line that names the fault."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import load_file, save_file

import audio_enh
from audio_enh.errors import CheckpointError, DeviceError, UserError
from audio_enh.inference import catalog, checkpoint
from audio_enh.inference.checkpoint import available, load_model, save_checkpoint
from audio_enh.inference.devices import resolve_device
from audio_enh.models.causal_unet import CausalUNet

ARGUMENTS = {"hop_length": 32, "window_length": 64, "channels": (4, 4), "rnn_hidden": 8, "rnn_layers": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of a tiny model, with a model card."""
    torch.manual_seed(0)
    target = tmp_path / "tiny"
    save_checkpoint(target, CausalUNet(**ARGUMENTS).eval(), {"licence": "CC0-1.0"}, arguments=ARGUMENTS)
    (target / "README.md").write_text("# Card\n")
    return target


def change_config(folder: Path, change) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    change(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def change_weights(folder: Path, change) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")
    change_config(folder, lambda config: config.pop("sha256"))


def refusal(folder: Path | str) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_model(folder, "cpu")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_others_may_read_what_they_may_read_elsewhere(folder: Path) -> None:
    modes = {
        name: (folder / name).stat().st_mode for name in ("model.safetensors", "config.yaml", "README.md")
    }
    assert len(set(modes.values())) == 1, modes


def test_what_is_saved_is_what_is_loaded(folder: Path) -> None:
    torch.manual_seed(0)
    original = CausalUNet(**ARGUMENTS).eval()
    model, config = load_model(folder, "cpu")
    assert isinstance(model, CausalUNet)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    audio = torch.randn(2, 1000)
    torch.testing.assert_close(model(audio), original(audio), atol=0, rtol=0)
    info = config["info"]
    assert info["name"] == "tiny"
    assert info["licence"] == "CC0-1.0"
    assert info["sample_rate"] == 16000
    assert info["latency_ms"] == 6.0  # 3 hops of 32 samples
    assert info["parameters"] == sum(p.numel() for p in original.parameters())


def test_defaults_are_written_out(folder: Path) -> None:
    saved = yaml.safe_load((folder / "config.yaml").read_text())["model"]
    assert saved["compression"] == 0.3
    assert saved["channels"] == [4, 4]


def test_saving_again_keeps_the_card_and_leaves_nothing_else(folder: Path) -> None:
    save_checkpoint(folder, CausalUNet(**ARGUMENTS), {}, arguments=ARGUMENTS)
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.yaml", "model.safetensors"]
    load_model(folder, "cpu")


def test_half_precision_on_disk_is_single_in_memory(folder: Path, tmp_path: Path) -> None:
    model, _ = load_model(folder, "cpu")
    half = tmp_path / "half"
    save_checkpoint(half, model, {}, arguments=ARGUMENTS, dtype=torch.float16)
    stored = load_file(half / "model.safetensors")
    assert {v.dtype for v in stored.values() if v.is_floating_point()} == {torch.float16}
    again, _ = load_model(half, "cpu")
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    for mine, other in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-3, rtol=1e-3)


def test_arguments_that_do_not_give_the_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="of another shape"):
        save_checkpoint(tmp_path / "x", CausalUNet(**ARGUMENTS), {}, arguments={**ARGUMENTS, "rnn_hidden": 9})
    with pytest.raises(CheckpointError, match="unknown: hidden"):
        save_checkpoint(tmp_path / "x", CausalUNet(**ARGUMENTS), {}, arguments={**ARGUMENTS, "hidden": 9})
    with pytest.raises(CheckpointError, match=r"scores\.pesq is a Tensor"):
        save_checkpoint(
            tmp_path / "x",
            CausalUNet(**ARGUMENTS),
            {"scores": {"pesq": torch.tensor(2.0)}},
            arguments=ARGUMENTS,
        )
    assert not (tmp_path / "x").exists()


def test_a_class_that_is_not_ours_is_neither_saved_nor_loaded(fir, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="unknown model class"):
        save_checkpoint(tmp_path / "x", fir(), {}, arguments={})
    for target in ("os.system", "torch.nn.Linear", "audio_enh.models.causal_unet.Bottleneck", None, ["a"]):
        change_config(folder, lambda config, target=target: config["model"].update(_target_=target))
        assert "unknown model class" in refusal(folder)


def test_yaml_cannot_run_code(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (folder / "config.yaml").write_text(f"model: !!python/object/apply:os.mkdir ['{marker}']\n")
    assert "not valid YAML" in refusal(folder)
    assert not marker.exists()


def test_arguments_are_checked_by_name(folder: Path) -> None:
    change_config(folder, lambda config: config["model"].update(hiden=3))
    assert "unknown: hiden" in refusal(folder)


def test_arguments_are_checked_by_the_model(folder: Path) -> None:
    change_config(folder, lambda config: config["model"].update(window_length=66))
    assert "refuses its arguments" in refusal(folder)
    change_config(folder, lambda config: config["model"].update(window_length="wide"))
    assert "refuses its arguments" in refusal(folder)


def test_missing_unknown_and_misshapen_weights_are_named(folder: Path) -> None:
    def damage(state: dict[str, torch.Tensor]) -> None:
        state["surplus"] = state.pop("input_skip.weight")
        state["to_mask.bias"] = torch.zeros(3)

    change_weights(folder, damage)
    message = refusal(folder)
    assert "missing: input_skip.weight" in message
    assert "unknown: surplus" in message
    assert "to_mask.bias is (3,), not (2,)" in message


def test_weights_of_a_diverged_training_are_refused(folder: Path) -> None:
    change_weights(folder, lambda state: state["to_mask.bias"].fill_(float("nan")))
    assert "to_mask.bias holds NaN" in refusal(folder)


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("kept", [0, 4, 100, 5000])
def test_truncated_weights(folder: Path, kept: int, hashed: bool) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    if not hashed:
        change_config(folder, lambda config: config.pop("sha256"))
    assert str(weights) in refusal(folder)


def test_one_changed_bit_is_found(folder: Path) -> None:
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    assert "SHA-256" in refusal(folder)


@pytest.mark.parametrize("file", ["config.yaml", "model.safetensors"])
def test_incomplete_folders_say_what_is_missing(folder: Path, file: str) -> None:
    (folder / file).unlink()
    assert f"has no {file}" in refusal(folder)


@pytest.mark.parametrize("text", ["", "[]", "model: 3", "{", "model: {_target_: x}\ninfo: 3", "\x00\xff"])
def test_configurations_that_are_none(folder: Path, text: str) -> None:
    (folder / "config.yaml").write_bytes(text.encode("latin-1"))
    assert "config.yaml" in refusal(folder)


def test_a_file_is_not_a_checkpoint(folder: Path) -> None:
    assert "give the folder" in refusal(folder / "model.safetensors")


@pytest.fixture
def shipped(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set of installed checkpoints: `tiny` alone."""
    root = tmp_path / "shipped"
    shutil.copytree(folder, root / "tiny")
    monkeypatch.setattr(catalog, "_shipped_folder", lambda: root)
    return root


def test_names_come_before_folders(shipped: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "work" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    load_model("tiny", "cpu")
    assert "is not a checkpoint" in refusal("./tiny")


def test_an_unknown_name_lists_what_there_is(shipped: Path) -> None:
    message = refusal("tinny")
    assert "did you mean tiny?" in message
    assert "installed: tiny" in message


def test_available_tells_size_and_info(shipped: Path) -> None:
    (found,) = available()
    assert found.name == "tiny"
    assert found.info["licence"] == "CC0-1.0"
    assert found.size == sum(file.stat().st_size for file in found.path.iterdir())


def test_every_shipped_checkpoint_loads_and_runs() -> None:
    for item in available():
        out = audio_enh.load(item.name, "cpu").enhance(np.zeros((1, 16000), np.float32), 16000)
        assert out.shape == (1, 16000)


class TestHub:
    @pytest.fixture
    def asked(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> list[tuple[str, str, str | None]]:
        """What was asked of a stand-in for the Hub, which has the files of ``folder``; they go to ``tmp_path``."""
        questions = []

        def download(repo: str, file: str, revision: str | None = None) -> str:
            questions.append((repo, file, revision))
            source = folder / Path(file).name
            if not source.is_file():
                raise EntryNotFoundError("404 Client Error")
            (tmp_path / "cache").mkdir(exist_ok=True)
            return str(shutil.copy(source, tmp_path / "cache"))

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        return questions

    def test_a_folder_of_a_repository(self, asked: list[tuple[str, str, str | None]]) -> None:
        load_model("hf://someone/models@v2/small/tiny", "cpu")
        assert asked == [
            ("someone/models", "small/tiny/config.yaml", "v2"),
            ("someone/models", "small/tiny/model.safetensors", "v2"),
            ("someone/models", "small/tiny/model.onnx", "v2"),
        ]
        load_model("hf://someone/tiny", "cpu")
        assert asked[3] == ("someone/tiny", "config.yaml", None)

    @pytest.mark.usefixtures("asked")
    def test_the_onnx_graph_comes_where_there_is_one(self, folder: Path) -> None:
        assert not (catalog.find_checkpoint("hf://someone/tiny") / "model.onnx").exists()
        (folder / "model.onnx").write_bytes(b"a graph")
        assert (catalog.find_checkpoint("hf://someone/tiny") / "model.onnx").read_bytes() == b"a graph"

    @pytest.mark.usefixtures("asked")
    @pytest.mark.parametrize("file", ["config.yaml", "model.safetensors"])
    def test_a_repository_that_is_no_checkpoint(self, folder: Path, file: str) -> None:
        (folder / file).unlink()
        assert f"hf://someone/tiny is not a checkpoint: it has no {file}" in refusal("hf://someone/tiny")

    def test_out_of_reach(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        assert "cannot fetch" in refusal("hf://someone/not-there")

    @pytest.mark.parametrize("name", ["hf://", "hf://user", "hf://user//x", "hf://us er/re po"])
    def test_names_that_are_none(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        refusal(name)


class TestDevices:
    def test_auto_is_a_device_that_is_there(self) -> None:
        torch.zeros(1, device=resolve_device("auto"))

    @pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:0", "", "cuda:-1", "meta"])
    def test_unknown_names(self, name: str) -> None:
        with pytest.raises(DeviceError, match="use auto, cpu, cuda"):
            resolve_device(name)

    def test_absent_devices(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        assert resolve_device("auto") == torch.device("cpu")
        for name in ("cuda", "cuda:0", "mps"):
            with pytest.raises(DeviceError, match="use --device cpu or auto"):
                resolve_device(name)

    def test_a_card_too_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        assert resolve_device("cuda:0") == torch.device("cuda:0")
        with pytest.raises(DeviceError, match="sees 1"):
            resolve_device("cuda:1")


def test_errors_are_user_errors() -> None:
    assert issubclass(CheckpointError, UserError)
    assert checkpoint.DEFAULT_MODEL == catalog.DEFAULT_MODEL


def test_scores_from_numpy_are_written_as_numbers(tmp_path: Path) -> None:
    info = {"scores": {"pesq": np.float64(2.5)}}
    save_checkpoint(tmp_path / "x", CausalUNet(**ARGUMENTS), info, arguments=ARGUMENTS)
    assert catalog.read_config(tmp_path / "x")["info"]["scores"] == {"pesq": 2.5}
