"""How a run ends: validated, exported, with what to do next; stopped by a signal; and with Lightning's switches."""

import csv
import os
import signal

import pytest
import torch

from audio_enh import cli
from audio_enh.data.datasets import MixtureDataset
from audio_enh.errors import UserError
from audio_enh.inference.catalog import read_config
from audio_enh.inference.checkpoint import load_model
from audio_enh.training import recipes
from tests.training.test_recipes import composed, names


def train(out, debug_run, *overrides):
    recipes.train(["experiment=debug", f"out={out}", f"data.cache={debug_run / 'cache'}", *overrides])


def last(run):
    return torch.load(run / "weights" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("switch", ["data.steps_per_epoch=500", "+trainer.check_val_every_n_epoch=5"])
def test_the_end_of_training_is_validated_and_exported(switch, debug_run, tmp_path):
    train(tmp_path, debug_run, switch, "trainer.max_steps=4", f"export={tmp_path / 'model'}")
    assert [path.name for path in tmp_path.glob("weights/best*")] == ["best-step=4.ckpt"]
    assert last(tmp_path)["global_step"] == 4
    info = read_config(tmp_path / "model")["info"]
    assert info["steps"] == 4
    assert "valid/quality" in info["scores"]
    # What came out, where it is, and what to do with it.
    log = (tmp_path / "train.log").read_text()
    assert "trained 4 steps; last validation: pesq " in log
    assert f"best weights: {tmp_path / 'weights' / 'best-step=4.ckpt'} (valid/quality" in log
    assert f"next: audio-enh enhance FILE --model {tmp_path / 'model'}" in log
    assert "litmodels" not in log
    assert "litlogger" not in log


def test_trainer_debug_is_six_steps_whatever_the_experiment():
    for name in names("experiment"):
        trainer = composed(f"experiment={name}", "trainer=debug").trainer
        assert (trainer.max_steps, trainer.precision, trainer.accelerator) == (6, "32-true", "cpu"), name
    assert composed("experiment=causal_unet", "trainer=debug", "trainer.max_steps=2").trainer.max_steps == 2
    assert composed("experiment=causal_unet").trainer.max_steps == 14000


@pytest.mark.parametrize("name", names("experiment"))
def test_accumulated_batches_divide_the_epoch(name):
    config = composed(f"experiment={name}")
    assert config.data.steps_per_epoch % config.trainer.accumulate_grad_batches == 0


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["trainer.accumulate_grad_batches=2"], "data.steps_per_epoch=2 or 4"),
        (["trainer.accumulate_grad_batches=4"], "data.steps_per_epoch=4 or 8"),
        (
            ["trainer.accumulate_grad_batches=3", "+trainer.limit_train_batches=2"],
            "does not divide the 2 batches",
        ),
        (["trainer.precision=bf16-true"], "bf16-mixed"),
        (["data.valid_items=-1"], "data.valid_items=-1"),
        (["trainer.precision=8-odd"], "8-odd"),
        (["+trainer.overfit_batches=-1"], "overfit_batches"),
    ],
)
def test_switches_that_cannot_work_are_one_line(overrides, said, debug_run, tmp_path):
    with pytest.raises(UserError) as raised:
        train(tmp_path, debug_run, *overrides)
    assert said in str(raised.value)
    assert not (tmp_path / "recipe.yaml").exists()


def test_without_logger_validation_or_averaging_the_latest_weights_are_exported(debug_run, tmp_path):
    train(
        tmp_path,
        debug_run,
        *("trainer.logger=false", "data.valid_items=0", "callbacks.ema=null", "trainer.max_steps=3"),
        f"export={tmp_path / 'model'}",
    )
    exported, config = load_model(tmp_path / "model", "cpu")
    latest = last(tmp_path)
    assert "current_model_state" not in latest
    assert all(torch.equal(v, latest["state_dict"][f"model.{k}"]) for k, v in exported.state_dict().items())
    assert config["info"]["steps"] == 3
    assert "the latest weights stand for the best" in (tmp_path / "train.log").read_text()


def test_double_precision_trains(debug_run, tmp_path):
    train(tmp_path, debug_run, "trainer.precision=64-true", "trainer.max_steps=2")
    assert last(tmp_path)["state_dict"]["model.analysis.weight"].dtype == torch.float64


def test_metrics_csv_survives_a_resume(debug_run, tmp_path):
    common = ["trainer.logger._target_=lightning.pytorch.loggers.CSVLogger"]
    train(tmp_path, debug_run, *common, "+trainer.max_epochs=1")
    train(tmp_path, debug_run, *common, f"out={tmp_path}")
    (path,) = tmp_path.rglob("metrics.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows if row["train/loss"]] == [0, 1, 2, 3, 4, 5]
    assert [int(row["step"]) for row in rows if row["valid/quality"]] == [2, 5]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_run_between_two_steps(number, debug_run, tmp_path, monkeypatch, capsys):
    """In the middle of an epoch; the same command then goes on to the weights of the unbroken run."""
    draw = MixtureDataset.__getitem__

    def drawn(self, index):
        if index == 17 and len(list(tmp_path.glob("weights/*"))) > 0:
            monkeypatch.undo()
            os.kill(os.getpid(), number)
        return draw(self, index)

    monkeypatch.setattr(MixtureDataset, "__getitem__", drawn)
    command = ["train", "experiment=debug", f"out={tmp_path}", f"data.cache={debug_run / 'cache'}"]
    assert cli.run(command) == 128 + number
    said = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert f"stopped by {said}" in capsys.readouterr().err
    assert last(tmp_path)["global_step"] == 5
    assert cli.run(command) == 0
    resumed, unbroken = last(tmp_path), last(debug_run)
    for states in ("state_dict", "current_model_state"):
        for key, value in unbroken[states].items():
            torch.testing.assert_close(resumed[states][key], value, atol=1e-6, rtol=1e-5, msg=key)
