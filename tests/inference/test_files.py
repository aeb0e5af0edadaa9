"""Several files at a time: each becomes what it would become alone, and memory and open files stay few."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from audio_enh.errors import AudioFileError, UserError
from audio_enh.inference.enhancer import Enhancer
from audio_enh.inference.files import FileStats, curve_paths, enhance_file, enhance_files
from audio_enh.inference.pool import Window, WindowPool
from audio_enh.models.diffusion import DiffusionEnhancer
from audio_enh.options import EnhanceOptions, FileOptions, SamplingOptions

#: Rate, channels, seconds.
SOUNDS = [
    (16000, 1, 0.7),
    (48000, 2, 1.3),
    (8000, 1, 0.9),
    (16000, 3, 5.2),
    (44100, 1, 0.75),
    (16000, 1, 1e-4),
    (16000, 1, 0.0),
    (16000, 2, 2.0),
    (16000, 1, 0.8),
]
BROKEN = {3: "text", 5: "nan"}

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    ),
]


def bridge(device: str = "cpu") -> DiffusionEnhancer:
    torch.manual_seed(0)
    model = DiffusionEnhancer(
        hop_length=256,
        level="rms",
        process={"name": "sbve"},
        network={"name": "lite", "channels": (4, 4, 8), "rnn_hidden": 4, "rnn_layers": 1},
        prediction="data",
        sampler={"name": "sde", "steps": 3},
    )
    with torch.no_grad():
        model.network.head.weight.mul_(5)
    return model.eval().to(device)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """SOUNDS with two broken files among them: one is no audio, one has a NaN at its end."""
    folder = tmp_path_factory.mktemp("in")
    rng = np.random.default_rng(0)
    paths = []
    for number, (rate, channels, seconds) in enumerate(SOUNDS):
        audio = (0.1 * rng.standard_normal((round(rate * seconds), channels))).astype(np.float32)
        paths.append(folder / f"{number}.wav")
        soundfile.write(paths[-1], audio, rate, "FLOAT")
    text = folder / "text.wav"
    text.write_text("no audio")
    audio = (0.1 * rng.standard_normal(16000 * 4)).astype(np.float32)
    audio[-1] = np.nan
    soundfile.write(folder / "nan.wav", audio, 16000, "FLOAT")
    for place, name in BROKEN.items():
        paths.insert(place, folder / f"{name}.wav")
    return paths


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32", always_2d=True)[0]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("draws", [1, 3])
def test_files_together_become_what_each_becomes_alone(
    sources: list[Path], tmp_path: Path, device: str, draws: int
) -> None:
    if draws > 1:  # pictures take their time
        sources = sources[1:6]
    broken = [source.stem in ("text", "nan") for source in sources]
    options = FileOptions(
        EnhanceOptions(sampling=SamplingOptions(draws=draws, combine="median", seed=5)), uncertainty=draws > 1
    )
    model = bridge(device)
    together = Enhancer(model, window_seconds=2, overlap_seconds=0.5, windows_per_call=4)
    alone = Enhancer(model, window_seconds=2, overlap_seconds=0.5, windows_per_call=1)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    jobs = [(source, tmp_path / "a" / source.name) for source in sources]
    told: list[tuple[int, float]] = []
    results = dict(enhance_files(together, jobs, options, progress=lambda *what: told.append(what)))
    assert sorted(results) == list(range(len(jobs)))
    for number, source in enumerate(sources):
        if broken[number]:
            kind = AudioFileError if source.stem == "text" else UserError
            assert isinstance(results[number], kind)
            continue
        first, second = tmp_path / "a" / source.name, tmp_path / "b" / source.name
        stats = enhance_file(alone, source, second, options)
        assert isinstance(results[number], FileStats), results[number]
        assert results[number].frames == stats.frames
        expected = read(second)
        assert stats.frames == 0 or np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(read(first), expected, atol=1e-5, rtol=1e-3)
        if draws > 1:
            tables = [
                np.genfromtxt(curve_paths(path)[0], delimiter=",", skip_header=1) for path in (first, second)
            ]
            np.testing.assert_allclose(*tables, atol=0.011)  # its decibels are rounded
        shares = [seconds for which, seconds in told if which == number]
        assert shares == sorted(shares)
        if stats.frames:
            assert shares[-1] == pytest.approx(stats.seconds, abs=0.01)
    suffixes = {".csv", ".png", ".wav"} if draws > 1 else {".wav"}
    left = [path for path in (tmp_path / "a").iterdir() if path.suffix in suffixes]
    assert len(left) == len(list((tmp_path / "a").iterdir())) == broken.count(False) * len(suffixes)


class Counting(DiffusionEnhancer):
    """Notes the rows of each call."""

    def draw(self, audio: Tensor, *rest: object, **options: object) -> Tensor:
        self.calls.append(len(audio))
        return audio


@pytest.fixture
def counting() -> Counting:
    model = Counting(network={"name": "lite", "channels": (4, 4, 8), "rnn_hidden": 4, "rnn_layers": 1})
    model.calls = []
    return model


def test_short_files_fill_calls(tmp_path: Path, counting: Counting) -> None:
    """Forty files of a tenth of a second to 1.5 s: three lengths of windows."""
    rng = np.random.default_rng(0)
    jobs = []
    for number in range(40):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(int(rng.integers(1600, 24000))), 16000)
        jobs.append((path, tmp_path / f"{number}.out.wav"))
    enhancer = Enhancer(counting, windows_per_call=8)
    waiting = []
    for _, result in enhance_files(enhancer, jobs):
        assert isinstance(result, FileStats)
        waiting.append(sum(1 for path in tmp_path.iterdir() if path.name.startswith(".")))
    assert sum(counting.calls) == 40
    assert len(counting.calls) <= 10
    assert max(waiting) <= 32
    assert all((tmp_path / f"{number}.out.wav").exists() for number in range(40))


def test_a_long_file_does_not_keep_short_ones_waiting(tmp_path: Path, counting: Counting) -> None:
    """A short file before a long one is done long before that."""
    soundfile.write(tmp_path / "short.wav", np.full(8000, 0.1), 16000)
    soundfile.write(tmp_path / "long.wav", np.full(16000 * 60, 0.1), 16000)
    enhancer = Enhancer(counting, window_seconds=1, overlap_seconds=0.2, windows_per_call=2)
    jobs = [(tmp_path / f"{name}.wav", tmp_path / f"{name}.out.wav") for name in ("short", "long")]
    results = enhance_files(enhancer, jobs)
    assert next(results)[0] == 0
    assert len(counting.calls) < 10
    # Given up in the middle: what is done stays, the rest leaves nothing behind.
    results.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.wav", "short.out.wav", "short.wav"]


class TestPool:
    """Groups of one length and function."""

    @staticmethod
    def double(audio: Tensor, starts: Sequence[int], tell: Callable[[float], None]) -> Tensor:
        return 2 * audio[None]

    def test_windows_of_one_length_are_run_together(self) -> None:
        pool = WindowPool(4)
        windows = [Window(self.double, torch.randn(channels, 10), 0) for channels in (1, 2, 3, 1, 9)]
        done = []
        for window in windows:
            pool.add(window)
            done.append([w.done for w in windows].count(True))
        # 1 and 2 before 3 would be too many; 3 and 1 are four; nine are alone.
        assert done == [0, 0, 2, 4, 5]
        assert pool.calls == 3
        for window in windows:
            assert torch.equal(window.result(), 2 * window.audio)

    def test_none_waits_for_long(self) -> None:
        pool = WindowPool(2)
        odd = Window(self.double, torch.ones(1, 7), 0)
        pool.add(odd)
        for _ in range(pool.patience - 1):
            pool.add(Window(self.double, torch.ones(1, 10), 0))
            assert not odd.done
        pool.add(Window(self.double, torch.ones(1, 10), 0))
        assert odd.done

    def test_an_error_stays_with_its_window(self) -> None:
        def refuse_negative(audio: Tensor, starts: Sequence[int], tell: Callable[[float], None]) -> Tensor:
            if (audio < 0).any():
                raise RuntimeError("negative")
            return audio[None]

        pool = WindowPool(3)
        windows = [Window(refuse_negative, torch.full((1, 5), value), 0) for value in (1.0, -1.0, 2.0)]
        for window in windows:
            pool.add(window)
        assert torch.equal(windows[0].result(), windows[0].audio)
        assert torch.equal(windows[2].result(), windows[2].audio)
        with pytest.raises(RuntimeError, match="negative"):
            windows[1].result()
