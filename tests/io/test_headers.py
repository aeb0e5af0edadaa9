"""Headers that promise less than a file holds, that do not end, or that libsndfile does not know."""

from __future__ import annotations

import os
import struct
import threading
import time

import numpy as np
import pytest
import soundfile

from audio_enh.errors import AudioFileError
from audio_enh.io import AudioReader, AudioWriter, probe, read_audio, write_audio
from audio_enh.io.chunks import iff_chunks

from .sounds import copy_through, noise

GIB = 1 << 30


def wav(path, frames=8000, rate=16000, **format):
    soundfile.write(path, noise(frames, rate)[0], rate, **format)
    return path


def test_a_size_that_has_outgrown_its_header_is_read_on(tmp_path):
    """More than 4 GiB: 37 hours became seconds. The file is sparse, all but its ends is a hole."""
    path = wav(tmp_path / "long.wav")
    data = bytearray(path.read_bytes())
    frames = (4 * GIB + 40_000) // 2
    struct.pack_into("<I", data, 4, 36 + 40_000)
    struct.pack_into("<I", data, 40, 40_000)  # of 2**32 + 40_000
    with path.open("wb") as file:
        file.write(data)
        file.truncate(44 + 2 * frames)
    info = probe(path)
    assert info.frames == frames
    assert any("outgrown its header" in line for line in info.warnings)
    with AudioReader(path) as reader:
        first = next(reader.blocks(1.0))
    np.testing.assert_allclose(first[0, :8000], noise(8000, 16000)[0], atol=1e-4)
    writer = AudioWriter(tmp_path / "out.wav", info)
    assert writer._encoding.format == "RF64"  # the output has a header with room for it
    writer.discard()


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".au", ".caf", ".w64", ".rf64"])
def test_sound_behind_what_the_header_announces_is_told(tmp_path, suffix):
    """As recorders leave it that wrote the header for the last time some minutes before they crashed."""
    path = tmp_path / f"a{suffix}"
    write_audio(path, noise(8000, 16000), 16000)
    assert probe(path).warnings == ()
    more = (noise(30_000, 16000, seed=3)[0] * 32767).astype("<i2").tobytes()
    with path.open("ab") as file:
        file.write(more)
    info = probe(path)
    assert info.frames == 8000
    assert any("60000 bytes behind the sound are left unread" in line for line in info.warnings)


def test_flac_frames_behind_what_the_header_announces_are_told(tmp_path):
    path = tmp_path / "a.flac"
    write_audio(path, noise(100_000, 16000), 16000)
    assert probe(path).warnings == ()
    data = bytearray(path.read_bytes())
    fields = int.from_bytes(data[18:26], "big")
    data[18:26] = (fields - 50_000).to_bytes(8, "big")
    path.write_bytes(data)
    assert probe(path).frames == 50_000
    assert any(
        "announces 50000 samples, and it holds more than 98304" in line for line in probe(path).warnings
    )


def test_chunks_zeros_and_tags_behind_the_sound_are_no_sound(tmp_path):
    path = wav(tmp_path / "a.wav")
    plain = path.read_bytes()
    for behind in (b"LIST\x04\0\0\0INFO", b"junk\x03\0\0\0abc\0", bytes(50_000), b"TAG" + bytes(range(125))):
        path.write_bytes(plain + behind)
        assert probe(path).warnings == (), behind[:8]


def test_zeros_behind_the_data_take_no_time(tmp_path):
    """8 MB of them were a million empty chunks, and took 200 s."""
    path = wav(tmp_path / "a.wav")
    with path.open("ab") as file:
        file.write(bytes(8 << 20))
    began = time.process_time()
    copy_through(path, tmp_path / "b.wav")
    assert time.process_time() - began < 2
    with path.open("ab") as file:
        file.write(b"abcd\0\0\0\0" * (1 << 20))
    with path.open("rb") as file:
        assert sum(1 for _ in iff_chunks(file)) <= 10_000
    began = time.process_time()
    copy_through(path, tmp_path / "b.wav")
    assert time.process_time() - began < 4


def test_a_stream_whose_header_does_not_end(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def feed() -> None:
        with fifo.open("wb") as file:
            try:
                file.write(b"RIFF\xff\xff\xff\xffWAVE")
                for _ in range(1000):
                    file.write(bytes(1 << 16))
            except BrokenPipeError:
                pass

    thread = threading.Thread(target=feed)
    thread.start()
    with pytest.raises(AudioFileError, match="damaged"):
        read_audio(fifo)
    thread.join(timeout=10)
    assert not thread.is_alive()


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_from_a_named_pipe_to_a_file(tmp_path, suffix):
    """The source is not opened again for its tags: that would wait for ever."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    data = wav(tmp_path / "a.wav").read_bytes()
    thread = threading.Thread(target=lambda: fifo.write_bytes(data), daemon=True)
    thread.start()
    done = threading.Thread(target=lambda: copy_through(fifo, tmp_path / f"out{suffix}"), daemon=True)
    done.start()
    done.join(timeout=20)
    assert not done.is_alive()
    np.testing.assert_array_equal(read_audio(tmp_path / f"out{suffix}")[0], read_audio(tmp_path / "a.wav")[0])


def test_bw64_stays_bw64_with_its_chunks(tmp_path):
    audio = noise(8001, 48000, 2)
    pcm = (audio.T * 32767).astype("<i2").tobytes()
    fmt = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 2, 48000, 192000, 4, 16)
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, len(pcm), len(pcm) // 4, 0)
    chna, axml = b"chna" + struct.pack("<I", 4) + b"\1\0\1\0", b"axml" + struct.pack("<I", 6) + b"<adm/>"
    body = b"WAVE" + ds64 + fmt + chna + b"data\xff\xff\xff\xff" + pcm + axml
    (tmp_path / "a.wav").write_bytes(b"BW64\xff\xff\xff\xff" + body)
    copy_through(tmp_path / "a.wav", tmp_path / "b.wav")
    out = (tmp_path / "b.wav").read_bytes()
    assert out[:4] == b"BW64"
    with (tmp_path / "b.wav").open("rb") as file:
        found = {chunk.name: chunk for chunk in iff_chunks(file)}
    assert found[b"data"].size == len(pcm)
    assert out[found[b"axml"].offset :][:6] == b"<adm/>"
    assert out[found[b"chna"].offset :][:4] == b"\1\0\1\0"
    np.testing.assert_array_equal(read_audio(tmp_path / "b.wav")[0], read_audio(tmp_path / "a.wav")[0])
    assert read_audio(tmp_path / "b.wav")[0].shape == (2, 8001)


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM", "GSM610"])
def test_codecs_of_blocks_come_back_as_samples_of_the_same_length(tmp_path, subtype):
    path = wav(tmp_path / "a.wav", 12_345, 8000, subtype=subtype)
    info, writer = copy_through(path, tmp_path / "b.wav")
    out = probe(tmp_path / "b.wav")
    assert (out.subtype, out.frames) == ("PCM_16", info.frames)
    assert any(f"{subtype} cannot be written, or not to the exact length" in line for line in writer.warnings)
