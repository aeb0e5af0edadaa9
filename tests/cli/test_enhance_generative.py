"""`audio-enh enhance` with a model that draws: seeds, samplers, steps, several draws and how far they are apart."""

from __future__ import annotations

import csv
import itertools
import signal
import time
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile
import torch

import audio_enh
from audio_enh.inference.checkpoint import save_checkpoint
from audio_enh.models.diffusion import DiffusionEnhancer
from audio_enh.models.universe import Universe
from tests.cli.conftest import sound
from tests.cli.test_enhance import names, read, refused, write
from tests.cli.test_process import TIMEOUT, peak_memory, wav

RATE = 16000


@pytest.fixture(scope="module")
def generative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bridge whose small network is random enough for noise to matter."""
    arguments = {
        "hop_length": 256,
        "level": "rms",
        "process": {"name": "sbve"},
        "network": {"name": "lite", "channels": (4, 4, 8), "rnn_hidden": 4, "rnn_layers": 1},
        "prediction": "data",
        "sampler": {"name": "ode", "steps": 3},
    }
    torch.manual_seed(0)
    model = DiffusionEnhancer(**arguments)
    with torch.no_grad():
        model.network.head.weight.mul_(5)
    folder = tmp_path_factory.mktemp("checkpoints") / "bridge"
    save_checkpoint(folder, model.eval(), {"licence": "CC0-1.0"}, arguments=arguments)
    return folder


SOUNDS = {
    "stereo": (48000, sound(48000, 1.2, 2)),
    "narrow": (8000, sound(8000, 1.0)),
    "silence": (RATE, np.zeros((1, RATE), np.float32)),
    "one_sample": (RATE, np.full((1, 1), 0.25, np.float32)),
}


@pytest.fixture(scope="module")
def outputs(generative: Path, tmp_path_factory: pytest.TempPathFactory, process) -> list[Path]:
    """Folders with what three runs of the program make of SOUNDS, two of them by the same seed."""
    folder = tmp_path_factory.mktemp("seeds")
    for name, (rate, audio) in SOUNDS.items():
        write(folder / "in" / f"{name}.wav", audio, rate, "FLOAT")
    options = ("--model", generative, "--sampler", "sde", "--quiet")
    children = [
        process("enhance", folder / "in", "-o", folder / str(run), *options, "--seed", seed)
        for run, seed in enumerate(("3", "3", "4"))
    ]
    for child in children:
        out, err = child.communicate(timeout=TIMEOUT)
        assert (child.returncode, out, err) == (0, b"", b"")
    return [folder / str(run) for run in range(3)]


class TestSeeds:
    """Same seed, same bits, whatever the kind of file."""

    @pytest.mark.parametrize("name", SOUNDS)
    def test_one_seed_gives_the_same_bits(self, outputs: list[Path], name: str) -> None:
        first, second, _ = (read(folder / f"{name}.wav") for folder in outputs)
        rate, audio = SOUNDS[name]
        assert soundfile.info(outputs[0] / f"{name}.wav").samplerate == rate
        assert first.shape == audio.shape
        assert np.isfinite(first).all()
        np.testing.assert_array_equal(first, second)

    @pytest.mark.parametrize("name", ["stereo", "narrow"])
    def test_another_seed_gives_another_sound(self, outputs: list[Path], name: str) -> None:
        first, _, other = (read(folder / f"{name}.wav") for folder in outputs)
        assert (first - other).std() > 1e-3 * first.std()
        assert first.std() > 1e-3

    def test_silence_stays_silence(self, outputs: list[Path]) -> None:
        assert not read(outputs[0] / "silence.wav").any()


def test_options_reach_the_sampler(cli, generative: Path, tmp_path: Path) -> None:
    """The file is what the library gives for the same options, and each option changes it."""
    audio = sound(RATE, 1.0)
    source = write(tmp_path / "in.wav", audio, RATE, "FLOAT")
    enhancer = audio_enh.load(generative, "cpu")
    outputs = []
    for options in (
        {},
        {"steps": 1},
        {"sampler": "ode_heun"},
        {"sampler": "sde", "steps": 3},
        {"sampler": "sde", "steps": 3, "seed": 5},
        {"draws": 3},
        {"draws": 3, "combine": "median"},
        {"draws": 3, "steps": 2},
        {"sampler": "ode_guarded"},
        {"sampler": "ode_guarded", "sampler_options": {"guard": 1e-3, "grid": "karras"}},
    ):
        further = options.get("sampler_options", {})
        words = [f"--sampler-option={key}={value}" for key, value in further.items()]
        words += [f"--{key}={value}" for key, value in options.items() if key != "sampler_options"]
        target = tmp_path / "out.wav"
        assert cli("enhance", source, "-o", target, "--model", generative, "--overwrite", *words).code == 0
        outputs.append(read(target))
        np.testing.assert_array_equal(outputs[-1], enhancer.enhance(audio, RATE, **options))
    for one, other in itertools.combinations(outputs, 2):
        assert np.abs(one - other).max() > 1e-4


@pytest.fixture(scope="module")
def folder(generative: Path, tmp_path_factory: pytest.TempPathFactory, process) -> Path:
    """What is left by a run with --uncertainty on a file whose last frame is a part of one."""
    folder = tmp_path_factory.mktemp("uncertainty")
    audio = sound(RATE, 1.23)
    audio[:, : RATE // 2] *= 0.01
    write(folder / "talk.wav", audio, RATE, "FLOAT")
    child = process("enhance", folder / "talk.wav", "--model", generative, "--draws", "4", "--uncertainty")
    out, err = child.communicate(timeout=TIMEOUT)
    assert (child.returncode, out, len(err.splitlines())) == (0, b"", 1), err
    return folder


class TestUncertainty:
    """`--uncertainty` writes a table and a picture beside the output."""

    def test_what_is_written(self, folder: Path) -> None:
        stems = (
            "talk.wav",
            "talk_enhanced.uncertainty.csv",
            "talk_enhanced.uncertainty.png",
            "talk_enhanced.wav",
        )
        assert names(folder) == list(stems)

    @pytest.fixture
    def table(self, folder: Path) -> list[list[str]]:
        with (folder / "talk_enhanced.uncertainty.csv").open() as file:
            return list(csv.reader(file))

    def test_table(self, folder: Path, table: list[list[str]]) -> None:
        assert table[0] == ["time", "level_db", "spread_db", "uncertainty"]
        time, level, _, uncertainty = np.array(table[1:], float).T
        np.testing.assert_allclose(time, 0.01 + 0.02 * np.arange(62), atol=1e-6)
        # The model's own sampler is deterministic, and yet the draws differ.
        assert ((uncertainty > 0.01) & (uncertainty <= 1)).all()
        frames = read(folder / "talk_enhanced.wav")[0, : 61 * 320].reshape(-1, 320)
        expected = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-8)
        np.testing.assert_allclose(level[:-1], expected, atol=0.01)

    @pytest.mark.parametrize(("rows", "column"), [(slice(0, 230), 1), (slice(230, 440), 3)])
    def test_picture(self, folder: Path, table: list[list[str]], rows: slice, column: int) -> None:
        """The bars of its two diagrams are as high as the table says."""
        picture = matplotlib.image.imread(folder / "talk_enhanced.uncertainty.png")
        assert picture.shape == (480, 1200, 4)
        coloured = np.ptp(picture[rows, :, :3], axis=2) > 0.2
        heights = coloured.sum(axis=0)[coloured.any(axis=0)]
        values = np.array([row[column] for row in table[1:]], float)
        expected = values[np.arange(len(heights)) * len(values) // len(heights)]
        assert np.corrcoef(heights, expected)[0, 1] > 0.98


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--sampler", "pc"), ("'pc'", "ode, ode_heun, ode_guarded, sde")),
        (("--sampler", "ODE"), ("'ODE'", "ode, ode_heun, ode_guarded, sde")),
        (("--sampler-option", "snr=0.4"), ("ode has no option snr", "it has steps, grid")),
        (("--sampler-option", "grid=log"), ("grid", "uniform, quadratic, karras", "'log'")),
        (("--sampler-option", "grid"), ("--sampler-option grid", "KEY=VALUE")),
        (("--sampler-option", "steps=4"), ("steps", "option of its own")),
        (
            ("--sampler", "ode_guarded", "--sampler-option", "guard=much"),
            ("guard must be a number", "'much'"),
        ),
        (("--steps", "0"), ("steps", "at least 1")),
        (("--steps", "-1"), ("--steps",)),
        (("--draws", "0"), ("--draws",)),
        (("--combine", "max"), ("--combine",)),
        (("--uncertainty",), ("--draws 2",)),
        (("--draws", "2", "--uncertainty", "-o", "-"), ("file as output",)),
        (("--draws", "2", "--sampler", "ode"), ("all be equal", "'ode'", "choose sde")),
        (("--draws", "2", "--steps", "1"), ("all be equal", "so few steps")),
    ],
)
def test_options_that_do_not_fit_are_told(
    cli, generative: Path, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    source = write(tmp_path / "in.wav", sound(RATE, 0.1))
    refused(cli("enhance", source, "--model", generative, *options), *words)
    assert names(tmp_path) == ["in.wav"]


def test_the_option_of_the_last_release_works_with_a_warning(cli, generative: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", sound(RATE, 0.1))
    outputs = []
    for option in ("--samples", "--draws"):
        target = tmp_path / f"out{option}.wav"
        result = cli("enhance", source, "-o", target, "--model", generative, option, "2")
        assert result.code == 0
        assert ("warning: --samples is now called --draws" in result.err) == (option == "--samples")
        outputs.append(read(target))
    np.testing.assert_array_equal(*outputs)


def test_draws_of_universe_without_steps_would_be_equal(process, tmp_path: Path) -> None:
    arguments = {"channels": 2, "mel_bands": 16, "embedding_features": 4, "embedding_dimensions": 16}
    save_checkpoint(tmp_path / "universe", Universe(**arguments), {}, arguments=arguments)
    source = write(tmp_path / "in" / "in.wav", sound(RATE, 0.1))
    options = ("--model", tmp_path / "universe", "--steps", "0", "--draws")
    child = process("enhance", source, *options, "4")
    out, err = child.communicate(timeout=TIMEOUT)
    assert (child.returncode, out) == (2, b"")
    assert (
        err
        == b"error: 4 draws would all be equal, this model draws no noise in so few steps: add --steps 1\n"
    )
    assert names(tmp_path / "in") == ["in.wav"]


def test_a_causal_model_has_no_sampler(process, tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", sound(RATE, 0.1))
    child = process("enhance", source, "--steps", "4", "--sampler", "ode")
    out, err = child.communicate(timeout=TIMEOUT)
    assert (child.returncode, out) == (2, b"")
    assert err == b"error: sampler and steps: only for models that draw their output, not for CausalUNet\n"
    assert names(tmp_path) == ["in.wav"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(generative: Path, tmp_path: Path) -> None:
    short, long = wav(tmp_path / "1.wav", 60), wav(tmp_path / "8.wav", 480)
    options = ("--threads", "1", "--steps", "1")
    # The same run takes up to 16 MB more at one time than at another: the least of two.
    first, second = (
        min(peak_memory(generative, source, target, *options, "--overwrite") for _ in range(2))
        for source, target in ((short, tmp_path / "1-out.wav"), (long, tmp_path / "8-out.wav"))
    )
    assert soundfile.info(tmp_path / "8-out.wav").frames == 480 * RATE
    # The samples of seven minutes are 27 MB as float32.
    assert second - first < 24


@pytest.mark.slow
def test_an_hour_fits_in_a_gigabyte(generative: Path, tmp_path: Path) -> None:
    """With its uncertainty and the library that draws it; torch itself takes 500 MB (a build with CUDA)."""
    options = ("--threads", "1", "--steps", "2", "--draws", "2", "--uncertainty")
    source = wav(tmp_path / "60.wav", 3600)
    assert peak_memory(generative, source, tmp_path / "out.wav", *options) < 1000
    assert soundfile.info(tmp_path / "out.wav").frames == 3600 * RATE
    rows = (tmp_path / "out.uncertainty.csv").read_text().splitlines()
    assert len(rows) == 1 + 3600 * 50


def test_stopped_within_a_window(process, generative: Path, tmp_path: Path) -> None:
    """Between two steps of the sampler: one window of a large model may take minutes."""
    source = wav(tmp_path / "in.wav", 9)
    child = process("enhance", source, "--model", generative, "--steps", "100000")
    deadline = time.monotonic() + TIMEOUT
    while not any(path.name.startswith(".") for path in tmp_path.iterdir()):
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=TIMEOUT)
    assert (child.returncode, out, err.decode().splitlines()) == (130, b"", ["stopped by Ctrl-C"])
    assert names(tmp_path) == ["in.wav"]
