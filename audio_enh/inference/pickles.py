"""Reading the tensors and plain values out of a PyTorch pickle without running anything in it."""

from __future__ import annotations

import collections
import pickle
import types
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch

from audio_enh.errors import CheckpointError


class Inert:
    """Stands for an object of a class that is not loaded; what was in it is dropped."""

    def __new__(cls, *args: object, **kwargs: object) -> Inert:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    # Some objects are pickled as containers.
    def append(self, item: object) -> None:
        pass

    def extend(self, items: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass


class AttributeDict(dict[str, Any]):
    """Stands for the dictionaries of Lightning and argparse: their items are kept."""

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.update(state)


# What tensors are rebuilt by: functions that only make tensors, and containers.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("argparse", "Namespace"): AttributeDict,
    ("pytorch_lightning.utilities.parsing", "AttributeDict"): AttributeDict,
    ("lightning.pytorch.utilities.parsing", "AttributeDict"): AttributeDict,
    ("lightning_fabric.utilities.data", "AttributeDict"): AttributeDict,
    ("lightning.fabric.utilities.data", "AttributeDict"): AttributeDict,
}
_ALLOWED |= {
    ("torch", name): getattr(torch, name)
    for name in ("float16", "bfloat16", "float32", "float64", "int32", "int64", "uint8", "bool")
}
# Types of the entries of a configuration; Python 2's names are those of the pickles torch writes.
_ALLOWED |= {
    (module, kind.__name__): kind
    for module in ("builtins", "__builtin__")
    for kind in (dict, list, tuple, set, frozenset, int, float, complex, str, bool, bytearray)
}
_ALLOWED |= {("__builtin__", "long"): int, ("__builtin__", "unicode"): str}
_ALLOWED[("collections", "defaultdict")] = collections.defaultdict
# Bytes in the pickles torch writes, such as the value of a NumPy scalar, which is dropped.
_ALLOWED[("_codecs", "encode")] = Inert

# Packages whose objects a training checkpoint may hold beside its weights: an inert thing takes their place.
_INERT_PACKAGES = (
    "sgmse",
    "pytorch_lightning",
    "lightning",
    "lightning_fabric",
    "numpy",
    "pathlib",
    "torch_ema",
    "omegaconf",
    "open_universe",
    "typing",
    "datetime",
)


class _Unpickler(pickle.Unpickler):
    """Resolves names by the tables above; there is no import behind it."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = _ALLOWED.get((module, name))
        if allowed is not None:
            return allowed
        if module.partition(".")[0] in _INERT_PACKAGES:
            return type(name.rpartition(".")[2], (Inert,), {"__module__": module})
        raise CheckpointError(
            f"it refers to {module}.{name}, which has no place in a checkpoint: it may be made to run "
            "commands; nothing of it was run"
        )


def _refuse(*args: object, **kwargs: object) -> NoReturn:
    raise CheckpointError("it is a checkpoint in PyTorch's old format: save it again with a current PyTorch")


def read_pickle(path: str | Path) -> Any:
    """What ``torch.save`` wrote, tensors on the CPU.

    Objects of classes that are not needed for tensors are replaced by :class:`Inert` ones if they belong to the
    libraries of a training; anything else is an error. No name in the file is ever imported or called.

    Raises:
        CheckpointError: the file is missing, damaged, no such file, or refers to what it should not.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is not a PyTorch checkpoint (a zip file written by torch.save)")
    with zipfile.ZipFile(path) as archive:
        if any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist()):
            raise CheckpointError(f"{path} is a TorchScript program, not a checkpoint")
    # torch.load takes the unpickler from a module; it adds the storages of tensors, and nothing else.
    module = types.ModuleType("restricted_pickle")
    module.__dict__.update(Unpickler=_Unpickler, load=_refuse, loads=_refuse)
    try:
        return torch.load(path, map_location="cpu", pickle_module=module, weights_only=False)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:
        # A broken pickle can fail in any way.
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise CheckpointError(f"cannot read {path}: {text}") from error


def without_compilation(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict under the names of the plain model, where ``torch.compile`` has put its wrapper's in between."""
    return {str(key).replace("_orig_mod.", ""): value for key, value in state.items()}
