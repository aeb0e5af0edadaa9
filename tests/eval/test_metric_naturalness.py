"""DistillMOS against its package called directly, and what it has no value for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import audio_enh
from audio_enh.eval.metrics import MetricError, distillmos
from audio_enh.io import read_audio
from tests.eval.synthesis import RATE, noisy, speech

pytest.importorskip("distillmos")
pytest.importorskip("torchaudio")


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return speech(8.2, seed=8)  # longer than a window of the network: two of them


def test_as_the_package(clean: np.ndarray) -> None:
    from distillmos import ConvTransformerSQAModel

    network = ConvTransformerSQAModel().eval()
    for audio in (clean[: 2 * RATE], clean):
        with torch.inference_mode():
            expected = float(network(torch.from_numpy(audio.astype(np.float32))[None]))
        assert distillmos(audio, RATE) == pytest.approx(expected, abs=1e-5)


def test_noise_lowers_it_and_a_gain_does_not_move_it(capsys) -> None:
    part = read_audio(Path(audio_enh.__file__).parent / "samples" / "clean" / "rain.flac")[0][0, : 3 * RATE]
    score = distillmos(part, RATE)
    assert distillmos(noisy(part, 0), RATE) < score
    assert distillmos(0.1 * part, RATE) == pytest.approx(score, abs=1e-3)
    assert capsys.readouterr().out == ""


def test_a_long_file_takes_no_more_memory(clean: np.ndarray, monkeypatch) -> None:
    sizes = []

    class Network:
        def __call__(self, windows: torch.Tensor) -> torch.Tensor:
            sizes.append(tuple(windows.shape))
            return torch.full((len(windows), 1), 3.0)

    monkeypatch.setattr("audio_enh.eval.metrics.naturalness._model", Network)
    assert distillmos(np.resize(clean, 60 * RATE), RATE) == 3
    assert max(sizes) == (4, 122880)
    assert (
        sum(count for count, _ in sizes) == 54
    )  # the 52.32 s beyond the first window, in steps of 1 s at most


@pytest.mark.parametrize(
    "reason", ["empty", "too_short", "silent_estimate", "not_finite", "unsupported_rate"]
)
def test_no_value_has_a_reason(clean: np.ndarray, reason: str) -> None:
    bad = clean.copy()
    bad[0] = np.nan
    arguments = {
        "empty": (clean[:0], RATE),
        "too_short": (clean[:3999], RATE),
        "silent_estimate": (0 * clean, RATE),
        "not_finite": (bad, RATE),
        "unsupported_rate": (clean, 48000),
    }[reason]
    with pytest.raises(MetricError) as caught:
        distillmos(*arguments)
    assert caught.value.reason == reason
