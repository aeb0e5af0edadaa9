"""Weights of NCSN++ under the names of the public checkpoints, renamed to ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from audio_enh.models.diffusion.ncsnpp import Attention, NCSNpp, ResidualBlock, TimeEmbedding

_BLOCK = {
    "GroupNorm_0": "norm_in",
    "Conv_0": "conv_in",
    "Dense_0": "from_time",
    "GroupNorm_1": "norm_out",
    "Conv_1": "conv_out",
    "Conv_2": "skip",
}
_ATTENTION = {"GroupNorm_0": "norm", "NIN_0": "query", "NIN_1": "key", "NIN_2": "value", "NIN_3": "output"}


def from_reference(network: NCSNpp, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict for ``network`` from the reference's.

    Args:
        network: of the checkpoint's form and size.
        state: weights named ``all_modules.N...`` and ``output_layer...``.

    Raises:
        KeyError: a weight has no place in the network, which then is of another form.
    """
    prefixes = {module: name for name, module in network.named_modules()}
    numbered = list(network.in_reference_order())
    renamed = {}
    for key, value in state.items():
        first, _, rest = key.partition(".")
        if first == "output_layer":
            renamed[key] = value
            continue
        number, _, local = rest.partition(".")
        if first != "all_modules" or not number.isdecimal() or int(number) >= len(numbered):
            raise KeyError(key)
        module = numbered[int(number)]
        name, turned = _local_name(module, local)
        if name is None:
            raise KeyError(key)
        renamed[f"{prefixes[module]}.{name}"] = value.T.contiguous() if turned else value
    return renamed


def _local_name(module: nn.Module, local: str) -> tuple[str | None, bool]:
    """Our name of a module's weight, and whether it is to be transposed."""
    part, _, kind = local.rpartition(".")
    if isinstance(module, TimeEmbedding):
        return ("frequencies" if local == "W" else None), False
    if isinstance(module, ResidualBlock):
        return (f"{_BLOCK[part]}.{kind}" if part in _BLOCK else None), False
    if isinstance(module, Attention):
        if part not in _ATTENTION:
            return None, False
        # Their 1x1 layers hold (in, out) under W and b.
        return f"{_ATTENTION[part]}.{ {'W': 'weight', 'b': 'bias'}.get(kind, kind) }", kind == "W"
    # Plain layers; the 1x1 convolution that takes the input in has a name of its own.
    return (kind if part in ("", "Conv_0") else None), False
