"""noisereduce: spectral gating, with the thresholds of the whole file or of a moving average."""

# mypy: disable-error-code=import-not-found

PEER = {
    "source": "Sainburg et al. 2020, spectral gating",
    "licence": "MIT",
    "requirements": ["noisereduce==3.0.3"],
    "sample_rate": 16000,
    "variants": {
        "stationary": {"load": {"stationary": True}},
        "nonstationary": {"load": {"stationary": False}},
    },
}


def load(stationary):
    from noisereduce import reduce_noise

    def enhance(audio):
        return reduce_noise(audio, 16000, stationary=stationary)

    return enhance, []
