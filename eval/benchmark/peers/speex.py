"""The noise suppressor of Speex's preprocessor, frames of 10 ms."""

# mypy: disable-error-code=import-not-found

import numpy as np

HOP = 160

PEER = {
    "source": "SpeexDSP preprocessor, Ephraim-Malah",
    "licence": "BSD-3-Clause",
    "requirements": ["speexdsp-ns==0.1.2", "numpy"],
    "sample_rate": 16000,
    "delay": 160,
    "latency_ms": 30.0,
}


def load():
    from speexdsp_ns import NoiseSuppression

    def enhance(audio):
        suppressor = NoiseSuppression.create(HOP, 16000)
        frames = np.pad(audio, (0, -len(audio) % HOP)).reshape(-1, HOP)
        frames = (32767 * frames.clip(-1, 1)).astype("<i2")
        out = b"".join(suppressor.process(frame.tobytes()) for frame in frames)
        return np.frombuffer(out, "<i2").astype(np.float32) / 32767

    return enhance, []
