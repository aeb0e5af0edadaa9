"""Options are said once: a field of a dataclass is an option of the command, and reaches the model as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from torch import Tensor
from typer.testing import CliRunner

from audio_enh import EnhanceOptions, Enhancer, SamplingOptions
from audio_enh.cli import app
from audio_enh.cli._options import with_options_of
from audio_enh.inference.files import enhance_file
from audio_enh.io import write_audio
from audio_enh.models.diffusion import DiffusionEnhancer
from audio_enh.options import FileOptions

RATE = 16000
NOISE = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)


@dataclass(frozen=True)
class Further(SamplingOptions):
    """What somebody adds: one field, with its sentence for the command line."""

    temperature: float = field(default=1.0, metadata={"help": "How much noise there is.", "min": 0.0})


class Listening(DiffusionEnhancer):
    """The sampler that reads it."""

    def __init__(self) -> None:
        super().__init__(network={"name": "lite", "channels": (4, 4, 8), "rnn_hidden": 4, "rnn_layers": 1})
        self.heard: list[float] = []

    def draw(
        self, audio: Tensor, starts: Sequence[int], options: Any = None, *, on_step: Any = None
    ) -> Tensor:
        self.heard.append(options.temperature)
        return audio


def parameters(command: str) -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    return {parameter.name: parameter for parameter in group.commands[command].params}


def test_every_sampling_option_is_on_the_command_line() -> None:
    known = parameters("enhance")
    for option in dataclasses.fields(SamplingOptions):
        flag = option.metadata.get("flag", option.name.replace("_", "-"))
        assert known[option.name].opts == [f"--{flag}"]
        assert known[option.name].help == option.metadata["help"]


def test_every_option_of_the_library_is_on_the_command_line() -> None:
    known = {"channel_mode": "channels"}
    for option in dataclasses.fields(EnhanceOptions):
        if option.name != "sampling":
            assert known.get(option.name, option.name) in parameters("enhance")


def test_a_new_field_is_an_option_of_the_command() -> None:
    program = typer.Typer()
    received: list[Further] = []

    @program.command()
    @with_options_of(Further)
    def command(sampling: Further = Further()) -> None:  # noqa: B008
        received.append(sampling)

    words = ["--temperature", "0.5", "--draws", "3", "--combine", "median", "--sampler-option", "snr=0.4"]
    assert CliRunner().invoke(program, words).exit_code == 0
    assert CliRunner().invoke(program, []).exit_code == 0
    assert CliRunner().invoke(program, ["--temperature", "-1"]).exit_code == 2
    expected = Further(temperature=0.5, draws=3, combine="median", sampler_options={"snr": 0.4})
    assert received == [expected, Further()]


@pytest.mark.parametrize("channels", ["independent", "linked"])
def test_a_new_field_reaches_the_sampler_through_arrays_streams_and_files(tmp_path: Path, channels) -> None:
    model = Listening()
    enhancer = Enhancer(model)
    options = EnhanceOptions(channel_mode=channels, sampling=Further(temperature=0.5))
    audio = np.stack([NOISE, NOISE])
    enhancer.enhance(audio, RATE, options)
    enhancer.enhance(audio, RATE, options, temperature=0.25)
    stream = enhancer.stream(RATE, 2, options)
    stream.process(audio)
    stream.flush()
    write_audio(tmp_path / "in.wav", audio, RATE)
    enhance_file(enhancer, tmp_path / "in.wav", tmp_path / "out.wav", FileOptions(options))
    assert model.heard == [0.5, 0.25, 0.5, 0.5]


def test_changes_go_where_they_belong() -> None:
    options = EnhanceOptions(strength=0.5, sampling=SamplingOptions(seed=3))
    changed = options.changed(max_attenuation=12.0, steps=4)
    assert changed == EnhanceOptions(0.5, 12.0, sampling=SamplingOptions(seed=3, steps=4))
    assert EnhanceOptions().changed(**changed.as_dict()) == changed
    with pytest.raises(TypeError, match="strenght"):
        options.changed(strenght=0.5)


def test_the_name_of_the_last_release_works_with_a_warning() -> None:
    enhancer = Enhancer(
        DiffusionEnhancer(network={"name": "lite", "channels": (4, 4, 8)}, sampler={"name": "pc", "steps": 2})
    )
    with pytest.warns(DeprecationWarning, match="samples is now called draws"):
        old = enhancer.enhance(NOISE, RATE, samples=2, steps=2)
    np.testing.assert_array_equal(old, enhancer.enhance(NOISE, RATE, draws=2, steps=2))
    with pytest.warns(DeprecationWarning, match="takes EnhanceOptions"):
        enhancer.stream(RATE, strength=0.5)
