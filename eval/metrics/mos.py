"""Quality without a reference: Microsoft's networks DNSMOS and PLCMOS, from the ``speechmos`` package, which
brings their weights: nothing is downloaded."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import DependencyError

from .errors import MetricError, as_signal, check_rate, check_seconds, is_silent

if TYPE_CHECKING:
    import onnxruntime

_RATE = 16000
# Shorter clips the package repeats up to 9.01 s; an empty one it would repeat for ever.
_MIN_SECONDS = 0.25
_PLCMOS_RATERS = 15


class Dnsmos(NamedTuple):
    """Predicted mean opinion scores, 1 (bad) to 5."""

    ovrl: float  # P.835 overall
    sig: float  # P.835 speech signal
    bak: float  # P.835 background
    p808: float  # P.808 overall, an earlier network


def dnsmos(estimate: NDArray[np.floating], sample_rate: int) -> Dnsmos:
    """DNSMOS P.835 (Reddy, Gopal, Cutler, ICASSP 2022) and P.808 (same, ICASSP 2021): mean opinion scores
    as predicted by a network, about 1 to 5; higher is better.

    Means over windows of 9.01 s, 1 s apart; shorter clips are repeated. The scores depend on the level.
    Samples beyond full scale are clipped, as a loudspeaker's converter would.

    Args:
        estimate: ``(samples,)``, full scale is 1.
        sample_rate: 16000, in Hz.

    Raises:
        MetricError: ``unsupported_rate``, ``too_short`` (under 0.25 s), ``silent_estimate`` (the network
            would say 1.84), or the input's faults.
        DependencyError: ``speechmos`` is not installed.
    """
    scores = _dnsmos_model()(_prepare(estimate, sample_rate, "DNSMOS"), _RATE, False)
    return Dnsmos(*(float(scores[name]) for name in ("ovrl_mos", "sig_mos", "bak_mos", "p808_mos")))


def plcmos(estimate: NDArray[np.floating], sample_rate: int, seed: int = 0) -> float:
    """PLCMOS v2 (Diener, Purin, Sootla, Saabas, Aichner, Cutler, Interspeech 2023): mean opinion score under
    packet loss as predicted by a network, about 1 to 5; higher is better.

    The network is asked as 15 random raters and their mean taken; ``seed`` draws the raters (the package
    itself draws others at every call).

    Args:
        estimate: ``(samples,)``, full scale is 1; samples beyond it are clipped.
        sample_rate: 16000, in Hz.

    Raises:
        MetricError: as ``dnsmos``.
        DependencyError: ``speechmos`` is not installed.
    """
    model = _plcmos_model()
    features = model.stft_transform(_prepare(estimate, sample_rate, "PLCMOS"))
    audio = features[None, None].astype(np.float32)
    raters = np.random.default_rng(seed).standard_normal((_PLCMOS_RATERS, 1, 64)).astype(np.float32)
    scores = [model.session.run(None, {"degraded_audio": audio, "rater_embed": one})[0] for one in raters]
    return float(np.mean(scores))


def _prepare(estimate: NDArray[np.floating], sample_rate: int, metric: str) -> NDArray[np.float64]:
    check_rate(sample_rate, (_RATE,), metric)
    audio = as_signal(estimate, "estimate")
    check_seconds(audio.size, sample_rate, _MIN_SECONDS, metric)
    if is_silent(audio):
        raise MetricError("silent_estimate", f"estimate is silent: {metric} judges speech")
    return np.clip(audio, -1, 1)


@functools.cache
def _dnsmos_model() -> Any:
    try:
        import speechmos.dnsmos
    except ImportError as error:
        raise DependencyError.missing("DNSMOS", "speechmos", "eval") from error
    folder = Path(speechmos.dnsmos.__file__).parent / "dnsmos_models"
    overall, p808 = str(folder / "sig_bak_ovr.onnx"), str(folder / "model_v8.onnx")
    model = speechmos.dnsmos.DNSMOS(overall, p808)
    model.onnx_sess, model.p808_onnx_sess = _session(overall), _session(p808)
    return model


@functools.cache
def _plcmos_model() -> Any:
    try:
        import speechmos.plcmos
    except ImportError as error:
        raise DependencyError.missing("PLCMOS", "speechmos", "eval") from error
    model = speechmos.plcmos.PLCMOS()
    model.session = _session(model.model_path)
    return model


def _session(path: str) -> onnxruntime.InferenceSession:
    """One thread each: the evaluation runs in parallel over files, and the package's default of one thread
    per core makes the processes fight."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
