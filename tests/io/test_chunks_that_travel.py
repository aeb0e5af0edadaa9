"""What stands around the sound travels in every container, or says why it does not."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import soundfile

from audio_enh.io import read_audio, write_audio
from audio_enh.io.chunks import caf_chunks, iff_chunks, w64_chunks
from audio_enh.io.flac import frame_offsets
from audio_enh.io.metadata import _flac_blocks

from .sounds import copy_through, noise


def bext(loudness: int = -2300) -> bytes:
    """A broadcast chunk of version 2 with a measured loudness."""
    data = bytearray(602)
    data[:4] = b"Take"
    struct.pack_into("<H", data, 346, 2)
    struct.pack_into("<5h", data, 412, loudness, 500, -100, -1800, -2000)
    return bytes(data)


def test_checksums_and_loudness_of_other_samples_do_not_travel(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(8000, 48000)[0], 48000)
    chunks = b"bext" + struct.pack("<I", 602) + bext() + b"MD5 " + struct.pack("<I", 16) + bytes(range(16))
    data = bytearray(path.read_bytes() + chunks)
    struct.pack_into("<I", data, 4, len(data) - 8)
    path.write_bytes(data)
    copy_through(path, tmp_path / "b.wav")
    out = (tmp_path / "b.wav").read_bytes()
    with (tmp_path / "b.wav").open("rb") as file:
        found = {chunk.name: chunk for chunk in iff_chunks(file)}
    assert b"MD5 " not in found
    copied = out[found[b"bext"].offset :][:602]
    assert copied[:4] == b"Take"
    assert struct.unpack_from("<5h", copied, 412) == (0x7FFF,) * 5
    assert copied[422:] == bext()[422:]


def test_w64(tmp_path):
    path = tmp_path / "a.w64"
    write_audio(path, noise(8001, 48000), 48000)
    guid = b"bext" + bytes.fromhex("f3acd3118cd100c04f8edb8a")
    data = bytearray(path.read_bytes())
    data += bytes(-len(data) % 8) + guid + struct.pack("<Q", 24 + 602) + bext() + bytes(-602 % 8)
    struct.pack_into("<Q", data, 16, len(data))
    path.write_bytes(data)
    copy_through(path, tmp_path / "b.w64")
    out = (tmp_path / "b.w64").read_bytes()
    with (tmp_path / "b.w64").open("rb") as file:
        found = {chunk.name: chunk for chunk in w64_chunks(file)}
    assert out[found[b"bext"].offset :][:4] == b"Take"
    assert struct.unpack_from("<Q", out, 16)[0] == len(out)
    np.testing.assert_array_equal(read_audio(tmp_path / "b.w64")[0], read_audio(path)[0])


def test_caf(tmp_path):
    path = tmp_path / "a.caf"
    write_audio(path, noise(8001, 48000), 48000)
    marker = struct.pack(">II", 0, 1) + struct.pack(">IdI4BI", 0, 4000.0, 1, 0, 0, 0, 0, 0)
    with path.open("ab") as file:
        file.write(b"mark" + struct.pack(">q", len(marker)) + marker)
    copy_through(path, tmp_path / "b.caf")
    with (tmp_path / "b.caf").open("rb") as file:
        found = {chunk.name: chunk for chunk in caf_chunks(file)}
        file.seek(found[b"mark"].offset)
        assert file.read(found[b"mark"].size) == marker
    np.testing.assert_array_equal(read_audio(tmp_path / "b.caf")[0], read_audio(path)[0])


@pytest.mark.parametrize("seconds", [0.5, 12])
def test_flac_application_and_seek_table(tmp_path, seconds):
    rate = 48000
    frames = int(seconds * rate)
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(frames, rate)[0], rate)
    blocks, _, end = _flac_blocks(path.open("rb"))
    wanted = [*range(0, frames, rate), 2**64 - 1]
    points = b"".join(struct.pack(">QQH", sample, 0, 4096) for sample in wanted)
    blocks += [(3, points), (2, b"riff" + b"some application's own")]
    parts = [
        bytes([kind | (0x80 if i == len(blocks) - 1 else 0)]) + len(data).to_bytes(3, "big") + data
        for i, (kind, data) in enumerate(blocks)
    ]
    path.write_bytes(b"fLaC" + b"".join(parts) + path.read_bytes()[end:])
    copy_through(path, tmp_path / "b.flac")
    out, _, start = _flac_blocks((tmp_path / "b.flac").open("rb"))
    assert (2, b"riff" + b"some application's own") in out
    table = next(data for kind, data in out if kind == 3)
    found = [struct.unpack_from(">QQH", table, i) for i in range(0, len(table), 18)]
    with (tmp_path / "b.flac").open("rb") as file:
        offsets = frame_offsets(file, start)
    assert len(offsets) == -(-frames // 4096)
    assert [sample for sample, _, _ in found] == [sample // 4096 * 4096 for sample in wanted[:-1]]
    assert all(offsets[sample // 4096] == offset for sample, offset, _ in found)
    np.testing.assert_array_equal(read_audio(tmp_path / "b.flac")[0], read_audio(path)[0])
