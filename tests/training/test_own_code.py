"""The worked example of docs/own_model.md, run; whose code is found and blamed; checks before the first step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from omegaconf import OmegaConf
from torch import Tensor, nn

import audio_enh
from audio_enh import registry
from audio_enh.errors import CheckpointError, UserError
from audio_enh.eval import select_metrics
from audio_enh.inference.checkpoint import load_model, save_checkpoint
from audio_enh.losses import WaveformL1Loss, WeightedLoss
from audio_enh.models.base import EnhancementModel
from audio_enh.models.diffusion import DiffusionEnhancer
from audio_enh.training.checks import check_parts
from audio_enh.training.supervised import Supervised

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_model"
SAMPLES = Path(audio_enh.__file__).parent / "samples"


def run(
    *words: object, code: Path | None = EXAMPLE, folder: Path | None = None
) -> subprocess.CompletedProcess:
    named = [] if code is None else ["--code", str(code)]
    command = [str(Path(sys.executable).with_name("audio-enh")), *named, *map(str, words)]
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", registry.CODE)
    }
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, cwd=folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, trained for four steps from another folder than the code's: its checkpoint."""
    out = tmp_path_factory.mktemp("own")
    small = ("trainer.max_steps=4", "data.steps_per_epoch=2", "data.valid_items=2", "data.batch_size=2")
    places = (f"out={out / 'run'}", f"export={out / 'model'}", f"data.cache={out / 'cache'}")
    done = run("train", "experiment=gated", *small, *places, folder=out)
    assert done.returncode == 0, done.stderr
    assert (
        f"next: audio-enh --code {EXAMPLE} enhance FILE --model {out / 'model'}" in done.stdout + done.stderr
    )
    return out / "model"


def test_the_example_trains_and_enhances(trained: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["model"]["_target_"] == "gated.GatedNet"
    noisy = SAMPLES / "noisy" / "rain.flac"
    done = run("enhance", noisy, "-o", tmp_path / "a.wav", "--model", trained)
    assert done.returncode == 0, done.stderr
    audio, clean = soundfile.read(noisy)[0], soundfile.read(tmp_path / "a.wav")[0]
    assert clean.shape == audio.shape
    assert 0.001 < clean.std() < audio.std()


def test_without_its_folder_the_class_is_unknown(trained: Path, tmp_path: Path) -> None:
    """In one line, which says what to do; also where it could be imported, as the checkpoint lies beside it."""
    (tmp_path / "gated.py").write_text((EXAMPLE / "gated.py").read_text() + "\nopen('ran', 'w').close()\n")
    done = run(
        "enhance", SAMPLES / "noisy/rain.flac", "-o", "a.wav", "--model", trained, code=None, folder=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "gated.GatedNet" in done.stderr
    assert "--code FOLDER" in done.stderr
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "a.wav").exists()


@pytest.mark.slow
def test_own_metric_is_evaluated_and_compared(tmp_path: Path) -> None:
    """In worker processes, reports, and a comparison that reads them."""
    parts = {"half": 0.5, "tenth": 0.1}
    for noisy in sorted((SAMPLES / "noisy").glob("*.flac")):
        audio, rate = soundfile.read(noisy)
        clean = soundfile.read(SAMPLES / "clean" / noisy.name)[0]
        for name, part in parts.items():
            (tmp_path / name).mkdir(exist_ok=True)
            soundfile.write(tmp_path / name / noisy.name, clean + part * (audio - clean), rate, "PCM_24")
    folders = ["--clean", SAMPLES / "clean", "--noisy", SAMPLES / "noisy"]
    folders += [word for name in parts for word in ("--enhanced", tmp_path / name)]
    done = run("evaluate", *folders, "--metrics", "si_sdr,gated.LEFT_NOISE", "-o", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "one" / "report.json").read_text())
    for system, expected in (("half", -6.02), ("tenth", -20.0)):
        scores = [row["scores"]["gated.LEFT_NOISE"] for row in report["rows"] if row["system"] == system]
        assert scores == pytest.approx([expected] * 5, abs=0.02)
    assert report["manifest"]["metrics"]["gated.LEFT_NOISE"]["higher_is_better"] is False
    done = run("evaluate", *folders, "--metrics", "gated.LEFT_NOISE", "-o", tmp_path / "x", code=None)
    assert done.returncode == 2
    assert "unknown metric 'gated.LEFT_NOISE'; if it is yours, name its folder" in done.stderr
    same = tmp_path / "one" / "report.json"
    done = run("compare", same, same, "--system-a", "half", "--system-b", "tenth")
    assert done.returncode == 0, done.stderr
    assert "noise left" in done.stdout


def test_errors_in_own_code_are_shown_with_their_place(tmp_path: Path) -> None:
    done = run(
        "train", "experiment=gated", "model.hidden=-1", f"out={tmp_path / 'run'}", f"data.cache={tmp_path}"
    )
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert 'gated.py", line' in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert f"(in {EXAMPLE / 'gated.py'}, line " in last
    assert "defect" not in done.stderr
    done = run("train", "model._target_=gated.GatedNet", "data=samples", f"out={tmp_path / 'run'}", code=None)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--code FOLDER" in done.stderr


class Plain(EnhancementModel):
    """Made by its arguments; wrong in the ways that the tests ask for."""

    def __init__(self, gain: float = 0.5, sample_rate: int = 16000, longer: int = 0, width: int = 1):
        super().__init__()
        self.sample_rate = sample_rate
        self.gain = nn.Parameter(torch.full((width,), gain))
        self.longer = longer

    def forward(self, audio: Tensor) -> Tensor:
        return nn.functional.pad(audio, (0, self.longer)) * self.gain.mean()


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(registry, "_packages", set())
    audio_enh.register(Plain)
    return f"{Plain.__module__}.Plain"


def test_registered_classes_can_be_loaded(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "mine", Plain(0.25), {}, arguments={"gain": 0.25})
    model, config = load_model(tmp_path / "mine", "cpu")
    assert config["model"]["_target_"] == named
    torch.testing.assert_close(model(torch.ones(1, 4)), torch.full((1, 4), 0.25))
    monkeypatch.setattr(registry, "_registered", {})
    with pytest.raises(CheckpointError, match="unknown model class"):
        load_model(tmp_path / "mine", "cpu")


def test_installed_packages_name_their_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an entry point; another class of the same package stays unknown."""
    (tmp_path / "theirs.py").write_text(
        "import torch\nfrom audio_enh.models.base import EnhancementModel\n"
        "class Halved(EnhancementModel):\n    sample_rate = 16000\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.gain = torch.nn.Parameter(torch.tensor(0.5))\n"
        "    def forward(self, audio):\n        return self.gain * audio\n"
        "class Other(Halved): pass\n"
    )
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[audio_enh.models]\nhalved = theirs:Halved\n")
    monkeypatch.syspath_prepend(tmp_path)
    from theirs import Halved, Other  # type: ignore[import-not-found]

    save_checkpoint(tmp_path / "mine", Halved(), {}, arguments={})
    monkeypatch.delitem(sys.modules, "theirs")
    model, _ = load_model(tmp_path / "mine", "cpu")
    torch.testing.assert_close(model(torch.ones(1, 4)), torch.full((1, 4), 0.5))
    with pytest.raises(CheckpointError, match=r"unknown model class 'theirs\.Other'"):
        save_checkpoint(tmp_path / "other", Other(), {}, arguments={})


def test_compiled_models_are_saved_as_plain_ones(named: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "mine", torch.compile(Plain(0.25)), {}, arguments={"gain": 0.25})
    assert list(load_model(tmp_path / "mine", "cpu")[0].state_dict()) == ["gain"]


def recipe(**model: object) -> OmegaConf:
    target = f"{Plain.__module__}.Plain"
    return OmegaConf.create(
        {
            "model": {"_target_": target, **model},
            "objective": {"_target_": "audio_enh.training.supervised.Supervised"},
            "data": {"sample_rate": 16000},
        }
    )


class Wrong(nn.Module):
    """Losses that training could do nothing with."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        loss = (estimate - clean).abs()
        return {"detached": loss.mean().detach(), "vector": loss.mean(dim=1), "nan": loss.mean() / 0 * 0}[
            self.kind
        ]


@pytest.mark.parametrize(
    ("arguments", "made", "loss", "told"),
    [
        ({}, {}, WaveformL1Loss(), None),
        ({"longer": 3}, {"longer": 3}, WaveformL1Loss(), r"makes \(2, 8003\) of signals \(2, 8000\)"),
        ({}, {"sample_rate": 8000}, WaveformL1Loss(), "sample_rate 8000, and data.sample_rate is 16000"),
        ({}, {"width": 3}, WaveformL1Loss(), r"gain is \(3,\), not \(1,\)"),
        ({"depth": 2}, {}, WaveformL1Loss(), "unknown: depth"),
        ({}, {}, Wrong("detached"), "does not depend on the model's parameters"),
        ({}, {}, Wrong("vector"), "scalar loss"),
        ({}, {}, Wrong("nan"), "nan before the first step"),
    ],
)
def test_checks_before_the_first_step(
    named: str, arguments: dict, made: dict, loss: nn.Module, told: str
) -> None:
    model = Plain(**made)
    objective = Supervised(WeightedLoss({"a": loss}, {"a": 1.0}))
    before = torch.get_rng_state()
    if told is None:
        check_parts(recipe(**arguments), model, objective)
    else:
        with pytest.raises(UserError, match=told):
            check_parts(recipe(**arguments), model, objective)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_class_that_checkpoints_may_not_name_is_told_before_the_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    with pytest.raises(CheckpointError, match="name its folder"):
        check_parts(recipe(), Plain(), Supervised(WeightedLoss({"a": WaveformL1Loss()}, {"a": 1.0})))


def test_a_loss_can_ask_for_the_noise() -> None:
    class Noise(nn.Module):
        def forward(self, estimate: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
            return (noisy - clean).square().mean()

    loss = WeightedLoss(
        {"noise": Noise(), "l1": WaveformL1Loss()}, {"noise": 1.0, "l1": 0.0}, normalise=False
    )
    clean, noise = torch.randn(2, 2, 100)
    total, parts = loss(clean, clean, clean + noise)
    torch.testing.assert_close(total, noise.square().mean())
    assert set(parts) == {"noise", "l1"}
    # With normalise, at the gain of the other signals.
    levelled = WeightedLoss({"noise": Noise()}, {"noise": 1.0})
    torch.testing.assert_close(levelled(clean, clean, 10 * clean)[0], torch.tensor(0.81), atol=1e-3, rtol=0)


class Backbone(nn.Module):
    """Gives the noisy coefficients back, scaled."""

    time_multiple = 4

    def __init__(self, bins: int, gain: float = 1.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        assert x_t.shape[3] % 4 == 0
        return self.gain * y


def test_own_backbone(named: str, tmp_path: Path) -> None:
    name = f"{Backbone.__module__}.Backbone"
    arguments = {
        "process": {"name": "sbve"}, "prediction": "data", "sampler": {"name": "ode", "steps": 2},
        "network": {"name": name, "bins": 256},
    }  # fmt: skip
    with pytest.raises(ValueError, match="name its folder"):
        DiffusionEnhancer(**arguments)
    audio_enh.register(Backbone)
    model = DiffusionEnhancer(**arguments)
    save_checkpoint(tmp_path / "mine", model, {}, arguments=arguments)
    loaded, config = load_model(tmp_path / "mine", "cpu")
    assert config["model"]["network"] == {"name": name, "bins": 256, "gain": 1.0}
    audio = 0.1 * torch.randn(1, 5000)
    torch.testing.assert_close(loaded.enhance(audio), audio, atol=1e-4, rtol=1e-3)


def test_names_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_thing.py").write_text("number = 3\n")
    monkeypatch.setenv(registry.CODE, str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(UserError, match="has no METRIC"):
        select_metrics(["own_thing.METRIC"])
    with pytest.raises(UserError, match="is a int, no audio_enh"):
        select_metrics(["own_thing.number"])
    (tmp_path / "json.py").write_text("METRIC = 3\n")
    with pytest.raises(UserError, match="hidden by"):
        select_metrics(["json.METRIC"])
    for name in ("..secret.METRIC", "/etc/passwd.METRIC", "own_thing..METRIC"):
        with pytest.raises(UserError, match="unknown metric"):
            select_metrics([name])
    monkeypatch.setenv(registry.CODE, str(tmp_path / "none"))
    with pytest.raises(UserError, match="no such folder"):
        registry.use_code()
