"""From a device's name to a device that is there."""

from __future__ import annotations

import torch

from audio_enh.errors import DeviceError


def resolve_device(name: str = "auto") -> torch.device:
    """Find the device to compute on.

    Args:
        name: ``auto`` (CUDA, else MPS, else the CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        DeviceError: the name is none of these, or this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and (kind != "cuda" or not index.isdecimal())):
        raise DeviceError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:N or mps")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("no MPS device (Apple GPU) here: use --device cpu or auto")
    if kind == "cuda":
        # A build without CUDA and a machine without a driver both count 0 devices.
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= found:
            raise DeviceError(
                f"no CUDA device {name!r}: torch {torch.__version__} sees {found}; use --device cpu or auto"
            )
    return torch.device(name)
