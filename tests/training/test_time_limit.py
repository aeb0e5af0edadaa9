"""A run that ends by the clock: trainer.max_time."""

import itertools
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import Timer
from torch import nn

from audio_enh.training import recipes
from audio_enh.training.task import EnhancementTask

LR, FINAL = 0.5, 0.02


class StoppedTimer(Timer):
    """Stands at ``now`` seconds of 100."""

    now = 0.0

    def __init__(self):
        super().__init__(duration={"seconds": 100})

    def time_elapsed(self, stage: str = "train") -> float:
        return self.now


def rates(steps: int, total_steps: int, warmup_steps: int, seconds_a_step: float | None) -> list[float]:
    """The learning rate of each step; None: without a limit of time."""
    task = EnhancementTask(
        nn.Linear(1, 1),
        SimpleNamespace(trained=()),
        partial(torch.optim.SGD, lr=LR),
        total_steps,
        warmup_steps,
        FINAL,
    )
    timer = StoppedTimer()
    callbacks = [] if seconds_a_step is None else [timer]
    task._trainer = SimpleNamespace(callbacks=callbacks, strategy=SimpleNamespace(broadcast=lambda x: x))
    optimizer = torch.optim.SGD(task.parameters(), lr=LR)
    scheduler = task.make_schedule(optimizer)["scheduler"]
    taken = []
    for _ in range(steps):
        taken.append(scheduler.get_last_lr()[0] / LR)
        timer.now += seconds_a_step or 0.0
        optimizer.step()
        scheduler.step()
    return taken


def test_the_rate_falls_by_the_clock_where_that_ends_first():
    by_clock = rates(steps=101, total_steps=1000, warmup_steps=0, seconds_a_step=1.0)
    assert by_clock[0] == 1
    assert by_clock[50] == pytest.approx((1 + FINAL) / 2)
    assert by_clock[100] == pytest.approx(FINAL)
    assert by_clock == pytest.approx(rates(101, 100, 0, None))


def test_the_rate_falls_by_the_steps_where_they_end_first():
    assert rates(101, 100, 10, 0.01) == pytest.approx(rates(101, 100, 10, None), abs=1e-4)


def test_a_warm_up_longer_than_the_time_leads_to_the_end_without_a_jump():
    taken = rates(steps=101, total_steps=1000, warmup_steps=200, seconds_a_step=1.0)
    assert max(taken) < 0.5
    assert taken[100] == pytest.approx(FINAL)
    assert max(abs(b - a) for a, b in itertools.pairwise(taken)) < 0.02


def test_without_any_limit_the_rate_stays():
    assert rates(50, -1, 10, None)[10:] == [1] * 40


def test_a_run_ends_with_the_time_and_is_not_taken_up_again(tmp_path, debug_run, monkeypatch):
    seconds = itertools.count(0.0, 0.25)  # as time is asked for, several times a step
    monkeypatch.setattr(
        "lightning.pytorch.callbacks.timer.time", SimpleNamespace(monotonic=lambda: next(seconds))
    )
    overrides = [
        *("experiment=debug", f"out={tmp_path}", f"data.cache={debug_run / 'cache'}"),
        *("trainer.max_steps=-1", "trainer.max_time=00:00:00:10", "optim.warmup_steps=2"),
    ]

    def ended() -> dict:
        recipes.train(overrides)
        return torch.load(tmp_path / "weights" / "last.ckpt", weights_only=False)

    content = ended()
    assert 5 < content["global_step"] < 40
    scheduler = content["lr_schedulers"][0]
    assert scheduler["_last_lr"][0] < 0.1 * scheduler["base_lrs"][0]
    assert ended()["global_step"] == content["global_step"]
