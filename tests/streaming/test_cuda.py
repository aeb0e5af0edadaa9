"""The CUDA graph: what a GPU computes is what the CPU does. Runs where there is a GPU."""

import time

import numpy as np
import pytest
import torch

from audio_enh.inference.checkpoint import load_model
from audio_enh.streaming import BatchedStream, LiveStream, open_backend
from audio_enh.streaming.export import bundled_recordings, run_hops
from audio_enh.streaming.torch_backend import TorchBackend
from tests.streaming.models import small_demucs, small_unet

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def noise(rows: int, samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((rows, samples))).astype(np.float32)


@pytest.mark.parametrize("make", [small_unet, small_demucs])
@pytest.mark.parametrize("rows", [1, 5])
def test_the_graph_gives_what_the_cpu_gives(make, rows):
    model = make()
    audio = noise(rows, 60 * model.hop_length)
    expected = run_hops(TorchBackend(model, rows, optimize=False), audio)
    backend = TorchBackend(model.to("cuda"), rows)
    for _ in range(2):  # from the start again, after the captured state has moved on
        np.testing.assert_allclose(run_hops(backend, audio), expected, atol=1e-4)


@pytest.mark.parametrize("make", [small_unet, small_demucs])
def test_one_row_starts_anew(make):
    model = make()
    hop = model.hop_length
    audio = noise(3, 40 * hop)
    expected = run_hops(TorchBackend(model, 3, optimize=False), audio)
    late = run_hops(TorchBackend(model, 3, optimize=False), audio[:, 20 * hop :])
    backend = TorchBackend(model.to("cuda"), 3)
    out = []
    for i in range(40):
        if i == 20:
            backend.reset(1)
        out.append(backend.step(audio[:, i * hop : (i + 1) * hop]).copy())
    out = np.concatenate(out, axis=1)
    np.testing.assert_allclose(out[[0, 2]], expected[[0, 2]], atol=1e-4)
    np.testing.assert_allclose(out[1, 20 * hop :], late[1], atol=1e-4)


def test_the_shipped_model_agrees_on_speech():
    _, noisy, _, rate = bundled_recordings()[0]
    audio = noisy[None, : 3 * rate // 160 * 160]
    expected = run_hops(open_backend(backend="torch"), audio)
    error = run_hops(open_backend(device="cuda"), audio) - expected
    assert 10 * np.log10(np.sum(expected**2) / np.sum(error**2)) > 80


def test_streams_at_other_rates_come_and_go():
    model = small_unet()
    audio = noise(2, 48000)
    stream = LiveStream(model, 48000, block_length=480)
    expected = np.concatenate([stream.process(audio[:1, i : i + 480]) for i in range(0, 48000, 480)], axis=1)
    calls = BatchedStream(8, model.to("cuda"), 48000, block_length=480)
    row = calls.join()
    blocks = np.zeros((8, 480), np.float32)
    out = []
    for i in range(0, 48000, 480):
        blocks[row] = audio[0, i : i + 480]
        out.append(calls.process(blocks)[row])
    np.testing.assert_allclose(np.concatenate(out), expected[0], atol=1e-4)


def test_a_replay_is_quicker_than_its_launches_one_by_one():
    model, _ = load_model(device="cuda")

    def seconds(backend: TorchBackend) -> float:
        hop = noise(1, 160)
        for _ in range(20):
            backend.step(hop)
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(200):
            backend.step(hop)
        return time.perf_counter() - began

    assert seconds(TorchBackend(model)) < seconds(TorchBackend(model, optimize=False)) / 2
