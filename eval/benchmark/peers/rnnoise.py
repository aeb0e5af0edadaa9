"""RNNoise (the larger network of version 0.2) through pyrnnoise, frame by frame."""

# mypy: disable-error-code=import-not-found

import numpy as np

PEER = {
    "source": "Valin 2018, A hybrid DSP/deep learning approach to real-time full-band speech enhancement",
    "licence": "BSD-3-Clause, bindings Apache-2.0",
    "requirements": ["pyrnnoise==0.4.5"],
    "sample_rate": 48000,
    "delay": 959,
    "latency_ms": 40.0,
    "parameters": 2_888_225,
}


def load():
    from pyrnnoise import rnnoise
    from pyrnnoise.rnnoise import FRAME_SIZE, create, destroy, process_mono_frame

    def enhance(audio):
        # 16 bit is what the bindings take.
        frames = np.pad(audio, (0, -len(audio) % FRAME_SIZE)).reshape(-1, FRAME_SIZE)
        state = create()
        try:
            out = [
                process_mono_frame(state, frame)[0] for frame in (32767 * frames.clip(-1, 1)).astype(np.int16)
            ]
        finally:
            destroy(state)
        return np.concatenate(out).astype(np.float32) / 32767

    return enhance, [rnnoise.lib._name]  # the weights are part of the library
