"""Places on the disk are taken as they are typed; other mistakes on the command line are one line."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import audio_enh
from audio_enh.errors import UserError
from audio_enh.training import recipes
from audio_enh.training.overrides import literal_places, parse

ODD = "a=b (c) [d] #e ~f 'g' \"h\", i{j} $k %l; *m?"


@pytest.mark.parametrize("value", ["/x/" + ODD, "x\\", "a\\'b", "'a", "1", "true", "a:b", "é ü", "$x", "-3"])
def test_a_place_is_taken_as_it_is_typed(value):
    for key in ("out", "+data.cache", "data.speech.path"):
        (word,) = literal_places([f"{key}={value}"], sweep=False)
        assert parse(word).value() == value


def test_quotes_interpolations_and_sweeps_are_hydras(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    kept = ["out=${a}/b", "export=null", "seed=0,1", "experiment=debug", "info.name='x y'", "-m"]
    assert literal_places(kept, sweep=True) == kept
    assert literal_places(["manifest=a.csv,b.csv"], sweep=True) == ["manifest=a.csv,b.csv"]
    assert literal_places(["out='~/a(b)'", "out=~/x", "out=~"], sweep=False) == [
        "out='/home/me/a(b)'",
        "out='/home/me/x'",
        "out='/home/me'",
    ]


def test_a_run_in_an_odd_folder_is_trained_resumed_and_exported(debug_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    common = ["experiment=debug", f"out=~/{ODD}/run", f"data.cache={debug_run / 'cache'}"]
    recipes.train([*common, "+trainer.max_epochs=1"])
    recipes.train([*common, f"export={tmp_path / ODD / 'model [1]'}"])
    run = tmp_path / ODD / "run"
    assert torch.load(run / "weights" / "last.ckpt", weights_only=True)["global_step"] == 6
    assert len(list((run / "weights").glob("best*"))) == 1  # the earlier one was removed
    assert OmegaConf.load(run / "recipe.yaml").out == str(run)
    audio_enh.load(tmp_path / ODD / "model [1]", device="cpu")
    assert {path.name for path in tmp_path.iterdir()} == {ODD}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["experiment=debugg"], "did you mean debug? There are: bbed_vbdmd, causal_demucs,"),
        (["experiment=debugg"], "universe_lite, universepp_16k, universepp_24k"),
        ([], "data.speech is not given"),
        (["experiment=causal_unet"], "manifest is not given"),
        (["experiment=debug", "info.name=a(b"], "cannot read info.name=a(b"),
        (["experiment=debug", "out={file}"], "is not a folder"),
        (["experiment=debug", "out={file}/sub"], "is not a folder"),
        (["experiment=debug", "out={tmp}/run", "export={file}"], "cannot be a folder"),
        (["experiment=debug", "out={tmp}/run", "data.cache={file}/sub"], "cannot be a folder"),
        (["experiment=debug", "--experimental-rerun={file}"], "repeat the command"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(overrides, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError) as raised:
        recipes.train([word.format(tmp=tmp_path, file=file) for word in overrides])
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert file.read_text() == ""
    assert not list(tmp_path.rglob("recipe.yaml"))


def test_a_mistyped_override_is_refused_before_torch_is_loaded():
    code = (
        "import sys; from audio_enh import cli; code = cli.run(['train', 'experiment=debug', 'data.sed=1']);"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert "sed" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_recipes_of_the_test_sets_take_odd_places_too(tmp_path):
    with pytest.raises(UserError, match="no folder and no CSV manifest"):
        recipes.mix([f"manifest={tmp_path}/{ODD}.csv", f"out={tmp_path / 'set'}"])
    assert not Path(tmp_path / "set").exists()
