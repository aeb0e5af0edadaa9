"""Random and damaged configurations, weights, pickles: an answer or one line; no crash, no hang, no full memory."""

from __future__ import annotations

import io
import pickle
import resource
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio_enh.errors import CheckpointError
from audio_enh.inference.catalog import read_config
from audio_enh.inference.checkpoint import load_model, save_checkpoint
from audio_enh.inference.pickles import read_pickle
from audio_enh.models.demucs import Demucs

SMALL = {"hidden": 4, "depth": 2, "resample": 1, "sample_rate": 16000}
FUZZ = settings(
    max_examples=150,
    deadline=5000,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small checkpoint; all that is done to it here takes little memory."""
    folder = tmp_path_factory.mktemp("fuzz") / "small"
    save_checkpoint(folder, Demucs(**SMALL), {}, arguments=SMALL)
    load_model(str(folder), "cpu")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield folder
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def damage(data: bytes, cuts: list[tuple[int, bytes]], end: int) -> bytes:
    """Pieces put in at places, in thousandths of the length, and the end cut off."""
    for at, piece in cuts:
        where = at * len(data) // 1000
        data = data[:where] + piece + data[where + len(piece) :]
    return data[: len(data) * end // 1000]


def answer_or_line(call: Callable[[], object]) -> None:
    try:
        call()
    except CheckpointError as error:
        message = str(error)
    else:
        message = ""
    assert "\n" not in message
    assert len(message) < 5000


CUTS = st.lists(st.tuples(st.integers(0, 1000), st.binary(min_size=1, max_size=8)), max_size=4)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@FUZZ
@given(text=st.text(alphabet="[]{}:,-?!&*#|>%@`'\"\\ \n\t019.eE_~<=ab", max_size=200) | st.text(max_size=60))
def test_any_text_as_configuration(place: Path, text: str) -> None:
    folder = place.with_name("text")
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_bytes(text.encode(errors="surrogatepass"))
    answer_or_line(lambda: read_config(folder))


@FUZZ
@given(name=st.sampled_from(sorted(Demucs.complete_arguments(SMALL))), value=PLAIN)
def test_any_argument_of_a_model(place: Path, name: str, value: object) -> None:
    folder = place.with_name("arguments")
    folder.mkdir(exist_ok=True)
    config = yaml.safe_load((place / "config.yaml").read_text())
    config["model"][name] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "model.safetensors").write_bytes((place / "model.safetensors").read_bytes())
    answer_or_line(lambda: load_model(str(folder), "cpu"))


@FUZZ
@given(cuts=CUTS, end=st.integers(0, 1000))
def test_damaged_weights(place: Path, cuts: list[tuple[int, bytes]], end: int) -> None:
    folder = place.with_name("weights")
    folder.mkdir(exist_ok=True)
    config = yaml.safe_load((place / "config.yaml").read_text())
    del config["sha256"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "model.safetensors").write_bytes(damage((place / "model.safetensors").read_bytes(), cuts, end))
    answer_or_line(lambda: load_model(str(folder), "cpu"))


def _saved() -> bytes:
    stream = io.BytesIO()
    state = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(3)}
    torch.save({"state_dict": state, "hyper_parameters": {"nf": 4, "ch_mult": (1, 2)}, "step": 7}, stream)
    return stream.getvalue()


SAVED = _saved()
with zipfile.ZipFile(io.BytesIO(SAVED)) as _archive:
    PICKLE = _archive.read("archive/data.pkl")


@FUZZ
@given(cuts=CUTS, end=st.integers(0, 1000))
def test_damaged_pickle_files(place: Path, cuts: list[tuple[int, bytes]], end: int) -> None:
    path = place.with_name("damaged.ckpt")
    path.write_bytes(damage(SAVED, cuts, end))
    answer_or_line(lambda: read_pickle(path))


OPCODES = st.lists(
    st.sampled_from([getattr(pickle, name) for name in dir(pickle) if name.isupper() and len(name) > 2
                     and isinstance(getattr(pickle, name), bytes) and len(getattr(pickle, name)) == 1])
    | st.binary(max_size=6)
    | st.sampled_from([b"cbuiltins\neval\n", b"ctorch\nSize\n", b"ccollections\nOrderedDict\n", b"cnumpy\nx\n"]),
    max_size=30,
).map(b"".join)  # fmt: skip


@FUZZ
@given(data=OPCODES.map(lambda code: b"\x80\x02" + code + b".") | st.tuples(CUTS, st.integers(0, 1000)).map(
    lambda how: damage(PICKLE, *how)
))  # fmt: skip
def test_any_instructions_as_pickle(place: Path, data: bytes) -> None:
    path = place.with_name("instructions.ckpt")
    with zipfile.ZipFile(path, "w") as archive, zipfile.ZipFile(io.BytesIO(SAVED)) as source:
        for name in source.namelist():
            archive.writestr(name, data if name.endswith("data.pkl") else source.read(name))
    answer_or_line(lambda: read_pickle(path))
