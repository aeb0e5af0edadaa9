"""Checkpoints: a folder with ``model.safetensors``, ``config.yaml`` and a ``README.md`` for people.

Nothing in a checkpoint is executed: the configuration is plain YAML, the class it names must be one of
:data:`MODELS`, and weights are safetensors. ``config.yaml`` reads::

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

import difflib
import hashlib
import importlib
import importlib.resources
import inspect
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from audio_enh.errors import CheckpointError, DependencyError
from audio_enh.inference.devices import resolve_device
from audio_enh.models.base import CausalModel, EnhancementModel

DEFAULT_MODEL = "causal-unet-16k"
WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"
HUB_PREFIX = "hf://"

# The classes a checkpoint may name. They are imported only when asked for.
MODELS = (
    "audio_enh.models.causal_unet.CausalUNet",
    "audio_enh.models.causal_demucs.CausalDemucs",
    "audio_enh.models.demucs.Demucs",
)


@dataclass(frozen=True)
class CheckpointInfo:
    """An installed checkpoint: its name, folder, the ``info`` of its configuration, size on disk in bytes."""

    name: str
    path: Path
    info: dict[str, Any]
    size: int


def available() -> list[CheckpointInfo]:
    """The checkpoints that came with the package, by name. A damaged configuration is a CheckpointError."""
    found = []
    for folder in sorted(_shipped_folder().iterdir()):
        if (folder / CONFIG).is_file():
            size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
            found.append(CheckpointInfo(folder.name, folder, read_config(folder).get("info", {}), size))
    return found


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
    model = build_model(config["model"], str(folder / CONFIG))
    load_weights(model, folder / WEIGHTS, config.get("sha256"))
    model.eval().requires_grad_(False)
    return model.to(target), config


def save_checkpoint(
    folder: str | Path,
    model: EnhancementModel,
    info: Mapping[str, Any],
    *,
    arguments: Mapping[str, Any],
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model's weights and configuration; other files of the folder (the model card) stay.

    Args:
        folder: made if missing.
        model: of a class in :data:`MODELS`.
        info: what people want to know, see the module. ``name``, ``sample_rate``, ``parameters`` and, for a
            causal model, ``latency_ms`` are filled in from the folder's name and the model where missing.
        arguments: what the model was constructed with; defaults are written out too, so that the
            checkpoint outlives a change of theirs.
        dtype: store floating-point weights in this type (float16 halves the size; loading gives float32).

    Raises:
        CheckpointError: the class is not in :data:`MODELS`, or ``arguments`` do not give this model.
    """
    target = f"{type(model).__module__}.{type(model).__qualname__}"
    signature = inspect.signature(type(model))
    defaults = {n: p.default for n, p in signature.parameters.items() if p.default is not p.empty}
    model_config = {"_target_": target, **_plain({**defaults, **arguments})}
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    # The weights' shapes must be those the arguments lead to; better found now than when loading.
    _check_fit(build_model(model_config, "arguments"), state, "arguments")
    if dtype is not None:
        state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}

    folder = Path(folder)
    filled: dict[str, Any] = {"name": folder.name, "sample_rate": model.sample_rate}
    if isinstance(model, CausalModel):
        filled["latency_ms"] = round(1000 * model.latency / model.sample_rate, 3)
    filled["parameters"] = sum(parameter.numel() for parameter in model.parameters())

    folder.mkdir(parents=True, exist_ok=True)
    # Both files are complete before either takes its place; the hash tells when they are not of one kind.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as temporary:
        weights = Path(temporary, WEIGHTS)
        save_file(state, weights)
        config = {"model": model_config, "info": {**filled, **_plain(info)}, "sha256": _sha256(weights)}
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110)
        Path(temporary, CONFIG).write_text(text, encoding="utf-8")
        for name in (WEIGHTS, CONFIG):
            Path(temporary, name).replace(folder / name)


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint, fetched from the Hub when it is an ``hf://`` name."""
    name = str(name_or_path)
    if name.startswith(HUB_PREFIX):
        return _fetch(name)
    shipped = _shipped_folder() / name
    # A plain name is a shipped checkpoint first, so that a folder of that name does not change a command.
    if isinstance(name_or_path, str) and Path(name).name == name and (shipped / CONFIG).is_file():
        return shipped
    folder = Path(name).expanduser()
    if folder.is_file():
        raise CheckpointError(f"{folder} is a file: give the folder that holds {WEIGHTS} and {CONFIG}")
    if not folder.is_dir():
        names = [checkpoint.name for checkpoint in available()]
        close = difflib.get_close_matches(name, names, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise CheckpointError(
            f"no checkpoint {name!r}: {meant}installed: {', '.join(names) or 'none'}; "
            f"or give a folder or {HUB_PREFIX}user/repo"
        )
    missing = [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]
    if missing:
        raise CheckpointError(f"{folder} is not a checkpoint: it has no {' and no '.join(missing)}")
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check the outline of ``config.yaml``."""
    path = folder / CONFIG
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not valid YAML: {_one_line(error)}") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise CheckpointError(f"{path} has no 'model:' section")
    if not isinstance(config.get("info", {}), dict):
        raise CheckpointError(f"{path}: 'info' must be a mapping")
    return config


def build_model(config: Mapping[str, Any], source: str) -> EnhancementModel:
    """Construct the model that a configuration's ``model`` section describes, with fresh weights.

    Args:
        config: ``_target_`` and the constructor's arguments.
        source: what to call the configuration in an error.
    """
    arguments = dict(config)
    target = arguments.pop("_target_", None)
    if target not in MODELS:
        raise CheckpointError(f"{source}: unknown model class {target!r}; known: {', '.join(MODELS)}")
    module, _, name = target.rpartition(".")
    constructor = getattr(importlib.import_module(module), name)

    parameters = inspect.signature(constructor).parameters
    unknown = sorted(set(arguments) - set(parameters))
    required = {n for n, p in parameters.items() if p.default is p.empty}
    missing = sorted(required - set(arguments))
    if unknown or missing:
        faults = [f"unknown: {', '.join(unknown)}"] * bool(unknown)
        faults += [f"missing: {', '.join(missing)}"] * bool(missing)
        raise CheckpointError(f"{source}: arguments of {name} do not fit: {'; '.join(faults)}")
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    try:
        return constructor(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{source}: {name} refuses its arguments: {_one_line(error)}") from error


def load_weights(model: EnhancementModel, path: Path, sha256: str | None = None) -> None:
    """Load a safetensors file into ``model``; every key must be there, once, in the right shape."""
    try:
        if sha256 is not None and _sha256(path) != sha256:
            raise CheckpointError(
                f"{path} is damaged or of another checkpoint: its SHA-256 is not {CONFIG}'s"
            )
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"cannot read {path}: {_one_line(error)}; fetch it again") from error
    _check_fit(model, state, str(path))
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {key} holds NaN or infinite values: the training diverged")
    model.load_state_dict(state)


def _check_fit(model: EnhancementModel, state: Mapping[str, Tensor], source: str) -> None:
    expected = model.state_dict()
    faults = []
    if missing := sorted(expected.keys() - state.keys()):
        faults.append(f"missing: {_some(missing)}")
    if unknown := sorted(state.keys() - expected.keys()):
        faults.append(f"unknown: {_some(unknown)}")
    wrong = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
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
        if value is None or isinstance(value, str | bool | int | float):
            return value
        raise CheckpointError(f"{name} is a {type(value).__name__}: a checkpoint holds plain values only")

    return {str(key): convert(value, str(key)) for key, value in values.items()}


def _shipped_folder() -> Path:
    return Path(str(importlib.resources.files("audio_enh.checkpoints")))


def _fetch(name: str) -> Path:
    parts = name.removeprefix(HUB_PREFIX).strip("/").split("/")
    if len(parts) < 2 or not all(parts):
        raise CheckpointError(
            f"{name!r}: a checkpoint on the Hub reads hf://user/repo or hf://user/repo/folder"
        )
    repo, _, revision = "/".join(parts[:2]).partition("@")
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise DependencyError(
            "hf:// checkpoints need huggingface_hub: pip install huggingface-hub"
        ) from error
    paths = []
    for file in (CONFIG, WEIGHTS):
        try:
            path = huggingface_hub.hf_hub_download(
                repo, "/".join([*parts[2:], file]), revision=revision or None
            )
        except LocalEntryNotFoundError as error:
            raise CheckpointError(
                f"cannot fetch {name}: the Hub is out of reach and {file} not cached"
            ) from error
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            raise CheckpointError(f"cannot fetch {file} of {name}: {_one_line(error)}") from error
        paths.append(Path(path))
    return paths[0].parent


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
