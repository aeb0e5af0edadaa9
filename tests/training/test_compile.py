"""``compile=true``: what can be compiled trains so; the rest is refused in one line."""

import pytest
import torch

import audio_enh
from audio_enh.errors import UserError
from audio_enh.training import recipes

TINY = (
    "model.network.name=ncsnpp",
    *("+model.network.channels=4", "+model.network.multipliers=[1,1]"),
    *("+model.network.blocks=1", "+model.network.attention_bins=[]"),
)


def train(out, *overrides):
    given = ["experiment=debug_diffusion", "compile=true", f"out={out}", f"data.cache={out / 'cache'}"]
    recipes.train([*given, *overrides])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "network ncsnpp"),
        (["experiment=debug"], "network ncsnpp"),
        (TINY, r"C\+\+ compiler no-such-compiler"),
    ],
)
def test_what_cannot_be_compiled_is_refused_before_the_data(overrides, message, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=message):
        train(tmp_path / "run", *overrides)
    assert not (tmp_path / "run" / "weights").exists()


@pytest.mark.slow  # compiles
def test_compiled_run_exports_a_plain_checkpoint_and_resumes_without_compiling(tmp_path):
    out = tmp_path / "run"
    train(out, *TINY, f"export={tmp_path / 'model'}", "trainer.max_steps=2", "data.steps_per_epoch=2")
    model = audio_enh.load(tmp_path / "model", device="cpu").model
    assert not any("_orig_mod" in key for key in model.state_dict())
    train(out, *TINY, "compile=false", "trainer.max_steps=4", "data.steps_per_epoch=2")
    content = torch.load(out / "weights" / "last.ckpt", weights_only=True)
    assert content["global_step"] == 4
