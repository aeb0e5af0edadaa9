"""One task measured: files read, checked, aligned and scored. Runs in a worker process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio_enh.digest import file_sha256
from audio_enh.errors import AudioFileError

from .arrays import select_metrics
from .lag import find_lag, overlap
from .metrics import Measurement, Metric, MetricError, Signals, dnsmos, measure, snr
from .metrics.errors import is_silent
from .metrics.signals import resample
from .rows import NOISY, SWAP_MARGIN, Failure, Row, Settings, Task, failed_row

# Below this normalised correlation the peak is chance, and no lag is claimed.
_CREDIBLE_CORRELATION = 0.2
DNSMOS_RATE = 16000


@dataclass
class _Audio:
    samples: NDArray[np.float64]  # (channels, n)
    rate: int
    digest: str


class _FileFailure(Exception):
    """A file is not fit to be measured."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.failure = Failure(reason, detail)


def measure_file(task: Task, settings: Settings) -> Row:
    """Score one estimate; whatever is wrong with the files is in the row."""
    metrics = metrics_for(task, settings)
    names = [metric.name for metric in metrics]
    if task.failed is not None:
        return failed_row(task, names, task.failed)
    try:
        estimate = _read(task.estimate, "estimate")
    except _FileFailure as error:
        return failed_row(task, names, error.failure)
    row = failed_row(task, (), Failure("", ""))
    row.seconds = estimate.samples.shape[1] / estimate.rate
    row.sample_rate, row.channels = estimate.rate, estimate.samples.shape[0]
    row.sha256["estimate"] = estimate.digest
    finite = np.isfinite(estimate.samples)
    row.peak = float(np.abs(estimate.samples[finite]).max(initial=0))
    if row.peak > 1:
        row.warnings.append("above_full_scale")

    reference = noisy = pair_failure = mixture_failure = None
    try:
        if task.reference is not None:
            reference = _reference(task.reference, estimate, settings.sample_rate, row)
        if task.noisy is not None and task.system != NOISY:
            try:
                noisy = _mixture(task.noisy, estimate, settings.sample_rate, row)
            except _FileFailure as error:  # only metrics that need the mixture suffer
                mixture_failure = error.failure
        estimate = _at_rate(estimate, settings.sample_rate, "estimate")
        if reference is not None:
            length = reference.samples.shape[1]
            if noisy is not None and noisy.samples.shape[1] != length:
                mixture_failure = Failure(
                    "length_mismatch",
                    f"reference has {length} samples, mixture {noisy.samples.shape[1]}",
                )
                noisy = None
            estimate, reference, noisy = _line_up(estimate, reference, noisy, settings, row)
    except _FileFailure as error:
        pair_failure = error.failure
        reference = noisy = None

    unfit: dict[str, Failure] = {}
    for metric in metrics:
        if metric.needs_reference and pair_failure is not None:
            unfit[metric.name] = pair_failure
        elif metric.needs == "noisy" and mixture_failure is not None:
            unfit[metric.name] = mixture_failure
    fit = [metric for metric in metrics if metric.name not in unfit]
    result = _measure_channels(fit, estimate, reference, noisy, task.transcript)
    row.scores = result.scores
    found = {name: Failure(error.reason, error.detail) for name, error in result.failures.items()} | unfit
    row.failures = {name: found[name] for name in names if name in found}
    row.metric_seconds = {name: round(seconds, 4) for name, seconds in result.seconds.items()}
    row.status = "ok" if not row.failures else "partial" if row.scores else "failed"
    if reference is not None and task.system == NOISY:
        row.input_snr_db = _input_snr(reference, estimate)
    if reference is not None and task.check_swap:
        _check_swap(reference, estimate, row)
    return row


def metrics_for(task: Task, settings: Settings) -> tuple[Metric, ...]:
    """The metrics that make sense: of the mixture itself there is no interference or artifact to tell apart."""
    return tuple(
        metric
        for metric in select_metrics(settings.metrics)
        if task.system != NOISY or metric.needs != "noisy"
    )


def _read(path: Path, role: str) -> _Audio:
    from audio_enh.io import read_audio

    try:
        samples, rate = read_audio(path)
        digest = file_sha256(path)[:16]
    except (AudioFileError, OSError) as error:
        raise _FileFailure("unreadable", f"{role}: {error}") from error
    if samples.shape[1] == 0:
        raise _FileFailure("empty", f"{role} {path} has no samples")
    return _Audio(samples.astype(np.float64), rate, digest)


def _reference(path: Path, estimate: _Audio, rate: int | None, row: Row) -> _Audio:
    reference = _read(path, "reference")
    row.sha256["reference"] = reference.digest
    _check_format("reference", reference, estimate, rate)
    if reference.samples.shape == estimate.samples.shape and np.array_equal(
        reference.samples, estimate.samples
    ):
        row.warnings.append("identical_to_reference")
    return _at_rate(reference, rate, "reference")


def _mixture(path: Path, estimate: _Audio, rate: int | None, row: Row) -> _Audio:
    noisy = _read(path, "mixture")
    _check_format("mixture", noisy, estimate, rate)
    row.sha256["noisy"] = noisy.digest
    if noisy.samples.shape == estimate.samples.shape and np.array_equal(noisy.samples, estimate.samples):
        row.warnings.append("identical_to_noisy")
    return _at_rate(noisy, rate, "mixture")


def _check_format(role: str, other: _Audio, estimate: _Audio, rate: int | None) -> None:
    if other.rate != estimate.rate and rate is None:
        raise _FileFailure(
            "rate_mismatch", f"{role} has {other.rate} Hz, estimate {estimate.rate} Hz: see --sample-rate"
        )
    if other.samples.shape[0] != estimate.samples.shape[0]:
        raise _FileFailure(
            "channel_mismatch",
            f"{role} has {other.samples.shape[0]} channels, estimate {estimate.samples.shape[0]}",
        )


def _at_rate(audio: _Audio, rate: int | None, role: str) -> _Audio:
    """At the rate that was asked for, where one was."""
    if rate is None or rate == audio.rate:
        return audio
    if audio.rate < rate:
        raise _FileFailure(
            "unsupported_rate", f"{role} has {audio.rate} Hz, {rate} are asked for; it is not upsampled"
        )
    try:
        channels = [resample(channel, audio.rate, rate, role) for channel in audio.samples]
    except MetricError as error:
        raise _FileFailure(error.reason, error.detail) from error
    return _Audio(np.stack(channels), rate, audio.digest)


def _line_up(
    estimate: _Audio, reference: _Audio, noisy: _Audio | None, settings: Settings, row: Row
) -> tuple[_Audio, _Audio, _Audio | None]:
    """Measure the lag, take it out if asked to, and make the lengths equal within the tolerance."""
    # Resampling rounds the length: two samples are no difference then.
    resampled = settings.sample_rate is not None
    tolerance = settings.trim_ms + (2000 / estimate.rate if resampled else 0)
    here, there = slice(None), slice(None)
    lag = find_lag(reference.samples.mean(0), estimate.samples.mean(0), estimate.rate)
    if lag is not None and abs(lag.correlation) >= _CREDIBLE_CORRELATION:
        row.lag_samples = lag.samples
        row.lag_ms = 1000 * lag.samples / estimate.rate
        row.lag_correlation = round(lag.correlation, 4)
        if lag.correlation < 0:
            row.warnings.append("inverted")
        if lag.samples and settings.align_ms == 0:
            row.warnings.append("lag")
        elif abs(row.lag_ms) > settings.align_ms:
            row.warnings.append("lag_beyond_limit")
        elif lag.samples:
            row.warnings.append("aligned")
            here, there = overlap(lag.samples, reference.samples.shape[1], estimate.samples.shape[1])
            # A late estimate that was not cut is as much longer as it is late.
            tolerance += abs(row.lag_ms)
    lengths = reference.samples.shape[1], estimate.samples.shape[1]
    excess = 1000 * abs(lengths[0] - lengths[1]) / estimate.rate
    if excess > tolerance:
        raise _FileFailure(
            "length_mismatch",
            f"reference has {lengths[0]} samples, estimate {lengths[1]}: {excess:.1f} ms apart (see --trim)",
        )
    if excess:
        row.warnings.append("trimmed")
    mixture = None if noisy is None else noisy.samples[:, here]
    clean, other = reference.samples[:, here], estimate.samples[:, there]
    length = min(clean.shape[1], other.shape[1])
    if length == 0:
        raise _FileFailure("too_short", "nothing is left after the alignment")
    return (
        _Audio(other[:, :length], estimate.rate, estimate.digest),
        _Audio(clean[:, :length], estimate.rate, reference.digest),
        None if mixture is None else _Audio(mixture[:, :length], estimate.rate, ""),
    )


def _measure_channels(
    metrics: Sequence[Metric],
    estimate: _Audio,
    reference: _Audio | None,
    noisy: _Audio | None,
    transcript: str | None,
) -> Measurement:
    """Means over channels; a channel without a score takes it from all."""
    results = [
        measure(
            Signals(
                channel,
                estimate.rate,
                None if reference is None else reference.samples[index],
                None if noisy is None else noisy.samples[index],
                transcript,
            ),
            metrics,
        )
        for index, channel in enumerate(estimate.samples)
    ]
    total = Measurement()
    for metric in metrics:
        failures = [each.failures[metric.name] for each in results if metric.name in each.failures]
        if failures:
            total.failures[metric.name] = failures[0]
        else:
            total.scores[metric.name] = float(np.mean([each.scores[metric.name] for each in results]))
    for each in results:
        for name, seconds in each.seconds.items():
            total.seconds[name] = total.seconds.get(name, 0.0) + seconds
    return total


def _input_snr(reference: _Audio, noisy: _Audio) -> float | None:
    """SNR of the mixture in dB over all channels; None when there is none to speak of."""
    try:
        value = snr(reference.samples.reshape(-1), noisy.samples.reshape(-1))
    except MetricError:
        return None
    return value if np.isfinite(value) else None


def _check_swap(reference: _Audio, estimate: _Audio, row: Row) -> None:
    """Warn when the reference sounds worse than what is judged against it. An enhanced file may well please
    the network more than clean speech does, a noisy one may not: hence the margin."""
    clean, other = reference.samples.mean(0), estimate.samples.mean(0)
    if is_silent(clean) or is_silent(other):
        return
    try:
        row.reference_ovrl = _ovrl(clean, reference.rate)
        row.estimate_ovrl = _ovrl(other, estimate.rate)
    except MetricError:
        return
    margin = 0.0 if row.system == NOISY else SWAP_MARGIN
    if row.reference_ovrl < row.estimate_ovrl - margin:
        row.warnings.append("maybe_swapped")


def _ovrl(audio: NDArray[np.float64], rate: int) -> float:
    """DNSMOS OVRL of one window, the beginning or all of it repeated: enough to tell clean from noisy."""
    narrow = audio if rate == DNSMOS_RATE else resample(audio, rate, DNSMOS_RATE)
    return dnsmos(np.resize(narrow, round(9.01 * DNSMOS_RATE)), DNSMOS_RATE).ovrl
