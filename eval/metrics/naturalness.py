"""How natural speech sounds, without a reference: DistillMOS, from the ``distillmos`` package, which brings its
weights: nothing is downloaded."""

from __future__ import annotations

import contextlib
import functools
import io
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import DependencyError

from .errors import MetricError, as_signal, check_rate, check_seconds, is_silent

if TYPE_CHECKING:
    import torch

_RATE = 16000
_MIN_SECONDS = 0.25
# The network's window, and the largest step from one to the next.
_WINDOW = 122880
_HOP = 16000
# Windows computed at once; the package takes all of a file, which needs 1 GB for each minute.
_BATCH = 4


def distillmos(estimate: NDArray[np.floating], sample_rate: int) -> float:
    """DistillMOS (Stahl and Gamper, ICASSP 2025): mean opinion score of a listening test as predicted by a small
    network that was distilled from a large one; 1 to 5, higher is better.

    The mean over windows of 7.68 s, at most 1 s apart; shorter clips are filled up with silence, as in the package.
    A gain changes nothing: the network divides by the peak of each window.

    Args:
        estimate: ``(samples,)``, full scale is 1.
        sample_rate: 16000, in Hz.

    Raises:
        MetricError: ``unsupported_rate``, ``too_short`` (under 0.25 s), ``silent_estimate``, or the input's faults.
        DependencyError: ``distillmos`` is not installed, or its ``torchaudio`` does not load.
    """
    check_rate(sample_rate, (_RATE,), "DistillMOS")
    audio = as_signal(estimate, "estimate")
    check_seconds(audio.size, sample_rate, _MIN_SECONDS, "DistillMOS")
    if is_silent(audio):
        raise MetricError("silent_estimate", "estimate is silent: DistillMOS judges speech")
    model = _model()
    import torch

    samples = torch.from_numpy(np.pad(audio.astype(np.float32), (0, max(0, _WINDOW - audio.size))))
    rest = samples.numel() - _WINDOW
    starts = [int(part * rest) for part in np.linspace(0, 1, math.ceil(rest / _HOP) + 1)]
    scores = []
    with torch.inference_mode():
        for first in range(0, len(starts), _BATCH):
            windows = [samples[start : start + _WINDOW] for start in starts[first : first + _BATCH]]
            scores.append(model(torch.stack(windows)).reshape(-1))
    return float(torch.cat(scores).mean())


@functools.cache
def _model() -> torch.nn.Module:
    try:
        from distillmos import ConvTransformerSQAModel
    except (ImportError, OSError) as error:  # OSError: torchaudio's library and torch's do not fit
        raise DependencyError.missing("DistillMOS", "distillmos", "speech-metrics") from error
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights are
        model = ConvTransformerSQAModel(segmenting_in_forward=False)
    return model.eval()
