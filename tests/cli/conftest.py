"""One tiny checkpoint, and the command line as a function and as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from audio_enh.cli import run
from audio_enh.inference.checkpoint import save_checkpoint
from audio_enh.models.causal_unet import CausalUNet

SCRIPT = Path(sys.executable).with_name("audio-enh")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model, which by its initialisation nearly passes its input."""
    arguments = {"window_length": 320, "channels": (4, 4), "rnn_hidden": 8, "rnn_layers": 1}
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    save_checkpoint(folder, CausalUNet(**arguments).eval(), {"licence": "CC0-1.0"}, arguments=arguments)
    return folder


@dataclass
class Result:
    """What a run came to."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], checkpoint: Path):
    """The command line within this process; `enhance` gets the tiny checkpoint unless it names one."""

    def call(*arguments: str | Path) -> Result:
        words = [str(argument) for argument in arguments]
        if words[0] == "enhance" and "--model" not in words:
            words += ["--model", str(checkpoint)]
        capsys.readouterr()
        code = run(words)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def process(checkpoint: Path):
    """The installed program as a child process, started but not waited for."""

    def start(*arguments: str | Path, **options) -> subprocess.Popen[bytes]:
        words = [str(argument) for argument in arguments]
        if words[0] == "enhance" and "--model" not in words:
            words += ["--model", str(checkpoint)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([str(SCRIPT), *words], env=environment, **pipes)

    return start


def sound(rate: int = 16000, seconds: float = 1.0, channels: int = 1) -> np.ndarray:
    """``(channels, samples)`` of noise below 3 kHz with a lively envelope, by its seed always the same."""
    rng = np.random.default_rng(7)
    samples = round(rate * seconds)
    spectrum = np.fft.rfft(rng.standard_normal((channels, samples)), axis=1)
    spectrum[:, np.fft.rfftfreq(samples, 1 / rate) > 3000] = 0
    noise = np.fft.irfft(spectrum, samples, axis=1)
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * np.arange(samples) / rate)
    noise *= envelope
    return (0.3 * noise / np.abs(noise).max()).astype(np.float32)
