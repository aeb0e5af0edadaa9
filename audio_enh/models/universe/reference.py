"""Weights of UNIVERSE's networks under the names of the public checkpoints, renamed to ours.

Modules have the same names. What differs: constants (windows, mel bands, anti-aliasing filters) are not stored;
weight normalisation is torch's newer one, with other names for magnitude and direction; with anti-aliasing the public
code has the bias of every change of rate beside the convolution, not in it; here that is so only on the way up.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

#: Ends of the names of constants, which are computed from the arguments here.
COMPUTED = (".mel_scale.fb", ".spectrogram.window", ".low_pass_filter.weights")
_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}


def from_reference(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict for :class:`ConditionNetwork` or :class:`ScoreNetwork` from the reference's."""
    renamed = {}
    for key, value in state.items():
        if key.endswith(COMPUTED):
            continue
        module, _, name = key.rpartition(".")
        name = _NORM.get(name, name)
        # Their sinusoid embedding holds two numbers as 1x1 matrices.
        if module.endswith("sigma_block") and name in ("weight", "bias"):
            value = value.flatten()
        if name == "bias" and "ds_modules" in module and module.endswith("rate_change_conv"):
            module += ".conv"
        renamed[f"{module}.{name}"] = value
    return renamed
