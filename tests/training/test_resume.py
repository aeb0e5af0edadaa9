"""A run goes on only as what it was, wherever its folder lies, and nothing in that folder is executed."""

import pickle
import shutil
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from audio_enh.data.datasets import MixtureData
from audio_enh.errors import UserError
from audio_enh.inference.checkpoint import load_model
from audio_enh.sources.packed import AudioFolder
from audio_enh.training import recipes
from audio_enh.training.run_folder import differences


@pytest.fixture
def finished(debug_run, tmp_path):
    """A copy of the finished debug run."""
    return shutil.copytree(debug_run, tmp_path / "run")


def train(run: Path, debug_run: Path, *overrides: str) -> None:
    recipes.train(["experiment=debug", f"out={run}", f"data.cache={debug_run / 'cache'}", *overrides])


def state(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def contents(run: Path) -> dict[str, bytes]:
    kept = [run / "recipe.yaml", run / "run.yaml", *(run / "weights").iterdir()]
    return {path.name: path.read_bytes() for path in kept}


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["optim.optimizer.lr=0.5"], "optim.optimizer.lr: 0.001 -> 0.5"),
        (["optim.optimizer.weight_decay=0"], "optim.optimizer.weight_decay: 0.01 -> 0"),
        (["data.batch_size=2"], "data.batch_size: 4 -> 2"),
        (["seed=3", "model.channels=[4,6,10]"], "model.channels: [4, 6, 8] -> [4, 6, 10], seed: 0 -> 3"),
        (["loss=demucs"], "loss.terms"),
        (["callbacks.ema=null"], "callbacks.ema.decay: 0.999 -> (absent)"),
    ],
)
def test_a_run_of_another_recipe_is_refused_by_its_differences(overrides, named, finished, debug_run):
    before = contents(finished)
    with pytest.raises(UserError) as raised:
        train(finished, debug_run, "trainer.max_steps=9", *overrides)
    assert named in str(raised.value)
    assert f"init_from={finished} and another out=" in str(raised.value)
    assert "max_steps" not in str(raised.value)
    assert contents(finished) == before


@pytest.mark.slow
def test_more_steps_elsewhere_go_on_in_a_run_that_records_them(finished, debug_run, tmp_path):
    moved = finished.rename(tmp_path / "elsewhere")
    train(moved, debug_run, "trainer.max_steps=8", "data.workers=1")
    assert state(moved / "weights" / "last.ckpt")["global_step"] == 8
    assert OmegaConf.load(moved / "recipe.yaml").trainer.max_steps == 8
    record = yaml.safe_load((moved / "run.yaml").read_text())
    assert [entry["from_step"] for entry in record] == [0, 6]
    assert record[0]["torch"] == version("torch")
    assert {"audio-enh", "lightning", "python"} <= record[0].keys()


def test_a_moved_run_exports_its_best_weights(finished, debug_run, tmp_path):
    moved = finished.rename(tmp_path / "elsewhere")
    (best,) = moved.glob("weights/best*.ckpt")
    (moved / "weights" / "best-other.ckpt").write_bytes(b"not it")
    train(moved, debug_run, f"export={tmp_path / 'model'}")
    exported, _ = load_model(tmp_path / "model", "cpu")
    kept = state(best)["state_dict"]
    assert all(torch.equal(value, kept[f"model.{key}"]) for key, value in exported.state_dict().items())
    assert state(moved / "weights" / "last.ckpt")["callbacks"]
    assert str(debug_run).encode() not in (moved / "weights" / "last.ckpt").read_bytes()


def test_without_its_best_weights_a_run_chooses_anew(finished, debug_run):
    (best,) = finished.glob("weights/best*.ckpt")
    best.unlink()
    train(finished, debug_run, "trainer.max_steps=9")
    assert "chosen anew" in (finished / "train.log").read_text()
    assert [path.name for path in finished.glob("weights/best*.ckpt")] == ["best-step=9.ckpt"]


def test_the_manifest_must_be_the_same_wherever_it_lies(finished, debug_run, tmp_path):
    (tmp_path / "one.csv").write_text("path,kind\n")
    shutil.rmtree(finished)
    short = ["trainer.max_steps=1", "data.valid_items=0"]
    train(finished, debug_run, f"manifest={tmp_path / 'one.csv'}", *short)
    shutil.copy(tmp_path / "one.csv", tmp_path / "copy.csv")
    train(finished, debug_run, f"manifest={tmp_path / 'copy.csv'}", *short)
    (tmp_path / "copy.csv").write_text("path,kind\nmore.wav,speech\n")
    with pytest.raises(UserError, match="the content of the manifest"):
        train(finished, debug_run, f"manifest={tmp_path / 'copy.csv'}", *short)


class Planted:
    """Runs a command when it is unpickled."""

    def __init__(self, proof: Path):
        self.proof = proof

    def __reduce__(self):
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("how", ["zip", "plain pickle"])
def test_nothing_in_a_run_is_executed(record, how, finished, debug_run, tmp_path):
    last, proof = finished / "weights" / "last.ckpt", tmp_path / "proof"
    if not record:
        (finished / "run.yaml").unlink()
    content = {**state(last), "extra": Planted(proof)}
    if how == "zip":
        torch.save(content, last)
    else:
        last.write_bytes(pickle.dumps(content))
    for overrides in (["trainer.max_steps=9"], [f"init_from={last}", "resume=false", "trainer.max_steps=1"]):
        with pytest.raises(UserError):
            train(finished, debug_run, *overrides)
    assert not proof.exists()


def test_weights_of_another_program_are_not_resumed(finished, debug_run):
    (finished / "run.yaml").unlink()
    with pytest.raises(UserError, match=r"not of a run that this version wrote.*init_from="):
        train(finished, debug_run, "trainer.max_steps=9")


def test_a_truncated_state_is_one_line(finished, debug_run):
    last = finished / "weights" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    before = contents(finished)
    with pytest.raises(
        UserError, match=r"last.ckpt is not a PyTorch checkpoint.*init_from=FILE.ckpt"
    ) as raised:
        train(finished, debug_run, "trainer.max_steps=9")
    assert "\n" not in str(raised.value)
    assert contents(finished) == before


@pytest.mark.parametrize("source", ["", "weights/last.ckpt"])
def test_another_rate_begins_from_a_run_in_a_new_folder(source, finished, debug_run, tmp_path):
    new = tmp_path / "new"
    train(
        new,
        debug_run,
        *(f"init_from={finished / source}", "data.batch_size=2", "optim.optimizer.lr=0"),
        *("optim.optimizer.weight_decay=0", "trainer.max_steps=1"),
    )
    begun, averaged = (state(run / "weights" / "last.ckpt")["state_dict"] for run in (new, finished))
    weights = [
        key for key, value in averaged.items() if "norm.running" not in key and "num_batches" not in key
    ]
    assert len(weights) > 30
    assert all(torch.equal(begun[key], averaged[key]) for key in weights)


def test_items_go_on_where_they_were_with_another_number_of_processes(tmp_path):
    folder = AudioFolder(str(tmp_path))
    data = MixtureData(
        speech=folder, noise=folder, valid_speech=folder, valid_noise=folder, batch_size=4, workers=0
    )

    def trained(batches: int, processes: int) -> None:
        loop = SimpleNamespace(total_batch_idx=batches - 1)
        data.trainer = SimpleNamespace(global_rank=0, world_size=processes, fit_loop=loop)
        data.train_set = []

    trained(10, 1)
    kept = data.state_dict()
    data.load_state_dict(kept)
    trained(13, 3)
    sampler = data.train_dataloader().sampler
    assert next(iter(sampler)) == 10 * 4 + 3 * 4 * 3


def test_differences_name_a_value_once_and_what_is_new():
    old = OmegaConf.create({"seed": 0, "data": {"seed": "${seed}", "mix": {}}, "gone": 1})
    new = OmegaConf.create({"seed": 1, "data": {"seed": "${seed}", "mix": {}}, "out": "x", "new": [1, 2]})
    assert differences(old, new) == ["seed: 0 -> 1", "new: (absent) -> [1, 2]", "gone: 1 -> (absent)"]
