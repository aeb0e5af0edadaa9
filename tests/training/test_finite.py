"""One bad batch leaves no trace; many in a row end the run; broken weights are never written."""

from functools import partial
from types import SimpleNamespace

import lightning
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from audio_enh.data.datasets import Batch, MixtureDataset
from audio_enh.errors import UserError
from audio_enh.training import recipes
from audio_enh.training.finite import MOST_IN_A_ROW, FiniteSteps, mark_broken
from audio_enh.training.state import StateFiles, read_state
from audio_enh.training.universe_adversarial import AdversarialTask


@pytest.fixture
def broken_items(monkeypatch):
    """Lets chosen training items be NaN: a set of their numbers."""
    numbers: set[int] = set()
    draw = MixtureDataset.__getitem__

    def drawn(self, index):
        batch = draw(self, index)
        broken = index in numbers and self.seed == 5  # validation has seed 0
        return batch._replace(noisy=batch.noisy * torch.nan) if broken else batch

    monkeypatch.setattr(MixtureDataset, "__getitem__", drawn)
    return numbers


def train(out, debug_run, *overrides):
    common = ["experiment=debug", "seed=5", "data.valid_items=0", f"data.cache={debug_run / 'cache'}"]
    recipes.train([*common, f"out={out}", *overrides])
    return torch.load(out / "weights" / "last.ckpt", weights_only=True)


def test_a_bad_batch_is_skipped_and_the_run_goes_on(broken_items, debug_run, tmp_path):
    broken_items.add(5)  # of the second step
    content = train(tmp_path, debug_run)
    assert content["global_step"] == 6
    for states in ("state_dict", "current_model_state"):
        assert all(value.isfinite().all() for value in content[states].values())
    steps = {int(moments["step"]) for moments in content["optimizer_states"][0]["state"].values()}
    assert steps == {5}
    assert "skipped a step" in (log := (tmp_path / "train.log").read_text())
    assert "items 4 to 7; 1 skipped" in log


def test_many_bad_batches_in_a_row_end_the_run_with_the_good_weights_kept(broken_items, debug_run, tmp_path):
    broken_items.update(range(12, 400))
    with pytest.raises(UserError, match=r"10 steps in a row.*smaller optim.optimizer.lr"):
        train(tmp_path, debug_run, "trainer.max_steps=40", "data.steps_per_epoch=3")
    content = torch.load(tmp_path / "weights" / "last.ckpt", weights_only=True)
    assert content["global_step"] == 12
    assert all(value.isfinite().all() for value in content["current_model_state"].values())


class Normalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.out = nn.Linear(3, 1)

    def forward(self, x):
        return self.out(self.norm(x)).square().mean()


def a_step(model, optimizer, steps, x, change=lambda loss: loss):
    steps.remember(model)
    optimizer.zero_grad()
    mark_broken(change(model(x))).backward()
    steps.check(model, list(model.parameters()), torch.arange(4), scaled=False)
    optimizer.step()


@pytest.mark.parametrize("how", ["input", "loss", "infinite loss", "gradient"])
def test_a_skipped_step_leaves_weights_moments_and_statistics_as_they_were(how):
    torch.manual_seed(0)
    model, steps = Normalised(), FiniteSteps()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    good = torch.randn(4, 3)
    a_step(model, optimizer, steps, good)
    before = [t.clone() for t in (*model.state_dict().values(), *tensors(optimizer))]
    changes = {
        "loss": lambda loss: loss + torch.nan,  # whose gradient is finite
        "infinite loss": lambda loss: loss + torch.inf,
        # The square root's slope at 0; the loss is finite.
        "gradient": lambda loss: loss + (0 * model.out.bias).sum().sqrt(),
    }
    x = good * torch.nan if how == "input" else good
    a_step(model, optimizer, steps, x, changes.get(how, lambda loss: loss))
    after = [*model.state_dict().values(), *tensors(optimizer)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert steps.skipped == 1
    a_step(model, optimizer, steps, good)
    assert not torch.equal(before[0], model.norm.weight)


def tensors(optimizer):
    return [value for state in optimizer.state.values() for value in state.values()]


def test_only_steps_in_a_row_end_a_run():
    torch.manual_seed(0)
    model, steps = Normalised(), FiniteSteps()
    optimizer = torch.optim.AdamW(model.parameters())
    good = torch.randn(4, 3)
    for _ in range(2):
        for _ in range(MOST_IN_A_ROW[False] - 1):
            a_step(model, optimizer, steps, good * torch.nan)
        a_step(model, optimizer, steps, good)
    assert steps.skipped == 2 * (MOST_IN_A_ROW[False] - 1)


def test_a_finite_loss_is_the_same_to_the_bit():
    x = torch.randn(100, requires_grad=True)
    x.square().mean().backward()
    plain = x.grad.clone()
    x.grad = None
    mark_broken(x.square().mean()).backward()
    assert torch.equal(x.grad, plain)


class Pair(nn.Module):
    """A model of one layer with a discriminator of one layer."""

    trained = ()

    def __init__(self):
        super().__init__()
        self.discriminators = nn.Linear(1, 1)

    def run(self, model, batch):
        return SimpleNamespace(clean=batch.clean, estimate=model(batch.noisy))

    def discriminator_total(self, clean, estimate):
        return (self.discriminators(estimate.detach()) - self.discriminators(clean)).mean().square()

    def total(self, model, outcome):
        return (outcome.estimate - outcome.clean).square().mean() + self.discriminators(
            outcome.estimate
        ).mean(), {}


def test_adversarial_training_skips_the_steps_of_both(tmp_path):
    torch.manual_seed(0)
    task = AdversarialTask(nn.Linear(1, 1), Pair(), partial(torch.optim.Adam, lr=0.1), 3, warmup_steps=0)
    values = torch.tensor([[1.0], [torch.nan], [2.0]])
    items = [Batch(v, torch.ones(1), torch.tensor(0.0), torch.tensor(i)) for i, v in enumerate(values)]
    trainer = lightning.Trainer(
        max_steps=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(task, DataLoader(items, batch_size=1))
    assert trainer.global_step == 3
    assert (task.steps.skipped, task.judging_steps.skipped) == (1, 1)
    assert all(parameter.isfinite().all() for parameter in task.parameters())
    for optimizer in trainer.optimizers:
        assert {int(state["step"]) for state in optimizer.state.values()} == {2}


@pytest.mark.parametrize("broken", ["state_dict", "current_model_state", "optimizer_states"])
def test_broken_weights_do_not_replace_good_ones(broken, tmp_path):
    def state(value: float) -> dict:
        good, values = {"w": torch.ones(2)}, {"w": torch.tensor([1.0, value])}
        whole = {"state_dict": good, "current_model_state": good, "optimizer_states": [{"state": {0: good}}]}
        nested = [{"state": {0: values}}] if broken == "optimizer_states" else values
        scores = {"callbacks": {"best": {"score": torch.tensor(np.nan)}}}  # which may be
        return {**whole, broken: nested, "global_step": 3, **scores}

    path = tmp_path / "last.ckpt"
    StateFiles().save_checkpoint(state(2.0), path)
    with pytest.raises(UserError, match=f"after step 3 {broken}"):
        StateFiles().save_checkpoint(state(np.nan), path)
    assert read_state(path)["global_step"] == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]
