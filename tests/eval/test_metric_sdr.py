"""The Le Roux family against its definitions, the paper's critical cases, and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import torch

from audio_enh.eval.metrics import MetricError, sd_sdr, si_sar, si_sdr, si_sdr_torch, si_sir, snr
from tests.eval.synthesis import RATE, noisy, speech


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return speech(2.0)


def orthogonal_parts(clean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Noise and artifact of the reference's energy, orthogonal to it and to each other."""
    rng = np.random.default_rng(3)
    basis = [clean / np.linalg.norm(clean)]
    for _ in range(2):
        part = rng.standard_normal(clean.size)
        for known in basis:
            part -= np.dot(part, known) * known
        basis.append(part / np.linalg.norm(part))
    scale = np.linalg.norm(clean)
    return scale * basis[1], scale * basis[2]


def test_known_energies(clean: np.ndarray) -> None:
    noise, artifact = orthogonal_parts(clean)
    estimate = 0.5 * clean + 0.05 * noise + 0.005 * artifact
    assert si_sir(clean, estimate, noise) == pytest.approx(20, abs=1e-9)
    assert si_sar(clean, estimate, noise) == pytest.approx(40, abs=1e-9)
    assert si_sdr(clean, estimate) == pytest.approx(10 * math.log10(0.25 / (0.05**2 + 0.005**2)), abs=1e-9)
    assert snr(clean, estimate) == pytest.approx(-10 * math.log10(0.25 + 0.05**2 + 0.005**2), abs=1e-9)
    assert sd_sdr(clean, estimate) == pytest.approx(snr(clean, estimate) + 20 * math.log10(0.5), abs=1e-9)


def test_interference_and_artifacts_add_up_for_noise_correlated_with_speech(clean: np.ndarray) -> None:
    noise, artifact = orthogonal_parts(clean)
    correlated = noise + 0.3 * clean
    estimate = 0.8 * clean + 0.1 * correlated + 0.07 * artifact
    parts = [10 ** (-metric(clean, estimate, correlated) / 10) for metric in (si_sir, si_sar)]
    assert sum(parts) == pytest.approx(10 ** (-si_sdr(clean, estimate) / 10))
    # Louder interference or artifacts move their own measure only.
    louder = 0.83 * clean + 0.2 * noise + 0.07 * artifact
    assert si_sar(clean, louder, correlated) == pytest.approx(si_sar(clean, estimate, correlated), abs=1e-9)
    assert si_sir(clean, louder, correlated) < si_sir(clean, estimate, correlated) - 5


@pytest.mark.parametrize("gain", [1e-3, 0.5, 3.0, -1.0])
def test_scaling_leaves_si_sdr_and_is_seen_by_the_others(clean: np.ndarray, gain: float) -> None:
    estimate = noisy(clean, 12)
    assert si_sdr(clean, gain * estimate) == pytest.approx(si_sdr(clean, estimate), abs=1e-9)
    assert si_sdr(gain * clean, estimate) == pytest.approx(si_sdr(clean, estimate), abs=1e-9)
    assert snr(clean, gain * estimate) < snr(clean, estimate)


def test_snr_can_be_gamed_by_turning_down_and_sd_sdr_cannot(clean: np.ndarray) -> None:
    # With an error as strong as the target, a muted estimate has the better SNR (0 dB from below); the
    # paper's reason for SD-SDR.
    noise, _ = orthogonal_parts(clean)
    estimate = clean + 1.5 * noise
    assert snr(clean, 0.1 * estimate) > snr(clean, estimate)
    assert sd_sdr(clean, 0.1 * estimate) < sd_sdr(clean, estimate)


def bss_eval_sdr(clean: np.ndarray, estimate: np.ndarray) -> float:
    """The SDR of BSS Eval v3, which forgives any filter of 512 taps."""
    functional = pytest.importorskip("torchmetrics.functional.audio")
    return float(
        functional.signal_distortion_ratio(
            torch.from_numpy(estimate), torch.from_numpy(clean), filter_length=512
        )
    )


def test_band_stop_filter_is_forgiven_by_sdr_and_seen_by_si_sdr(clean: np.ndarray) -> None:
    # The paper's case of a removed band: plain SDR stays far above what the loss of the band means, and falls
    # behind SI-SDR's fall by more than 4 dB at every width.
    scores = []
    for width in (200, 400, 800, 1600):
        band = [1000 - width / 2, 1000 + width / 2]
        stop = scipy.signal.firwin(2049, band, fs=RATE, pass_zero="bandstop")
        removed = scipy.signal.fftconvolve(clean, stop, mode="same")
        scores.append(si_sdr(clean, removed))
        assert bss_eval_sdr(clean, removed) > scores[-1] + 4
    assert scores == sorted(scores, reverse=True)


def test_a_tilted_spectrum_is_perfect_to_sdr_and_ruined_to_si_sdr(clean: np.ndarray) -> None:
    tilted = np.convolve(clean, [1, -0.95])[: clean.size]
    assert bss_eval_sdr(clean, tilted) > 60
    assert si_sdr(clean, tilted) < 0


def test_one_sample_of_delay_ruins_si_sdr(clean: np.ndarray) -> None:
    assert si_sdr(clean, np.roll(clean, 1)) < 20
    assert si_sdr(clean, np.roll(clean, 160)) < 0


def test_si_sdr_is_blind_to_swapped_arguments(clean: np.ndarray) -> None:
    estimate = noisy(clean, 5)
    assert si_sdr(clean, estimate) == pytest.approx(si_sdr(estimate, clean), abs=1e-9)


def test_perfect_estimate_is_infinite(clean: np.ndarray) -> None:
    assert snr(clean, clean) == math.inf
    assert sd_sdr(clean, clean) == math.inf
    assert si_sdr(clean, clean) > 250
    assert si_sdr(clean, clean.astype(np.float32).astype(np.float64)) < 200
    half = np.zeros_like(clean)
    half[::2] = clean[::2]
    other_half = clean - half
    assert si_sdr(half, other_half) == -math.inf


@pytest.mark.parametrize("metric", [snr, si_sdr, sd_sdr])
def test_no_value_has_a_reason(clean: np.ndarray, metric) -> None:
    bad = clean.copy()
    bad[100] = np.nan
    cases = {
        "empty": (clean[:0], clean[:0]),
        "not_mono": (clean[None], clean[None]),
        "not_finite": (clean, bad),
        "length_mismatch": (clean, clean[1:]),
        "silent_reference": (0 * clean, clean),
        "silent_estimate": (clean, 0 * clean + 0.1),
    }
    for reason, arguments in cases.items():
        with pytest.raises(MetricError) as caught:
            metric(*arguments)
        assert caught.value.reason == reason
    with pytest.raises(TypeError, match="int16"):
        metric((clean * 1000).astype(np.int16), (clean * 1000).astype(np.int16))


def test_si_sir_without_noise(clean: np.ndarray) -> None:
    with pytest.raises(MetricError) as caught:
        si_sir(clean, noisy(clean, 3), np.zeros_like(clean))
    assert caught.value.reason == "silent_noise"


def test_error_keeps_its_reason_between_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(MetricError("too_short", "under 0.25 s")))
    assert (error.reason, error.detail) == ("too_short", "under 0.25 s")
    with pytest.raises(ValueError, match="unknown reason"):
        MetricError("whatever", "")  # type: ignore[arg-type]


def test_torch_agrees_with_numpy_and_torchmetrics(clean: np.ndarray) -> None:
    functional = pytest.importorskip("torchmetrics.functional.audio")
    estimates = np.stack([noisy(clean, snr_db) * gain for snr_db, gain in ((-5, 1), (10, 0.1), (40, 2))])
    reference = torch.from_numpy(np.stack([clean] * 3))
    expected = torch.tensor([si_sdr(clean, one) for one in estimates])
    batch = si_sdr_torch(reference, torch.from_numpy(estimates))
    torch.testing.assert_close(batch.float(), expected, rtol=0, atol=1e-5)
    single = si_sdr_torch(
        reference.float().view(1, 3, -1), torch.from_numpy(estimates).float().view(1, 3, -1)
    )
    torch.testing.assert_close(single[0], expected, rtol=0, atol=1e-3)
    theirs = functional.scale_invariant_signal_distortion_ratio(torch.from_numpy(estimates), reference)
    torch.testing.assert_close(theirs.float(), expected, rtol=0, atol=1e-6)
    their_snr = functional.signal_noise_ratio(torch.from_numpy(estimates), reference)
    mine = torch.tensor([snr(clean, one) for one in estimates])
    torch.testing.assert_close(their_snr.float(), mine, rtol=0, atol=1e-6)


def test_torch_is_differentiable_and_finite_on_silence_and_perfection() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(2, 50, dtype=torch.float64, generator=generator)
    estimate = torch.randn(2, 50, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: si_sdr_torch(reference, x), (estimate,))
    for hard in (torch.zeros(2, 50), reference.float()):
        estimate = hard.clone().requires_grad_()
        for target in (reference.float(), torch.zeros(2, 50)):
            (gradient,) = torch.autograd.grad(si_sdr_torch(target, estimate).sum(), estimate)
            assert torch.isfinite(gradient).all()
    with pytest.raises(ValueError, match="shapes differ"):
        si_sdr_torch(reference, estimate[:1])
