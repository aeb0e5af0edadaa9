"""Parsers written here against broken and hostile files: no crash, no hang, no memory beyond a bound."""

from __future__ import annotations

import functools
import io
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio_enh.errors import UserError
from audio_enh.io import chunks, mp3, ogg, opus, read_audio
from audio_enh.io.discover import shorten_name
from audio_enh.io.flac import frame_offsets, seek_table
from audio_enh.io.integrity import examine
from audio_enh.io.metadata import _flac_blocks, copy_metadata
from audio_enh.io.remux import metadata_text
from audio_enh.io.timeline import Timeline
from audio_enh.io.wavpipe import WavPipeSource

from .sounds import noise

SECONDS = 3.0  # of processor time for a file of some 100 kB
MEGABYTES = 80
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
quick = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@functools.cache
def seeds() -> dict[str, bytes]:
    """A whole file of each kind; no fixture, as Hypothesis would print all of them."""
    found = {}
    for name, (format, subtype) in FORMATS.items():
        buffer = io.BytesIO()
        soundfile.write(buffer, noise(8000, 16000)[0], 16000, format=format, subtype=subtype)
        found[name] = buffer.getvalue()
    box = struct.pack(">I4s", 16, b"ftyp") + b"isom\0\0\2\0" + struct.pack(">I4s", 108, b"mdat") + bytes(100)
    found["mp4"] = box + struct.pack(">I4s", 8, b"moov")
    found["mkv"] = b"\x1a\x45\xdf\xa3\x84abcd\x18\x53\x80\x67\x88" + bytes(64)
    found["avi"] = b"RIFF" + struct.pack("<I", 100) + b"AVI " + bytes(96)
    return found


#: What is done to a file: a place (as a share of its length), what is put there, how often, and how much it replaces.
values = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.sampled_from(
        [b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"data", b"OggS", b"ID3", b"\xff\xfb\x90\x00"]
    ),
    st.sampled_from([bytes(8), b"abcd\0\0\0\0", b"OggS" + bytes(23), b"\xff\xe3\x18\xc0", b"\0\0\0\x08free"]),
)
changes = st.lists(
    st.tuples(
        st.floats(0, 1),
        values,
        st.sampled_from([1, 1, 1, 2, 1000, 20_000]),
        st.sampled_from([0, 1, 4, 4, 8, 100]),
    ),
    max_size=4,
)


def damage(data: bytes, steps, keep: float) -> bytes:
    for place, value, times, length in steps:
        at = int(place**3 * len(data))  # mostly in the header
        data = data[:at] + value * times + data[at + length :]
    return data[: max(int(keep * len(data)), 1)]


def bounded(call) -> None:
    """Run it; within processor time and memory."""
    tracemalloc.start()
    began = time.process_time()
    try:
        call()
    except (UserError, ValueError, OSError, struct.error):
        pass
    finally:
        used, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert used < SECONDS
    assert peak < MEGABYTES << 20


@pytest.mark.parametrize("name", [*FORMATS, "mp4", "mkv", "avi"])
@given(steps=changes, keep=st.one_of(st.just(1.0), st.floats(0, 1)))
@quick
def test_headers(tmp_path, name, steps, keep):
    path = tmp_path / f"a.{name}"
    path.write_bytes(damage(seeds()[name], steps, keep))
    with_errors: list[BaseException] = []

    def look() -> None:
        try:
            examine(path)
        except (ValueError, struct.error) as error:  # a reader's caller gets these as a defect
            with_errors.append(error)

    bounded(look)
    assert not with_errors


@pytest.mark.parametrize("name", ["wav", "rf64", "aiff", "w64", "caf", "flac", "ogg", "opus", "mp3"])
@given(steps=changes, keep=st.one_of(st.just(1.0), st.floats(0, 1)))
@quick
def test_tags(tmp_path, name, steps, keep):
    source, target = tmp_path / f"a.{name}", tmp_path / f"b.{name}"
    source.write_bytes(damage(seeds()[name], steps, keep))
    target.write_bytes(seeds()[name])
    refused: list[BaseException] = []

    def copy() -> None:
        try:
            copy_metadata(source, target, FORMATS[name][0])
        except ValueError as error:  # says why the tags do not travel
            refused.append(error)

    bounded(copy)
    # Whatever the source holds, what was written stays a file that can be read.
    if not refused:
        again, _ = read_audio(target)
        source.write_bytes(seeds()[name])
        np.testing.assert_array_equal(again, read_audio(source)[0])


@given(steps=changes, keep=st.floats(0, 1))
@quick
def test_mp3_frames(tmp_path, steps, keep):
    path = tmp_path / "a.mp3"
    path.write_bytes(damage(seeds()["mp3"], steps, keep))

    def walk() -> None:
        layout = mp3.scan(path)
        if layout is not None:
            frames, samples = mp3.count_frames(path, layout)
            assert samples <= 1152 * frames
            mp3.is_mixed(path, layout)
            if layout.layer == 3 and frames:
                with mp3.CountedMp3(path, layout, frames) as file:
                    file.read(1 << 16)

    bounded(walk)


@given(steps=changes, keep=st.floats(0, 1))
@quick
def test_ogg_pages(tmp_path, steps, keep):
    path = tmp_path / "a.opus"
    path.write_bytes(damage(seeds()["opus"], steps, keep))

    def walk() -> None:
        with path.open("rb") as file:
            sum(1 for _ in ogg.pages(file))
            ogg.last_page(file)
            opus.wrong_pages(file)
            ogg.header_packets(file, 2)

    bounded(walk)


@given(steps=changes, keep=st.floats(0, 1))
@quick
def test_wav_streams(steps, keep):
    data = damage(seeds()["wav"], steps, keep)

    def read() -> None:
        source = WavPipeSource(io.BytesIO(data), Path("stream"))
        while len(source.read(4096)):
            pass

    bounded(read)


@given(steps=changes, points=st.binary(max_size=100))
@quick
def test_flac_frames(tmp_path, steps, points):
    path = tmp_path / "a.flac"
    path.write_bytes(damage(seeds()["flac"], steps, 1.0))
    with path.open("rb") as file:

        def walk() -> None:
            _, _, start = _flac_blocks(file)
            frame_offsets(file, start)
            seek_table(file, start, points)

        bounded(walk)


@given(data=st.binary(max_size=4000))
@quick
def test_chunks_of_anything(data):
    for walk in (chunks.iff_chunks, chunks.mp4_boxes, chunks.w64_chunks, chunks.caf_chunks):
        bounded(lambda walk=walk: list(walk(io.BytesIO(data))))
    bounded(lambda: chunks.unread(io.BytesIO(data), 0, "<"))


@given(
    frames=st.lists(st.tuples(st.integers(-(2**40), 2**40), st.integers(0, 4096)), max_size=60),
    joined=st.booleans(),
)
@quick
def test_timelines(frames, joined):
    """Whatever the timestamps: what was decoded is taken or dropped, once, and a hole is never negative."""
    line = Timeline(48000, joined=joined)
    pieces = []
    for frame in frames:
        line.add(*frame)
        pieces += line.pieces()
    pieces += line.pieces(last=True)
    assert [piece.drop + piece.take for piece in pieces] == [samples for _, samples in frames]
    assert all(piece.silence >= 0 and piece.drop >= 0 for piece in pieces)


@given(tags=st.dictionaries(st.text(max_size=20), st.text(max_size=200), max_size=5))
@quick
def test_tags_for_ffmpeg_are_one_entry_each(tags):
    """No tag makes another, or a section of its own."""
    lines = metadata_text(tags).replace(b"\\\\", b"").replace(b"\\\n", b"").split(b"\n")[1:-1]
    assert len(lines) == len(tags)


@given(stem=st.text(min_size=1, max_size=400), ending=st.sampled_from(["_enhanced.wav", ".uncertainty.csv"]))
@quick
def test_shortened_names_fit(stem, ending):
    name = shorten_name(stem, ending)
    assert name.endswith(ending)
    assert len(name.encode("utf-8", "surrogateescape")) <= 255 or any("\ud800" <= c <= "\udfff" for c in stem)
