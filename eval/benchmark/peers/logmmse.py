"""Log-MMSE spectral amplitude estimation; the first 120 ms of a file are taken for noise."""

# mypy: disable-error-code=import-not-found

import numpy as np

PEER = {
    "source": "Ephraim and Malah 1985, log-spectral amplitude estimator",
    "licence": "MIT",
    "requirements": ["logmmse==1.5"],
    "sample_rate": 16000,
}


def load():
    from logmmse import logmmse

    def enhance(audio):
        # It drops what is left of the last frame.
        return logmmse(np.pad(audio, (0, 640)), 16000)

    return enhance, []
