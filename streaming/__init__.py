"""Live enhancement: a model on sound that comes in block by block.

>>> from audio_enh.streaming import LiveStream
>>> stream = LiveStream("causal-unet-16k", sample_rate=48000, channels=1, block_length=480)  # doctest: +SKIP
>>> stream.latency_samples, stream.latency                                               # doctest: +SKIP
(624, Latency(resampler_in=72.0, model=480.0, buffering=0.0, resampler_out=72.0))
>>> out = stream.process(block)           # (channels, n) float32 in, the same shape out  # doctest: +SKIP
>>> stream.strength = 0.7                 # from any thread; fades, does not click        # doctest: +SKIP
>>> out = stream.process(block, run_model=False)   # overloaded: dry, aligned, cheap      # doctest: +SKIP
>>> rest = stream.flush()                                                                # doctest: +SKIP

`LiveStream` (engine.py) is what a live program, a plug-in host or a server needs: see there for channels, latency and
what happens to NaN. `process` is for a worker thread, not for the audio callback: it allocates a few small arrays
and runs the model. `BatchedStream` (batched.py) is the same for many streams in one call, which may join and
leave. `Resampler` (resampler.py) is the live resampler by itself: ``Resampler(48000, 48000)`` with ``ratio_ppm``
follows the clock of another device. `open_backend` (backend.py) gives the bare model, one hop per call.

The model runs in ONNX Runtime (onnx_backend.py) where an exported file lies beside the weights, else in PyTorch
(torch_backend.py). Nothing here imports torch before PyTorch is asked for.
"""

from __future__ import annotations

import warnings
from typing import Any

from audio_enh.streaming.backend import Backend, open_backend
from audio_enh.streaming.batched import BatchedStream
from audio_enh.streaming.engine import Latency, LiveStream
from audio_enh.streaming.resampler import Resampler

__all__ = ["Backend", "BatchedStream", "Latency", "LiveStream", "Resampler", "open_backend"]


def __getattr__(name: str) -> Any:
    if name == "Stream":
        warnings.warn("Stream is now called LiveStream", DeprecationWarning, stacklevel=2)
        return LiveStream
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
