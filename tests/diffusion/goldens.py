"""Arrays of the public reference implementations; where they are from stands beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "data" / "goldens"


def arrays(name: str) -> dict[str, Tensor]:
    with np.load(FOLDER / name / "io.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file}


def weights(name: str) -> dict[str, Tensor]:
    return load_file(FOLDER / name / "weights.safetensors")
