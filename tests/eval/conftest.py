from __future__ import annotations

from pathlib import Path

import pytest
import torch

from audio_enh.inference.checkpoint import save_checkpoint
from audio_enh.models.causal_unet import CausalUNet


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """An untrained model, which nearly passes its input."""
    arguments = {"window_length": 320, "channels": (4, 4), "rnn_hidden": 8, "rnn_layers": 1}
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    save_checkpoint(folder, CausalUNet(**arguments).eval(), {"licence": "CC0-1.0"}, arguments=arguments)
    return folder
