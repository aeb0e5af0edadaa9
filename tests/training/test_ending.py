"""How a run ends: validated, exported, with what to do next; stopped by a signal; and with Lightning's switches."""

import csv
import os
import shutil
import signal

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from audio_enh import cli
from audio_enh.data.datasets import MixtureDataset
from audio_enh.errors import UserError
from audio_enh.inference.catalog import read_config
from audio_enh.inference.checkpoint import load_model
from audio_enh.training import recipes
from audio_enh.training.stopping import StopRequest
from audio_enh.training.weights import is_distance
from tests.training.test_recipes import composed


def train(out, debug_run, *overrides):
    recipes.train(["experiment=debug", f"out={out}", f"data.cache={debug_run / 'cache'}", *overrides])


def last(run):
    return torch.load(run / "weights" / "last.ckpt", weights_only=True)


def test_the_end_of_training_is_validated_and_exported(debug_run, tmp_path):
    """In the middle of an epoch, and of an epoch without validation."""
    part = ["data.steps_per_epoch=500", "trainer.max_steps=4", "+trainer.check_val_every_n_epoch=5"]
    train(tmp_path, debug_run, *part, f"export={tmp_path / 'model'}")
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
    for name in ("causal_unet", "sgmse_vbdmd", "universepp_16k"):
        trainer = composed(f"experiment={name}", "trainer=debug").trainer
        assert (trainer.max_steps, trainer.precision, trainer.accelerator) == (6, "32-true", "cpu"), name
    assert composed("experiment=causal_unet", "trainer=debug", "trainer.max_steps=2").trainer.max_steps == 2
    assert composed("experiment=causal_unet").trainer.max_steps == 14000


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
        (["data.batch_size=0"], "data.batch_size=0: it must be at least 1"),
        (["data.seconds=0.001"], "data.seconds=0.001"),
        (["data.workers=-1"], "data.workers=-1"),
        (["optim.optimizer.lr=-1"], "optim.optimizer: Invalid learning rate"),
        (["+optim.optimizer.momentun=1"], "momentun"),
        (["+trainer.val_check_interval=7"], "`val_check_interval` (7)"),
        (["+trainer.overfit_batches=1"], "overfit_batches"),
        (["callbacks=null"], "Config group override"),
        (["+trainer.overfit_batches=-1"], "overfit_batches"),
    ],
)
def test_switches_that_cannot_work_are_one_line(overrides, said, debug_run, tmp_path):
    with pytest.raises(UserError) as raised:
        train(tmp_path, debug_run, *overrides)
    assert said in str(raised.value)
    assert not (tmp_path / "recipe.yaml").exists()


@pytest.mark.parametrize("none", ["trainer.max_steps=0", "+trainer.limit_train_batches=0"])
def test_an_export_of_nothing_is_an_error(none, debug_run, tmp_path):
    with pytest.raises(UserError, match="nothing to export"):
        train(tmp_path, debug_run, none, f"export={tmp_path / 'model'}")


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
    train(tmp_path, debug_run, "trainer.precision=64-true", "trainer.max_steps=1", "data.valid_items=0")
    assert last(tmp_path)["state_dict"]["model.analysis.weight"].dtype == torch.float64


def test_curves_of_a_run_that_was_killed_go_on_from_its_state(debug_run, tmp_path):
    whole = shutil.copytree(debug_run, tmp_path / "run")
    train(tmp_path / "broken", debug_run, "+trainer.max_epochs=1")
    shutil.copy(tmp_path / "broken" / "weights" / "last.ckpt", whole / "weights" / "last.ckpt")
    train(whole, debug_run)  # the three steps after that state once more
    events = EventAccumulator(str(whole / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [0, 1, 2, 3, 4, 5]
    assert [event.step for event in events.Scalars("valid/quality")] == [2, 5]


def test_metrics_csv_survives_a_resume(debug_run, tmp_path):
    common = ["trainer.logger._target_=lightning.pytorch.loggers.CSVLogger", "data.valid_items=0"]
    train(tmp_path, debug_run, *common, "+trainer.max_epochs=1")
    train(tmp_path, debug_run, *common)
    (path,) = tmp_path.rglob("metrics.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows if row["train/loss"]] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_only_the_first_signal_between_validations_waits_for_the_step(number):
    with StopRequest() as stop:
        with pytest.raises(KeyboardInterrupt, match=number.name):
            os.kill(os.getpid(), number)
        stop.stepping = True
        os.kill(os.getpid(), number)
        assert stop.name == number.name
        with pytest.raises(KeyboardInterrupt, match=number.name):
            os.kill(os.getpid(), number)


def test_a_signal_saves_the_run_between_two_steps(debug_run, tmp_path, monkeypatch, capsys):
    """In the middle of an epoch; the same command then goes on to the weights of the unbroken run."""
    draw = MixtureDataset.__getitem__

    def drawn(self, index):
        if index == 17 and len(list(tmp_path.glob("weights/*"))) > 0:
            monkeypatch.undo()
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(self, index)

    monkeypatch.setattr(MixtureDataset, "__getitem__", drawn)
    command = ["train", "experiment=debug", f"out={tmp_path}", f"data.cache={debug_run / 'cache'}"]
    assert cli.run(command) == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in capsys.readouterr().err
    assert last(tmp_path)["global_step"] == 5
    assert cli.run(command) == 0
    resumed, unbroken = last(tmp_path), last(debug_run)
    for states in ("state_dict", "current_model_state"):
        for key, value in unbroken[states].items():
            torch.testing.assert_close(resumed[states][key], value, atol=1e-6, rtol=1e-5, msg=key)


def test_the_best_weights_have_the_smallest_loss_or_distance_and_the_largest_score():
    distances = ["valid/loss", "valid/lsd", "valid/lsd/codec", "valid/unscored", "train/loss"]
    assert all(is_distance(name) for name in distances)
    assert not any(
        is_distance(f"valid/{name}") for name in ("quality", "pesq", "stoi", "si_sdr", "stoi/codec")
    )


def test_the_smallest_loss_is_kept(debug_run, tmp_path):
    train(tmp_path, debug_run, "monitor=valid/loss")
    (best,) = tmp_path.glob("weights/best*")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    smallest = min(events.Scalars("valid/loss"), key=lambda event: event.value)
    assert best.name == f"best-step={smallest.step + 1}.ckpt"
