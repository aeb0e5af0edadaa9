"""Speech enhancement: one API over causal and diffusion models.

>>> import audio_enh
>>> enhancer = audio_enh.load()                                 # doctest: +SKIP
>>> clean = enhancer.enhance(noisy, sample_rate=48000)          # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_enh import renamed
from audio_enh.errors import UserError
from audio_enh.options import EnhanceOptions, SamplingOptions
from audio_enh.registry import register

if TYPE_CHECKING:
    from audio_enh.inference.enhancer import Enhancer
    from audio_enh.streaming import LiveStream

__version__ = "0.1.0"
__all__ = [
    "EnhanceOptions",
    "Enhancer",
    "LiveStream",
    "SamplingOptions",
    "UserError",
    "__version__",
    "load",
    "register",
]

renamed.install()


def load(name_or_path: str | Path | None = None, device: str = "auto") -> Enhancer:
    """Load a model, ready to enhance.

    Args:
        name_or_path: a shipped checkpoint's name (``audio-enh models`` lists them), a checkpoint's folder, or
            ``hf://user/repo[@revision][/folder]``; ``causal-unet-48k`` if None.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
        DeviceError: the device is not there.
    """
    from audio_enh.inference.enhancer import Enhancer

    return Enhancer.from_pretrained(name_or_path, device)


def __getattr__(name: str) -> Any:
    # Enhancer brings torch along; `import audio_enh` and the command line's start stay without it.
    if name == "Enhancer":
        from audio_enh.inference.enhancer import Enhancer

        return Enhancer
    if name in ("LiveStream", "Stream"):
        from audio_enh import streaming

        return getattr(streaming, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
