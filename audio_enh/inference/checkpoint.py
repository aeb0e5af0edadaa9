"""Checkpoints: a folder with ``model.safetensors``, ``config.yaml`` and a ``README.md`` for people.

Nothing in a checkpoint is executed: the configuration is plain YAML, the class it names must be one of
:data:`MODELS` or one that the user has installed or named (:mod:`audio_enh.registry`), and weights are safetensors.
``config.yaml`` reads::

    model:
      _target_: audio_enh.models.causal_unet.CausalUNet
      sample_rate: 16000          # ... the constructor's arguments, all of them
    info:
      name: causal-unet-16k
      description: ...
      licence: ...                # of the weights
      sample_rate: 16000
      latency_ms: 30.0
      parameters: 2065410
      trained_on: ...
      scores: {...}
    sha256: ...                   # of model.safetensors; may be left out
"""

from __future__ import annotations

import importlib
import inspect
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from audio_enh import registry
from audio_enh.digest import file_sha256
from audio_enh.errors import CheckpointError
from audio_enh.inference.bounded import outline, read_shapes
from audio_enh.inference.catalog import (
    CONFIG,
    DEFAULT_MODEL,
    WEIGHTS,
    CheckpointInfo,
    available,
    find_checkpoint,
    is_shipped,
    one_line,
    read_config,
)
from audio_enh.inference.devices import resolve_device
from audio_enh.inference.pickles import without_compilation
from audio_enh.io.owned import is_there
from audio_enh.models.base import CausalModel, EnhancementModel
from audio_enh.renamed import present_name

__all__ = [
    "DEFAULT_MODEL",
    "MODELS",
    "CheckpointInfo",
    "available",
    "build_model",
    "check_target",
    "load_model",
    "load_weights",
    "save_checkpoint",
]

# Our classes that a checkpoint may name. They are imported only when asked for.
MODELS = (
    "audio_enh.models.causal_unet.CausalUNet",
    "audio_enh.models.frequency_unet.FrequencyUNet",
    "audio_enh.models.full_band.FullBandUNet",
    "audio_enh.models.demucs.causal.CausalDemucs",
    "audio_enh.models.demucs.Demucs",
    "audio_enh.models.diffusion.DiffusionEnhancer",
    "audio_enh.models.universe.Universe",
)


def load_model(
    name_or_path: str | Path = DEFAULT_MODEL, device: str | torch.device = "auto"
) -> tuple[EnhancementModel, dict[str, Any]]:
    """Load a checkpoint.

    Args:
        name_or_path: a shipped checkpoint's name, a folder, or ``hf://user/repo[@revision][/folder]`` on the
            Hugging Face Hub.
        device: see :func:`resolve_device`.

    Returns:
        The model in float32 and evaluation mode, its parameters frozen, and the checkpoint's configuration.

    Raises:
        CheckpointError: there is no such checkpoint, or it is incomplete, damaged or does not fit its model.
        DeviceError: the device is not there.
    """
    target = resolve_device(str(device))
    folder = find_checkpoint(name_or_path)
    config = read_config(folder)
    _check_sum(folder / WEIGHTS, config.get("sha256"))
    # What comes with the package needs no such look, which takes a second.
    shapes = None if is_shipped(folder) else _read_shapes(folder / WEIGHTS)
    model = build_model(config["model"], str(folder / CONFIG), shapes)
    load_weights(model, folder / WEIGHTS)
    model.eval().requires_grad_(False)
    return model.to(target), config


def save_checkpoint(
    folder: str | Path,
    model: EnhancementModel,
    info: Mapping[str, Any],
    *,
    arguments: Mapping[str, Any],
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
) -> None:
    """Write a model's weights and configuration; other files of the folder (the model card) stay.

    Args:
        folder: made if missing.
        model: of a class in :data:`MODELS`, or of the user's; if compiled by ``torch.compile``, saved as a plain one.
        info: what people want to know, see the module. ``name``, ``sample_rate``, ``parameters`` and, for a
            causal model, ``latency_ms`` are filled in from the folder's name and the model where missing.
        arguments: what the model was constructed with; defaults are written out too, so that the
            checkpoint outlives a change of theirs.
        dtype: store floating-point weights in this type (float16 halves the size; loading gives float32).
        overwrite: replace files of these names that are no checkpoint of this program, too.

    Raises:
        CheckpointError: no checkpoint may name the class, ``arguments`` do not give this model, or the folder holds
            other files of these names.
    """
    if not overwrite:
        check_target(folder)
    model = getattr(model, "_orig_mod", model)
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    state = without_compilation(state)
    model_config = check_savable(model, arguments)
    if dtype is not None:
        state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}

    folder = Path(folder)
    filled: dict[str, Any] = {"name": folder.name, "sample_rate": model.sample_rate}
    if isinstance(model, CausalModel):
        filled["latency_ms"] = round(1000 * model.latency / model.sample_rate, 3)
    filled["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    filled.update(_plain(info))

    folder.mkdir(parents=True, exist_ok=True)
    # Both files are complete before either takes its place; the hash tells when they are not of one kind.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as temporary:
        weights = Path(temporary, WEIGHTS)
        save_file(state, weights)
        config = {"model": model_config, "info": filled, "sha256": file_sha256(weights)}
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110)
        Path(temporary, CONFIG).write_text(text, encoding="utf-8")
        # safetensors writes files that only their owner may read.
        weights.chmod(Path(temporary, CONFIG).stat().st_mode)
        for name in (WEIGHTS, CONFIG):
            Path(temporary, name).replace(folder / name)


def check_target(folder: str | Path) -> None:
    """Refuse a folder for a checkpoint where files of its names are another program's.

    Raises:
        CheckpointError: ``model.safetensors`` or ``config.yaml`` is there, and it is no checkpoint of this program.
    """
    folder = Path(folder)
    there = [folder / name for name in (WEIGHTS, CONFIG) if is_there(folder / name)]
    if not there:
        return
    try:
        target = read_config(folder)["model"].get("_target_")
    except CheckpointError:
        target = None
    ours = str(target).startswith("audio_enh.") or registry.find(str(target), registry.MODELS) is not None
    if not ours:
        raise CheckpointError(
            f"{there[0]} is there, and {folder} is no checkpoint of this program: choose another folder"
        )


def check_savable(model: EnhancementModel, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a checkpoint of a model could be read again: better found now than when loading.

    Args:
        model: what is to be saved.
        arguments: what it was constructed with.

    Returns:
        The ``model`` section of its configuration, with the defaults of arguments that were not given.

    Raises:
        CheckpointError: no checkpoint may name the class, or ``arguments`` do not give this model.
    """
    target = f"{type(model).__module__}.{type(model).__qualname__}"
    model_config = {"_target_": target, **_plain(model.complete_arguments(arguments))}
    state = without_compilation(model.state_dict())
    _check_fit(build_model(model_config, "arguments"), state, "arguments")
    return model_config


def build_model(
    config: Mapping[str, Any], source: str, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> EnhancementModel:
    """Construct the model that a configuration's ``model`` section describes, with fresh weights.

    Args:
        config: ``_target_`` and the constructor's arguments.
        source: what to call the configuration in an error.
        shapes: of the weights that are to be loaded, by name. A configuration of other weights is refused before
            memory is taken for a model.
    """
    arguments = dict(config)
    target = arguments.pop("_target_", None)
    constructor = _model_class(str(target), source)
    name = constructor.__name__
    parameters = inspect.signature(constructor).parameters
    unknown = sorted(map(str, set(arguments) - set(parameters)))
    required = {n for n, p in parameters.items() if p.default is p.empty}
    missing = sorted(required - set(arguments))
    if unknown or missing:
        faults = [f"unknown: {', '.join(unknown)}"] * bool(unknown)
        faults += [f"missing: {', '.join(missing)}"] * bool(missing)
        raise CheckpointError(f"{source}: arguments of {name} do not fit: {'; '.join(faults)}")
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    try:
        if shapes is not None:
            elements = sum(math.prod(shape) for shape in shapes.values())
            model = outline(constructor, arguments, elements, len(shapes))
            _check_shapes(model, shapes, source)
        return constructor(**arguments)
    except CheckpointError:
        raise
    except Exception as error:  # arguments of the wrong kind fail in any way
        raise CheckpointError(f"{source}: {name} refuses its arguments: {one_line(error)}") from error


def _model_class(name: str, source: str) -> type[EnhancementModel]:
    target = present_name(name)
    if target in MODELS:
        module, _, name = target.rpartition(".")
        return getattr(importlib.import_module(module), name)
    found = registry.find(target, registry.MODELS)
    if found is None:
        raise CheckpointError(
            f"{source}: unknown model class {name!r}: if it is yours, {registry.how_to_name(registry.MODELS)}; "
            f"own ones are {', '.join(name.rpartition('.')[2] for name in MODELS)}"
        )
    if not (isinstance(found, type) and issubclass(found, EnhancementModel)):
        raise CheckpointError(f"{source}: {name} is no audio_enh.models.base.EnhancementModel")
    return found


def load_weights(model: EnhancementModel, path: Path, sha256: str | None = None) -> None:
    """Load a safetensors file into ``model``; every key must be there, once, in the right shape."""
    _check_sum(path, sha256)
    try:
        state = without_compilation(load_file(path))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"cannot read {path}: {one_line(error)}; fetch it again") from error
    _check_fit(model, state, str(path))
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {key} holds NaN or infinite values: the training diverged")
    model.load_state_dict(state)


def _check_sum(path: Path, sha256: str | None) -> None:
    try:
        matches = sha256 is None or file_sha256(path) == sha256
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {one_line(error)}; fetch it again") from error
    if not matches:
        raise CheckpointError(f"{path} is damaged or of another checkpoint: its SHA-256 is not {CONFIG}'s")


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        return without_compilation(read_shapes(path))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"cannot read {path}: {one_line(error)}; fetch it again") from error


def _check_fit(model: EnhancementModel, state: Mapping[str, Tensor], source: str) -> None:
    _check_shapes(model, {key: tuple(value.shape) for key, value in state.items()}, source)


def _check_shapes(model: EnhancementModel, state: Mapping[str, tuple[int, ...]], source: str) -> None:
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    faults = []
    if missing := sorted(expected.keys() - state.keys()):
        faults.append(f"missing: {_some(missing)}")
    if unknown := sorted(state.keys() - expected.keys()):
        faults.append(f"unknown: {_some(unknown)}")
    wrong = [
        f"{key} is {state[key]}, not {shape}"
        for key, shape in expected.items()
        if key in state and state[key] != shape
    ]
    if wrong:
        faults.append(f"of another shape: {_some(wrong)}")
    if faults:
        raise CheckpointError(f"{source} does not fit {type(model).__name__}: {'; '.join(faults)}")


def _some(names: list[str], most: int = 5) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as YAML has them: tuples become lists; anything but plain values is refused."""

    def convert(value: Any, name: str) -> Any:
        if isinstance(value, Mapping):
            return {str(k): convert(v, f"{name}.{k}") for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [convert(v, name) for v in value]
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):  # numpy's float64 is one too, but YAML does not take it
            return float(value)
        raise CheckpointError(f"{name} is a {type(value).__name__}: a checkpoint holds plain values only")

    return {str(key): convert(value, str(key)) for key, value in values.items()}
