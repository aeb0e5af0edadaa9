"""WAV through real pipes, in real processes."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile

from audio_enh.errors import AudioFileError
from audio_enh.io import AudioWriter, read_audio, write_audio

from .sounds import noise

COPY = """
import sys
from audio_enh.errors import UserError
from audio_enh.io import AudioReader, AudioWriter
try:
    with AudioReader(sys.argv[1]) as reader, AudioWriter(sys.argv[2], reader.info) as writer:
        for block in reader.blocks(0.05):
            writer.write(block)
except UserError as error:
    sys.exit(f"error: {error}")
"""


def copy_process(source, target, **options):
    command = [sys.executable, "-c", COPY, str(source), str(target)]
    return subprocess.run(command, capture_output=True, timeout=60, **options)


def wav_bytes(tmp_path, audio, rate=16000, **format) -> bytes:
    soundfile.write(tmp_path / "x.wav", audio.T, rate, format="WAV", **format)
    return (tmp_path / "x.wav").read_bytes()


def streamed(data: bytes, riff: int = 0xFFFFFFFF, size: int = 0xFFFFFFFF) -> bytes:
    """The same WAV as a program writes it that cannot seek back."""
    at = data.index(b"data") + 4
    return data[:4] + struct.pack("<I", riff) + data[8:at] + struct.pack("<I", size) + data[at + 4 :]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
def test_stdin_to_stdout_is_bit_exact(tmp_path, subtype):
    data = wav_bytes(tmp_path, noise(9_999, 16000, 2), subtype=subtype)
    result = copy_process("-", "-", input=streamed(data))
    assert result.returncode == 0, result.stderr
    (tmp_path / "out.wav").write_bytes(result.stdout)
    after, rate = soundfile.read(tmp_path / "out.wav", dtype="float64", always_2d=True)
    before, _ = soundfile.read(tmp_path / "x.wav", dtype="float64", always_2d=True)
    assert rate == 16000
    np.testing.assert_array_equal(after[: len(before)], before)
    assert len(after) == 9_999
    assert soundfile.info(tmp_path / "out.wav").subtype == subtype


@pytest.mark.parametrize(
    ("riff", "size"), [(0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFF024, 0x7FFFF000), (0x80000023, 0x7FFFFFFF)]
)
def test_streams_of_unknown_length(tmp_path, riff, size):
    audio = np.round(noise(5_000, 16000) * 32768) / 32768
    data = streamed(wav_bytes(tmp_path, audio), riff, size)
    result = copy_process("-", tmp_path / "out.wav", input=data)
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(read_audio(tmp_path / "out.wav")[0], audio)
    result = copy_process("-", "-", input=data)
    assert result.stdout[4:8] == b"\xff\xff\xff\xff"  # nor can we know the length
    assert len(result.stdout) == 44 + 10_000


def test_known_length_goes_into_the_header_and_trailing_chunks_are_no_audio(tmp_path):
    audio = np.round(noise(5_001, 16000) * 128) / 128
    data = wav_bytes(tmp_path, audio, subtype="PCM_U8") + b"LIST\x04\0\0\0INFO"
    result = copy_process("-", "-", input=data)
    assert result.returncode == 0
    (tmp_path / "out.wav").write_bytes(result.stdout)
    assert struct.unpack("<I", result.stdout[4:8])[0] == len(result.stdout) - 8
    np.testing.assert_array_equal(read_audio(tmp_path / "out.wav")[0], audio)


def test_eight_channels_and_extensible_header(tmp_path):
    audio = np.round(noise(1_000, 48000, 8) * 2**23) / 2**23
    result = copy_process("-", "-", input=streamed(wav_bytes(tmp_path, audio, 48000, subtype="PCM_24")))
    (tmp_path / "out.wav").write_bytes(result.stdout)
    info = soundfile.info(tmp_path / "out.wav")
    assert (info.format, info.channels, info.subtype) == ("WAVEX", 8, "PCM_24")
    np.testing.assert_array_equal(read_audio(tmp_path / "out.wav")[0], audio)


def test_no_samples(tmp_path):
    result = copy_process("-", "-", input=streamed(wav_bytes(tmp_path, np.zeros((1, 0)))))
    assert result.returncode == 0
    assert len(result.stdout) == 44


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", b"stdin is empty"),
        (b"fLaC" + bytes(1000), b"not a WAV stream"),
        (b"RIFF\0\0\0\0WAVEfmt ", b"ended within its WAV header"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", b"no WAV format chunk"),
    ],
)
def test_what_is_not_wav_is_refused_in_one_line(data, message):
    result = copy_process("-", "-", input=data)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.strip().count(b"\n") == 0
    assert result.stdout == b""


def test_stream_that_ends_early_is_an_error(tmp_path):
    data = wav_bytes(tmp_path, noise(16000, 16000))
    result = copy_process("-", tmp_path / "out.wav", input=data[:20_000])
    assert result.returncode == 1
    assert b"stdin is damaged or cut short: 0.62 of its 1.00 s" in result.stderr
    assert not (tmp_path / "out.wav").exists()


def test_audio_flows_while_the_stream_is_still_open(tmp_path):
    """A live stream: the first blocks come out before the last go in."""
    data = streamed(wav_bytes(tmp_path, noise(16000, 16000)))
    command = [sys.executable, "-c", COPY, "-", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(data[:16_044])
        process.stdin.flush()
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        head = process.stdout.read(44 + 16_000)
        watchdog.cancel()
        assert head[44:] == data[44:16_044]
        process.stdin.write(data[16_044:])
        process.stdin.close()
        assert len(process.stdout.read()) == 16_000


def test_reader_that_goes_away_is_one_line(tmp_path):
    data = streamed(wav_bytes(tmp_path, noise(2_000_000, 16000)))
    command = [sys.executable, "-c", COPY, "-", "-"]
    (tmp_path / "in.wav").write_bytes(data)
    with (tmp_path / "in.wav").open("rb") as source:
        pipes = {"stdin": source, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, **pipes)
        process.stdout.read(1000)
        process.stdout.close()
        stderr = process.stderr.read()
        process.stderr.close()
        assert process.wait(60) == 1
    assert b"stdout was closed by the program that reads it" in stderr
    assert b"Traceback" not in stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipes(tmp_path):
    audio = np.round(noise(5_000, 16000) * 32768) / 32768
    data = wav_bytes(tmp_path, audio)
    for name in ("in", "out"):
        os.mkfifo(tmp_path / name)
    received = []
    feeder = threading.Thread(target=lambda: (tmp_path / "in").write_bytes(data))
    drain = threading.Thread(target=lambda: received.append((tmp_path / "out").read_bytes()))
    feeder.start()
    drain.start()
    result = copy_process(tmp_path / "in", tmp_path / "out")
    feeder.join(30)
    drain.join(30)
    assert result.returncode == 0, result.stderr
    assert received[0][44:] == data[44:]


def test_devices_are_written_to_and_not_replaced(tmp_path):
    link = tmp_path / "out.wav"
    link.symlink_to("/dev/null")
    write_audio(link, np.zeros(100, np.float32), 8000)
    assert link.is_symlink()
    assert os.path.exists("/dev/null")  # noqa: PTH110
    assert not os.path.isfile("/dev/null")  # noqa: PTH113
    with (
        pytest.raises(AudioFileError, match="no space left"),
        AudioWriter("/dev/full", sample_rate=8000, channels=1) as writer,
    ):
        writer.write(np.zeros((1, 100_000), np.float32))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_between_two_ffmpegs(tmp_path):
    audio = np.round(noise(20_000, 44100, 2) * 32768) / 32768
    wav_bytes(tmp_path, audio, 44100)
    quoted = f"{sys.executable} -c '{COPY}' - -"
    decode = f"ffmpeg -v error -i {tmp_path}/x.wav -f wav -"
    encode = f"ffmpeg -v error -f wav -i - -c:a flac {tmp_path}/out.flac"
    subprocess.run(["bash", "-o", "pipefail", "-c", f"{decode} | {quoted} | {encode}"], check=True)
    np.testing.assert_array_equal(read_audio(tmp_path / "out.flac")[0], audio)
