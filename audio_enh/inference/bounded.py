"""A model's size is known before it is built: what a file asks for beyond its weights is never allocated."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from torch import nn
from torch.nn.modules import module as hooks

from audio_enh.models.base import MAX_RATE, MIN_RATE

Model = TypeVar("Model", bound=nn.Module)

# No size, rate or number of layers is larger.
MAX_NUMBER = 1_000_000
# Windows and filters that are computed anew; those of the shipped models have under 30 thousand elements.
_MAX_BUFFERS = 1 << 24


class TooLarge(ValueError):
    """A configuration describes more than its weights fill."""


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by name, from the header of a safetensors file; the weights are not read.

    Raises:
        SafetensorError, OSError: the file is damaged or cannot be read.
    """
    with safe_open(path, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def stored_elements(tensors: Iterable[torch.Tensor]) -> int:
    """Elements that tensors have memory for, together; what two of them share counts once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values()) // 2  # no weights have fewer bytes each


def build_within(
    constructor: Callable[..., Model], arguments: Mapping[str, Any], state: Mapping[str, torch.Tensor]
) -> Model:
    """A model of no more than the weights that there are for it, see :func:`outline`.

    Args:
        state: the weights, which may have other names than the model's.
    """
    outline(constructor, arguments, stored_elements(state.values()), len(state))
    return constructor(**arguments)


def outline(
    constructor: Callable[..., Model], arguments: Mapping[str, Any], elements: int, tensors: int
) -> Model:
    """The model without memory for its weights (on PyTorch's ``meta`` device).

    Building stops as soon as there is more than the weights fill, so that its time and memory are bounded by them.

    Args:
        constructor, arguments: of the model.
        elements: in all tensors of the weights together.
        tensors: their number.

    Raises:
        TooLarge: it asks for more.
        Exception: whatever the constructor makes of its arguments.
    """
    _check_numbers(arguments, "")
    thread = threading.get_ident()
    counts = {"elements": 0, "registered": 0}

    def note(module: nn.Module, name: str, value: torch.Tensor | nn.Module | None) -> None:
        if threading.get_ident() != thread:
            return
        counts["registered"] += 1
        if isinstance(value, nn.Parameter):
            counts["elements"] += value.numel()
        # Layers with normalised weights register some of them twice.
        if counts["elements"] > 3 * elements + MAX_NUMBER or counts["registered"] > 100 * (tensors + 10):
            raise TooLarge("its arguments describe a larger model than its weights are of")

    handles = [
        hooks.register_module_parameter_registration_hook(note),
        hooks.register_module_buffer_registration_hook(note),
        hooks.register_module_module_registration_hook(note),
    ]
    try:
        with torch.device("meta"):
            model = constructor(**arguments)
    finally:
        for handle in handles:
            handle.remove()
    if sum(buffer.numel() for buffer in model.buffers()) > elements + _MAX_BUFFERS:
        raise TooLarge("its arguments describe larger windows and filters than models have")
    rate = getattr(model, "sample_rate", MIN_RATE)
    if not MIN_RATE <= rate <= MAX_RATE:
        raise TooLarge(f"its sample rate of {rate} Hz is outside of {MIN_RATE} to {MAX_RATE} Hz")
    return model


def _check_numbers(value: Any, name: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_numbers(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            _check_numbers(item, name)
    elif isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise TooLarge(f"{name} is {str(value)[:20]}: no model has so much of anything")
