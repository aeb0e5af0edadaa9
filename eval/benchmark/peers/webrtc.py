"""The noise suppressor of WebRTC, at its default strength and at its highest."""

# mypy: disable-error-code=import-not-found

import numpy as np

HOP = 160

PEER = {
    "source": "WebRTC audio processing, Wiener filter with speech probability",
    "licence": "BSD-3-Clause, bindings MIT",
    "requirements": ["webrtc-noise-gain==1.3.0", "numpy"],
    "sample_rate": 16000,
    "delay": 96,
    "latency_ms": 26.0,
    "variants": {"moderate": {"load": {"level": 2}}, "very-high": {"load": {"level": 4}}},
}


def load(level):
    from webrtc_noise_gain import AudioProcessor

    def enhance(audio):
        processor = AudioProcessor(0, level)  # no automatic gain
        frames = np.pad(audio, (0, -len(audio) % HOP)).reshape(-1, HOP)
        frames = (32767 * frames.clip(-1, 1)).astype("<i2")
        out = b"".join(processor.Process10ms(frame.tobytes()).audio for frame in frames)
        return np.frombuffer(out, "<i2").astype(np.float32) / 32767

    return enhance, []
