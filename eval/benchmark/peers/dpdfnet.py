"""DPDFNet; the package fetches the weights from their hub when it is first used, and takes the delay out."""

# mypy: disable-error-code=import-not-found

PEER = {
    "source": "DPDFNet, Ceva",
    "licence": "Apache-2.0",
    "requirements": ["dpdfnet==0.6.0"],
    "sample_rate": 16000,
    "variants": {"2": {"load": {"model": "dpdfnet2"}}, "8": {"load": {"model": "dpdfnet8"}}},
}


def load(model):
    # What dpdfnet.enhance does, but for opening the network anew for every file.
    from dpdfnet.api import _enhance_with_runtime
    from dpdfnet.models import resolve_model
    from dpdfnet.onnx_backend import build_runtime_model

    resolved = resolve_model(model=model, auto_download=True)
    runtime = build_runtime_model(resolved.onnx_path)

    def enhance(audio):
        return _enhance_with_runtime(audio, 16000, runtime=runtime, model_sample_rate=16000)

    return enhance, [str(resolved.onnx_path)]
