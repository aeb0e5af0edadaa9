"""The command on real PortAudio devices: PulseAudio's null sinks."""

from __future__ import annotations

import signal

import numpy as np
import pytest

import audio_enh
from audio_enh.io import read_audio, write_audio
from audio_enh.streaming import LiveStream

from .conftest import RATE, correlation, correlation_by_pieces, lag, noisy_speech


def aligned(reference: np.ndarray, later: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """The parts of both that belong together, ``later`` being ``shift`` samples behind."""
    later = later[shift:] if shift >= 0 else np.pad(later, (-shift, 0))
    length = min(len(reference), len(later))
    return reference[:length], later[:length]


def speech_later(path, rate: int, channels: int = 1) -> None:
    """Four seconds of silence, then speech, in the first channel. Null sinks stop for two seconds when a stream is
    connected: all are to be by the time there is something to hear."""
    audio = np.zeros((channels, 11 * rate), np.float32)
    audio[0, 4 * rate :] = noisy_speech(rate, 7)
    write_audio(path, audio, rate)


def test_from_microphone_to_ears_and_files(server, live, tmp_path):
    server.add_world()
    speech_later(tmp_path / "speech.wav", RATE)
    with server.recording("world.monitor", 2) as heard:
        server.play(tmp_path / "speech.wav", "feed")
        session = live(
            "--input", "mic", "--output", "ears", "--duration", 8,
            "--record", tmp_path / "out.wav", "--record-input", tmp_path / "in.wav",
        )  # fmt: skip
        status = session.wait_for("status", input_level=lambda db: db > -50)
        code, error = session.finish()
    assert (code, error) == (0, "")
    final = session.said[-3]
    assert final["underruns"] == status["underruns"]
    assert final["lost_ms"] == 0
    assert final["frame_ms"]["p99"] < final["block_ms"]
    assert final["reduction"] > 3

    # What was recorded is what the engine makes of the input, offline.
    raw, rate = read_audio(tmp_path / "in.wav")
    out, _ = read_audio(tmp_path / "out.wav")
    assert rate == RATE
    assert raw.shape == out.shape
    stream = LiveStream(None, RATE, 1, block_length=480)
    np.testing.assert_allclose(out, stream.process(raw), atol=2e-4)  # recorded with 16 bits
    # And what the model makes of it, by another way.
    early = round(stream.latency.resampler_in)  # by which the model's frames lie earlier live
    enhanced = audio_enh.load(device="cpu").enhance(np.pad(raw, ((0, 0), (early, 0))), RATE)[:, early:]
    offline, online = aligned(enhanced[0], out[0], stream.latency_samples)
    assert correlation(offline, online) > 0.999

    # What came to the ears is that too, so much later after the microphone as was reported.
    left, right = heard[0]
    assert correlation_by_pieces(enhanced[0], right, lag(enhanced[0], right)) > 0.998
    measured = 1000 * lag(left, right) / RATE
    reported = status["latency_ms"]["total"]
    assert reported - 25 < measured < reported + 25


@pytest.mark.parametrize("own_rate", [44100])
def test_a_stereo_microphone_at_44100_and_a_mono_output_at_48000(server, live, tmp_path, own_rate):
    server.add_sink("feed", rate=own_rate, channels=2)
    server.add_sink("ears", rate=48000, channels=1)
    speech_later(tmp_path / "speech.wav", own_rate, channels=2)
    with server.recording("ears.monitor", 1) as heard:
        server.play(tmp_path / "speech.wav", "feed")
        session = live(
            "-i", "feed.monitor", "-o", "ears", "--record-input", tmp_path / "in.wav", "--duration", 8
        )
        status = session.wait_for("status", output_level=lambda db: db > -50)
        assert (status["input_rate"], status["output_rate"]) == (44100, 48000)
        assert session.finish() == (0, "")
    raw, rate = read_audio(tmp_path / "in.wav")
    assert rate == 44100
    assert raw.shape[0] == 1
    import soxr

    enhanced = soxr.resample(audio_enh.load(device="cpu").enhance(raw, rate)[0], rate, 48000)
    assert correlation_by_pieces(enhanced, heard[0][0], lag(enhanced, heard[0][0])) > 0.998
    assert [said["underruns"] for said in session.said if said["event"] == "status"][-1] == status[
        "underruns"
    ]


def test_to_a_file_and_nowhere_else(server, live, tmp_path):
    server.add_sink("feed", rate=44100)
    session = live(
        "-i", "feed.monitor", "-o", "none", "--record", tmp_path / "out.flac", "--stereo", "--duration", 4
    )
    assert session.finish() == (0, "")
    audio, rate = read_audio(tmp_path / "out.flac")
    assert (audio.shape[0], rate) == (2, 44100)
    assert server.names("sinks") == {"feed"}
    again = live("-i", "feed.monitor", "-o", "none", "--record", tmp_path / "out.flac")
    code, error = again.finish()
    assert code == 2
    assert "out.flac is there already: choose another name, or add --overwrite" in error


@pytest.mark.parametrize(("number", "code", "name"), [
    (signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM"), (signal.SIGHUP, 129, "SIGHUP"),
])  # fmt: skip
def test_every_way_of_stopping_keeps_the_recording_and_leaves_no_device(
    server, live, tmp_path, number, code, name
):
    server.add_sink("feed")
    session = live("-i", "feed.monitor", "--virtual-mic", "Clean", "--record", tmp_path / "out.wav")
    session.wait_for("status", frame_ms=lambda ms: ms["p50"] > 0)
    assert "Clean" in server.names("sources")
    assert session.stop(number) == (code, f"stopped by {name}\n")
    assert server.names("sources") == {"feed.monitor"}
    assert server.names("sinks") == {"feed"}
    audio, rate = read_audio(tmp_path / "out.wav")
    assert audio.shape[1] > rate / 10


def test_devices_are_listed(server, live):
    server.add_sink("feed", rate=44100, channels=1)
    session = live("--list-devices")
    assert session.finish()[0] == 0
    listed = {device["route"]: device for device in session.said}
    assert listed["feed.monitor"]["sample_rate"] == 44100
    assert listed["feed.monitor"]["inputs"] == 1
    assert listed["feed"]["outputs"] == 1


@pytest.mark.parametrize(("arguments", "said"), [
    (("-i", "feed.monitor", "-o", "nobody"), "error: no output device is called 'nobody': 0 pulse; 1 default; 3 "),
    (("-i", "feed.monitor", "-o", "feed", "--virtual-mic"), "error: give --virtual-mic or --output, not both"),
    (("-i", "feed.monitor", "-o", "none"), "error: with --output none there is nothing to do: add --record FILE or "),
    (("-i", "feed.monitor", "--record", "no/such.xyz"), "error: no/such.xyz: unknown extension .xyz"),
    ((), "error: there is no microphone: connect a microphone"),
    (("-i", "feed.monitor", "-m", "no-such-model"), "error: no checkpoint 'no-such-model'"),
    (("-i", "feed.monitor", "--strength", "2"), "error: Invalid value for '--strength'"),
])  # fmt: skip
def test_mistakes_are_one_line(server, live, arguments, said):
    server.add_sink("feed")
    session = live(*arguments)
    code, error = session.finish()
    assert code == 2
    assert error.startswith(said), error
    assert error.count("\n") == 1
    assert session.said == []
    assert server.names("sinks") == {"feed"}
