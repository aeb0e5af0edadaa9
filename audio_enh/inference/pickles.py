"""Reading the tensors and plain values out of a PyTorch pickle without running anything in it.

A pickle is a program that builds objects. Here it can only build what is listed below: containers, numbers, text,
tensors that lie within the file, and inert things in place of all else. Its memory is bounded by the file's size.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from audio_enh.errors import CheckpointError

# The pickle beside the tensors; a training's with all its states has some hundred kB.
_MAX_PICKLE = 16 << 20
_MAX_RECORDS = 1_000_000
_MAX_DEPTH = 100
_MAX_VALUES = 10_000_000
# Sizes and steps have less; hashing larger ones can be made slow.
_MAX_WHOLE_NUMBER = 1 << 64


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


_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def _empty(kind: type[Any]) -> Callable[..., Any]:
    """Makes an empty container; its items come by further instructions, which look at them."""

    def make(*arguments: object) -> Any:
        if any(not isinstance(argument, type | _Function) for argument in arguments):
            raise CheckpointError(f"it makes a {kind.__name__} of other things, as no checkpoint does")
        return kind()

    return make


def _tensor(
    storage: Tensor,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: object = False,
    hooks: object = None,
    metadata: object = None,
) -> Tensor:
    """What ``torch._utils._rebuild_tensor_v2`` does, within the storage and without sharing elements."""
    numbers = (offset, *size, *stride)
    if not isinstance(storage, Tensor) or any(type(n) is not int or n < 0 for n in numbers):
        raise CheckpointError("it has a tensor of impossible form")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    elements = math.prod(size)
    if elements and (last >= len(storage) or elements > len(storage)):
        raise CheckpointError("it has a tensor that is larger than its data")
    return torch.as_strided(storage, size, stride, offset) if elements else storage.new_zeros(size)


def _parameter(data: Tensor, requires_grad: object = False, hooks: object = None) -> Tensor:
    return data


def _size(sizes: tuple[int, ...] = ()) -> tuple[int, ...]:
    return tuple(sizes)


def _set_of(items: list[Any] | tuple[Any, ...] = ()) -> set[Any]:
    if not isinstance(items, list | tuple):
        raise CheckpointError("it makes a set of other things than a list")
    return {_key(item) for item in items}


class _Function:
    """What a pickle may call; nothing of it can be changed from there."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]):
        self.call = call


_ATTRIBUTE_DICTS = (
    ("argparse", "Namespace"),
    ("pytorch_lightning.utilities.parsing", "AttributeDict"),
    ("lightning.pytorch.utilities.parsing", "AttributeDict"),
    ("lightning_fabric.utilities.data", "AttributeDict"),
    ("lightning.fabric.utilities.data", "AttributeDict"),
)
_CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _empty(collections.OrderedDict),
    ("collections", "defaultdict"): _empty(dict),
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): _size,
    **dict.fromkeys(_ATTRIBUTE_DICTS, _empty(AttributeDict)),
    **{
        (module, kind.__name__): _empty(kind)
        for module in ("builtins", "__builtin__")
        for kind in (dict, list)
    },
    **{(module, kind): _set_of for module in ("builtins", "__builtin__") for kind in ("set", "frozenset")},
}
_FUNCTIONS = {name: _Function(call) for name, call in _CALLS.items()}
_VALUES: dict[tuple[str, str], Any] = {
    ("torch", name): getattr(torch, name)
    for name in ("float16", "bfloat16", "float32", "float64", "int32", "int64", "uint8", "bool")
}
# Types of the entries of a configuration; Python 2's names are those of the pickles torch writes.
_TYPES = (int, float, complex, str, bool, bytearray, tuple)
_VALUES |= {(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in _TYPES}
_VALUES |= {("__builtin__", "long"): int, ("__builtin__", "unicode"): str}

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
_INERT = {
    ("torch", "device"),
    # Bytes in the pickles torch writes, such as the value of a NumPy scalar.
    ("_codecs", "encode"),
}


class _Storage:
    """A class of storages, of which a pickle gives the name."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype


_STORAGES = {("torch", name): _Storage(dtype) for name, dtype in _DTYPES.items()}


# The one in Python, whose instructions can be changed.
class _Unpickler(pickle._Unpickler):
    """Resolves names by the tables above, with no import behind it, and builds nothing but what they list."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, data: bytes, load: Callable[[torch.dtype, str, int], Tensor]):
        super().__init__(io.BytesIO(data))
        self._load_storage = load
        self._inert: dict[tuple[str, str], type[Inert]] = {}

    def find_class(self, module: str, name: str) -> Any:
        key = (module, name)
        for table in (_FUNCTIONS, _VALUES, _STORAGES):
            if key in table:
                return table[key]
        if key in _INERT or module.partition(".")[0] in _INERT_PACKAGES:
            if key not in self._inert:
                self._inert[key] = type(name.rpartition(".")[2], (Inert,), {"__module__": module})
            return self._inert[key]
        raise CheckpointError(
            f"it refers to {module}.{name}, which has no place in a checkpoint: it may be made to run "
            "commands; nothing of it was run"
        )

    def persistent_load(self, pid: Any) -> Tensor:
        kind, storage, key, _, elements = pid
        if kind != "storage" or not isinstance(storage, _Storage):
            raise CheckpointError("it has data of an unknown kind")
        return self._load_storage(storage.dtype, str(key), elements)

    # What follows takes the place of the instructions that call, set attributes, or hash.

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = _call(self.stack[-1], arguments)

    def load_newobj(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = _call(self.stack[-1], arguments)

    def load_newobj_ex(self) -> None:
        self.stack.pop()
        self.load_newobj()

    def load_build(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], AttributeDict):
            self.stack[-1].__setstate__(state)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _set(self.stack[-1], key, value)

    def load_setitems(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            _set(self.stack[-1], key, value)

    def load_dict(self) -> None:
        items = self.pop_mark()
        made: dict[Any, Any] = {}
        for key, value in zip(items[::2], items[1::2], strict=True):
            _set(made, key, value)
        self.append(made)

    def load_append(self) -> None:
        value = self.stack.pop()
        _extend(self.stack[-1], [value])

    def load_appends(self) -> None:
        items = self.pop_mark()
        _extend(self.stack[-1], items)

    def load_additems(self) -> None:
        items = self.pop_mark()
        if not isinstance(self.stack[-1], set):
            raise CheckpointError("it is damaged")
        self.stack[-1].update(_key(item) for item in items)

    def load_frozenset(self) -> None:
        items = self.pop_mark()
        self.append(frozenset(_key(item) for item in items))

    def _refuse(self) -> None:
        raise CheckpointError("it has instructions that no checkpoint has")

    dispatch.update(
        {
            pickle.REDUCE[0]: load_reduce,
            pickle.NEWOBJ[0]: load_newobj,
            pickle.NEWOBJ_EX[0]: load_newobj_ex,
            pickle.BUILD[0]: load_build,
            pickle.SETITEM[0]: load_setitem,
            pickle.SETITEMS[0]: load_setitems,
            pickle.DICT[0]: load_dict,
            pickle.APPEND[0]: load_append,
            pickle.APPENDS[0]: load_appends,
            pickle.ADDITEMS[0]: load_additems,
            pickle.FROZENSET[0]: load_frozenset,
        }
    )
    dispatch.update(
        dict.fromkeys((ord(code) for code in (pickle.INST, pickle.OBJ, pickle.EXT1, pickle.EXT2)), _refuse)
    )
    dispatch.update(dict.fromkeys((ord(code) for code in (pickle.EXT4, pickle.BYTEARRAY8)), _refuse))


def _call(function: Any, arguments: Any) -> Any:
    if isinstance(function, _Function):
        return function.call(*arguments)
    if isinstance(function, type) and issubclass(function, Inert):
        return function()
    if function in _TYPES:
        return Inert()  # a value in an odd form, as no number that is needed has
    raise CheckpointError(f"it calls a {type(function).__name__}, as no checkpoint does")


def _key(key: Any) -> Any:
    """A key, if its hash is quick: that of a tuple can be made to take for ever."""
    if isinstance(key, int) and abs(key) >= _MAX_WHOLE_NUMBER:
        raise CheckpointError("it has a whole number for a key that is too large")
    if not isinstance(key, str | int | float | bytes | None) and not isinstance(key, Inert | torch.dtype):
        raise CheckpointError(f"it has a {type(key).__name__} for a key")
    return key


def _set(container: Any, key: Any, value: Any) -> None:
    if isinstance(container, dict):
        container[_key(key)] = value
    elif not isinstance(container, Inert):
        raise CheckpointError(f"it sets an item of a {type(container).__name__}")


def _extend(container: Any, items: list[Any]) -> None:
    if isinstance(container, list):
        container.extend(items)
    elif not isinstance(container, Inert):
        raise CheckpointError(f"it adds to a {type(container).__name__}")


def read_pickle(path: str | Path) -> Any:
    """What ``torch.save`` wrote, tensors on the CPU.

    Objects of classes that are not needed for tensors are replaced by :class:`Inert` ones if they belong to the
    libraries of a training; anything else is an error. No name in the file is ever imported or called. Data that is
    compressed, as torch.save never writes it, is refused: a small file could unpack to any size.

    Raises:
        CheckpointError: the file is missing, damaged, no such file, or refers to what it should not.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is not a PyTorch checkpoint (a zip file written by torch.save)")
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:
        # A broken pickle can fail in any way.
        text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        raise CheckpointError(f"cannot read {path}: {text}") from error


def _read(archive: zipfile.ZipFile) -> Any:
    records = archive.infolist()
    size = Path(archive.filename or "").stat().st_size
    if any(record.filename.rpartition("/")[2] == "constants.pkl" for record in records):
        raise CheckpointError("it is a TorchScript program, not a checkpoint")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise CheckpointError("it is compressed, which torch.save does not do: save it again with PyTorch")
    if sum(record.file_size for record in records) > size or len(records) > _MAX_RECORDS:
        raise CheckpointError("its parts are larger together than the whole file")
    by_name = {record.filename: record for record in records}
    main = next((record for record in records if record.filename.rpartition("/")[2] == "data.pkl"), None)
    if main is None:
        raise CheckpointError("it is no checkpoint of PyTorch: it has no data.pkl")
    if main.file_size > _MAX_PICKLE:
        raise CheckpointError(f"its data.pkl is larger than {_MAX_PICKLE >> 20} MB")
    folder = main.filename.removesuffix("data.pkl")
    order = by_name.get(f"{folder}byteorder")
    if order is not None and order.file_size < 16 and archive.read(order) != b"little":
        raise CheckpointError("it was written on a big-endian machine: save it again on another one")
    storages: dict[str, Tensor] = {}

    def load(dtype: torch.dtype, key: str, elements: int) -> Tensor:
        if key not in storages:
            record = by_name.get(f"{folder}data/{key}")
            if record is None or record.file_size != elements * dtype.itemsize:
                raise CheckpointError(f"its data {key!r:.40} is missing or of another size than it says")
            data = bytearray(archive.read(record))
            storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.zeros(0, dtype=dtype)
        if storages[key].dtype != dtype:
            raise CheckpointError(f"its data {key!r:.40} is of two types")
        return storages[key]

    content = _Unpickler(archive.read(main), load).load()
    _weigh(content, {}, 0)
    return content


def _weigh(value: Any, known: dict[int, int], depth: int) -> int:
    """How many values there are in ``value``, those in two places counted twice: what printing it would take."""
    if isinstance(value, dict):
        inner = [*value.values()]
    elif isinstance(value, list | tuple):
        inner = [*value]
    else:
        return 1
    if id(value) not in known:
        if depth > _MAX_DEPTH:
            raise CheckpointError("its values are nested too deeply, or in each other")
        known[id(value)] = 1 + sum(_weigh(each, known, depth + 1) for each in inner)
    if known[id(value)] > _MAX_VALUES:
        raise CheckpointError("its values hold each other too often")
    return known[id(value)]


def without_compilation(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict under the names of the plain model, where ``torch.compile`` has put its wrapper's in between."""
    return {str(key).replace("_orig_mod.", ""): value for key, value in state.items()}
