"""Small causal models for the tests of this folder."""

from __future__ import annotations

import torch

from audio_enh.models.causal_unet import CausalUNet
from audio_enh.models.demucs.causal import CausalDemucs


def small_unet(dual_path: tuple[int, ...] = ()) -> CausalUNet:
    torch.manual_seed(0)
    model = CausalUNet(hop_length=32, window_length=128, channels=(4, 6), rnn_hidden=8, dual_path=dual_path)
    with torch.no_grad():
        for parameter in model.dual_path.parameters():
            parameter.normal_(0, 0.3)  # blocks that do something
        model.to_mask.weight.mul_(30)  # a mask that does something
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return model.eval()


def small_dual_path() -> CausalUNet:
    return small_unet((0, 5))


def small_demucs() -> CausalDemucs:
    torch.manual_seed(0)
    return CausalDemucs(hidden=4, depth=4, resample=2).eval()
