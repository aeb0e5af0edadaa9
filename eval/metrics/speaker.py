"""Whether enhanced speech is still of the same speaker: Resemblyzer's voice encoder.

Only the weights in its package are read. Its code needs packages that new Pythons cannot import, and the network is
small: an LSTM of three layers over a mel spectrogram, the last state through a linear layer.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import DependencyError, UserError

from .errors import MetricError, as_pair, check_rate

if TYPE_CHECKING:
    import torch

PACKAGE = "resemblyzer"
_RATE = 16000
_MIN_SECONDS = 1.0
_LEVEL_DB = -30.0
# Speech is what lies within this of the loudest stretch of 30 ms, and 180 ms around it.
_FRAME = 480
_RANGE_DB = 40.0
_AROUND = 6
# Of the network: frames of 25 ms every 10 ms, windows of 160 frames, 1.3 of them a second.
_N_FFT, _HOP, _MELS = 400, 160, 40
_WINDOW = 160
_WINDOW_STEP = 77
_MIN_COVERAGE = 0.75
_SIZE = 256


def speaker_similarity(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int
) -> float:
    """Cosine of the angle between two voices' embeddings (Wan et al., ICASSP 2018, as trained for Resemblyzer): 0 to
    1, higher is better. Clean recordings of one speaker have 0.70 to 0.94, of two 0.41 to 0.73.

    Both signals are cut to where the reference has speech and brought to one level.

    Args:
        reference, estimate: ``(samples,)``, equally long, full scale is 1.
        sample_rate: 16000, in Hz.

    Raises:
        MetricError: ``unsupported_rate``, ``too_little_speech`` (under 1 s), or the inputs' faults.
        DependencyError: ``resemblyzer`` is not installed.
    """
    check_rate(sample_rate, (_RATE,), "speaker similarity")
    clean, other = as_pair(reference, estimate)
    speech = _speech(clean)
    if np.count_nonzero(speech) < _MIN_SECONDS * _RATE:
        raise MetricError(
            "too_little_speech",
            f"speaker similarity needs {_MIN_SECONDS:g} s of speech, pauses left out",
        )
    first, second = (embed(_levelled(audio[speech])) for audio in (clean, other))
    return min(1.0, float(first @ second))


def embed(audio: NDArray[np.floating]) -> NDArray[np.float32]:
    """The embedding of a voice, ``(256,)`` of length 1 with no value below 0: the mean over windows of 1.6 s.

    Args:
        audio: ``(samples,)`` at 16 kHz, speech without long pauses at about -30 dBFS.
    """
    network = _network()
    import librosa
    import torch

    windows = _windows(audio.size)
    padded = np.pad(audio, (0, max(0, (windows[-1] + _WINDOW) * _HOP - audio.size)))
    mel = librosa.feature.melspectrogram(
        y=padded.astype(np.float32), sr=_RATE, n_fft=_N_FFT, hop_length=_HOP, n_mels=_MELS
    ).T
    with torch.inference_mode():
        frames = torch.from_numpy(np.stack([mel[start : start + _WINDOW] for start in windows]))
        total = network(frames).mean(0)
        return (total / total.norm()).numpy()


def _windows(samples: int) -> list[int]:
    """First frames of the windows. The last is left out where less than three quarters of it would be sound."""
    frames = math.ceil((samples + 1) / _HOP)
    starts = list(range(0, max(1, frames - _WINDOW + _WINDOW_STEP + 1), _WINDOW_STEP))
    covered = (samples / _HOP - starts[-1]) / _WINDOW
    return starts[:-1] if len(starts) > 1 and covered < _MIN_COVERAGE else starts


def _speech(audio: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which samples are speech or a short pause within it."""
    from scipy.ndimage import binary_dilation

    frames = math.ceil(audio.size / _FRAME)
    power = np.square(np.pad(audio, (0, frames * _FRAME - audio.size))).reshape(frames, _FRAME).mean(1)
    loud = power > power.max() * 10 ** (-_RANGE_DB / 10)
    near = binary_dilation(loud, np.ones(2 * _AROUND + 1))
    return np.repeat(near, _FRAME)[: audio.size]


def _levelled(audio: NDArray[np.float64]) -> NDArray[np.float64]:
    level = math.sqrt(np.mean(np.square(audio)))
    if level == 0:
        raise MetricError("silent_estimate", "estimate is silent where the reference has speech")
    return audio * (10 ** (_LEVEL_DB / 20) / level)


@functools.cache
def _network() -> torch.nn.Module:
    found = importlib.util.find_spec(PACKAGE)  # which does not run it
    if found is None or not found.submodule_search_locations:
        raise DependencyError.alone("speaker similarity", PACKAGE)
    import torch

    path = Path(next(iter(found.submodule_search_locations)), "pretrained.pt")

    class VoiceEncoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(_MELS, _SIZE, 3, batch_first=True)
            self.linear = torch.nn.Linear(_SIZE, _SIZE)

        def forward(self, mel: torch.Tensor) -> torch.Tensor:
            """``(windows, frames, bands)`` to ``(windows, 256)``, each of length 1."""
            _, (hidden, _) = self.lstm(mel)
            raw = torch.relu(self.linear(hidden[-1]))
            return raw / raw.norm(dim=1, keepdim=True)

    network = VoiceEncoder()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        network.load_state_dict({name: state[name] for name in network.state_dict()})
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not what the package {PACKAGE} 0.1.4 brings: install it anew") from error
    return network.eval()
