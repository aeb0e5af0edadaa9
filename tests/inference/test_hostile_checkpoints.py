"""Checkpoints made to take the memory, the time or the control of who opens them."""

from __future__ import annotations

import io
import pickle
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from audio_enh.errors import CheckpointError
from audio_enh.inference.catalog import find_checkpoint, read_config
from audio_enh.inference.checkpoint import load_model, save_checkpoint
from audio_enh.inference.pickles import read_pickle
from audio_enh.inference.plain_yaml import MAX_BYTES
from audio_enh.inference.sgmse_import import import_sgmse
from audio_enh.models.demucs import Demucs

SMALL = {"hidden": 4, "depth": 2, "resample": 1, "sample_rate": 16000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("checkpoint") / "small"
    save_checkpoint(place, Demucs(**SMALL), {}, arguments=SMALL)
    return place


def bounded(call: Callable[[], object], match: str, megabytes: int = 300, seconds: float = 20.0) -> None:
    """The call is refused, soon and without memory; the first look at a model loads some modules of PyTorch's."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    with pytest.raises(CheckpointError, match=match) as caught:
        call()
    assert time.process_time() - began < seconds
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < megabytes * 1024
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a: &a [x, x]\nmodel: [*a, *a]", "alias"),
        ("model:\n  <<: &a {b: *a}", "alias"),
        ("model: " + "[" * 100_000, "deeper"),
        ("".join(f"{' ' * i}a:\n" for i in range(500)), "deeper"),
        ("model: [" + "1," * 50_000 + "]", "more"),
        ("model: {a: " + "9" * 5000 + "}", "digits"),
        ("model: {a: " + ":".join(["59"] * 50_000) + "}", "digits"),
        ("model: {a: 2001-99-99}", "not valid YAML"),
        ("model: {? [a] : b}", "not valid YAML"),
        ("model: !!python/object/apply:os.system [echo]", "not valid YAML"),
        ("model: {a: b}\n#" + "x" * MAX_BYTES, "larger"),
        ("\x00", "not valid YAML"),
    ],
)
def test_configurations_that_are_bombs(text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    bounded(lambda: read_config(tmp_path), match, megabytes=100, seconds=5)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden": 10**12},
        {"hidden": 900_000},
        {"hidden": 4096},
        {"depth": 900_000, "growth": 1},
        {"depth": 40},
        {"depth": 12, "hidden": 512},
        {"kernel_size": 500_000},
        {"sample_rate": 999},
        {"lstm_layers": 800_000},
        {"hidden": -1},
        {"hidden": [4, 4]},
        {"hidden": "4"},
        {"hidden": None},
        {"hidden": 1e300},
        {"depth": 0},
        {"stride": 0},
    ],
)
def test_dimensions_that_the_weights_do_not_fill(
    folder: Path, changes: dict[str, object], tmp_path: Path
) -> None:
    """4 GB were allocated before the weights were looked at."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    unknown = set(changes) - set(config["model"])
    for name in unknown:
        changes.pop(name)
    config["model"] |= changes
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    if changes:
        bounded(lambda: load_model(str(tmp_path), "cpu"), "refuses its arguments|does not fit")


def test_an_honest_checkpoint_is_read(folder: Path) -> None:
    assert load_model(str(folder), "cpu")[0].sample_rate == 16000


@pytest.mark.parametrize(
    "name",
    [
        "hf://a/b/../..",
        "hf://a/../x",
        "hf://../b",
        "hf://a/b@../c",
        "hf://a/b/./c",
        "hf://a/b/c\\d",
        "hf://a/b/%2e",
    ],
)
def test_names_that_leave_their_repository(name: str) -> None:
    with pytest.raises(CheckpointError, match="reads hf://user/repo"):
        find_checkpoint(name)


def test_a_folder_of_another_program_is_not_written_over(tmp_path: Path) -> None:
    """Weights of another program have the same name."""
    weights = tmp_path / "model.safetensors"
    save_file({"other": torch.zeros(3)}, weights)
    before = weights.read_bytes()
    with pytest.raises(CheckpointError, match="no checkpoint of this program"):
        save_checkpoint(tmp_path, Demucs(**SMALL), {}, arguments=SMALL)
    assert weights.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


class Reduced:
    def __init__(self, function: object, *arguments: object):
        self.call = function, arguments

    def __reduce__(self) -> object:
        return self.call


def archive(
    path: Path, data: bytes, *, deflated: bool = False, storages: dict[str, bytes] | None = None
) -> Path:
    kind = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as file:
        file.writestr("a/data.pkl", data)
        for key, content in (storages or {}).items():
            file.writestr(f"a/data/{key}", content)
    return path


def test_a_deflated_checkpoint_is_not_unpacked(tmp_path: Path) -> None:
    """1.5 MB became 1.5 GB."""
    torch.save({"state_dict": {"dnn.x": torch.zeros(30_000_000)}}, tmp_path / "honest.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "honest.ckpt") as source,
        zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in source.namelist():
            bomb.writestr(name, source.read(name))
    (tmp_path / "honest.ckpt").unlink()
    assert (tmp_path / "bomb.ckpt").stat().st_size < 200_000
    bounded(lambda: import_sgmse(tmp_path / "bomb.ckpt"), "compressed", megabytes=20, seconds=5)


def nested(kind: type, times: int) -> object:
    value: object = kind()
    for _ in range(times):
        value = kind((value, value))
    return value


def test_pickles_that_are_bombs(tmp_path: Path) -> None:
    huge_memo = b"\x80\x02Nr\xff\xff\xff\xff."  # puts None where a table of 32 GB would be
    array = b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"."
    number = b"\x80\x02\x8b" + (200_000).to_bytes(4, "little") + b"\x7f" * 200_000 + b"."
    cases = {
        "memo": (huge_memo, None),
        "array": (array, "instructions"),
        "number": (b"\x80\x02}" + number[2:-1] + b"Ns.", "too large"),
        "key": (b"\x80\x02}" + pickle.dumps(nested(tuple, 60), 2)[2:-1] + b"Ns.", "tuple for a key"),
        "list": (pickle.dumps(nested(list, 60), 2), "too often"),
        "depth": (b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".", "too deeply"),
        "loop": (b"\x80\x02]q\x00h\x00a.", "in each other"),
        "set": (b"\x80\x04\x8f(" + pickle.dumps(nested(tuple, 40), 4)[11:-1] + b"\x90.", "damaged|tuple"),
        "tail": (b"\x80\x02" + b"}" * 1000, "cannot read"),
        "text": (pickle.dumps(Reduced(str, nested(list, 60)), 2), None),
        "list of text": (pickle.dumps(Reduced(list, "x" * 100_000), 2), "list of other things"),
        "state of a class": (b"\x80\x02ccollections\nOrderedDict\nN}X\x04\0\0\0keysNs\x86b.", None),
        "state of a call": (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x04\0\0\0callNsb.", None),
    }
    for name, (data, match) in cases.items():
        path = archive(tmp_path / f"{name.replace(' ', '_')}.ckpt", data)
        if match is None:  # harmless here
            read_pickle(path)
        else:
            bounded(lambda path=path: read_pickle(path), match, megabytes=150, seconds=5)
    assert callable(dict.keys)
    torch.save({"state_dict": {"w": torch.arange(6.0).reshape(2, 3)}}, tmp_path / "honest.ckpt")
    assert torch.equal(
        read_pickle(tmp_path / "honest.ckpt")["state_dict"]["w"], torch.arange(6.0).reshape(2, 3)
    )


def _with_storage(size: tuple[int, ...], stride: tuple[int, ...], offset: int, elements: int) -> bytes:
    """A pickle of one tensor over the storage ``0``."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, item: object) -> object:
            return ("storage", torch.FloatStorage, "0", "cpu", elements) if item is place else None

    place = object()
    stream = io.BytesIO()
    Pickler(stream, 2).dump(
        Reduced(torch._utils._rebuild_tensor_v2, place, offset, size, stride, False, None)
    )
    return stream.getvalue()


@pytest.mark.parametrize(
    ("size", "stride", "offset", "elements", "match"),
    [
        ((4,), (1,), 0, 1 << 40, "another size"),  # read beyond the file's data
        ((4,), (1,), 0, 8, "another size"),
        ((1 << 30, 1 << 10), (0, 0), 0, 4, "larger than its data"),
        ((4,), (1,), 1, 4, "larger than its data"),
        ((4,), (1 << 60,), 0, 4, "larger than its data"),
        ((-4,), (1,), 0, 4, "impossible"),
        ((4,), (-1,), 3, 4, "impossible"),
    ],
)
def test_tensors_lie_within_their_file(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int, elements: int, match: str, tmp_path: Path
) -> None:
    data = _with_storage(size, stride, offset, elements)
    path = archive(tmp_path / "a.ckpt", data, storages={"0": torch.arange(4.0).numpy().tobytes()})
    bounded(lambda: read_pickle(path), match, megabytes=50, seconds=5)
    whole = archive(
        tmp_path / "b.ckpt",
        _with_storage((2, 2), (1, 2), 0, 4),
        storages={"0": torch.arange(4.0).numpy().tobytes()},
    )
    assert torch.equal(read_pickle(whole), torch.tensor([[0.0, 2.0], [1.0, 3.0]]))


def test_a_model_larger_than_the_weights_is_not_built(tmp_path: Path) -> None:
    content = {
        "state_dict": {"dnn.all_modules.0.W": torch.zeros(4)},
        "hyper_parameters": {"backbone": "ncsnpp", "sde": "ouve", "nf": 4096},
    }
    torch.save(content, tmp_path / "a.ckpt")
    bounded(lambda: import_sgmse(tmp_path / "a.ckpt"), "larger model than its weights")
