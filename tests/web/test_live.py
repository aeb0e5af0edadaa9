"""Live sound: the socket sample by sample, and the tab with the browser's fake microphone."""

import contextlib
import json

import numpy as np
import pytest
import soundfile
import soxr
from scipy import signal

from audio_enh.eval.arrays import evaluate_arrays
from audio_enh.streaming import LiveStream
from tests.web.conftest import SAMPLES

MODEL = "causal-unet-16k"


def connect(server, query=f"model={MODEL}&rate=48000&block=480", **options):
    client = pytest.importorskip("websockets.sync.client")
    address = server.address.replace("http", "ws")
    return client.connect(f"{address}/audio-enh/live?{query}", proxy=None, **options)


def refusal(socket):
    """The reason that the server closes with."""
    exceptions = pytest.importorskip("websockets.exceptions")
    try:
        while True:
            socket.recv(timeout=60)
    except exceptions.ConnectionClosed as closed:
        return closed.rcvd.reason


def test_the_socket_gives_what_the_stream_gives_and_it_is_better(server):
    noisy, rate = soundfile.read(SAMPLES / "noisy" / "rain.flac", dtype="float32")
    clean, _ = soundfile.read(SAMPLES / "clean" / "rain.flac")
    noisy48 = soxr.resample(noisy, rate, 48000)
    noisy48 = np.pad(noisy48, (0, -len(noisy48) % 480 + 4800))
    stream = LiveStream(MODEL, sample_rate=48000, block_length=480)
    with connect(server) as socket:
        told = json.loads(socket.recv(timeout=60))
        assert told["latency"] == stream.latency_samples
        heard = []
        for block in noisy48.reshape(-1, 480):
            socket.send(block.tobytes())
            heard.append(np.frombuffer(socket.recv(timeout=60), np.float32))
    heard = np.concatenate(heard)
    expected = np.concatenate([stream.process(block) for block in noisy48.reshape(-1, 480)])
    np.testing.assert_allclose(heard, expected, atol=1e-5)
    enhanced = soxr.resample(heard[told["latency"] :], 48000, rate)[: len(clean)]
    scores = [evaluate_arrays(clean, each, rate, ("pesq_wb",))["pesq_wb"] for each in (noisy, enhanced)]
    assert scores[1] > scores[0] + 0.8


def test_strength_zero_is_the_input_late(server):
    rng = np.random.default_rng(0)
    sound = rng.uniform(-0.1, 0.1, 48000).astype(np.float32)
    with connect(server) as socket:
        latency = json.loads(socket.recv(timeout=60))["latency"]
        socket.send(json.dumps({"strength": 0}))
        blocks = []
        for block in sound.reshape(-1, 480):
            socket.send(block.tobytes())
            blocks.append(np.frombuffer(socket.recv(timeout=60), np.float32))
    heard = np.concatenate(blocks)
    np.testing.assert_array_equal(heard[latency + 4800 :], sound[4800:-latency])


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("model=/etc&rate=48000&block=480", "no such model"),
        ("rate=48000&block=480", "no such model"),
        (f"model={MODEL}&rate=x&block=480", "whole numbers"),
        (f"model={MODEL}&rate=1&block=480", "out of range"),
    ],
)
def test_bad_requests_are_refused_in_a_sentence(server, query, reason):
    with connect(server, query) as socket:
        assert reason in refusal(socket)


@pytest.mark.parametrize(
    "message", [b"", b"abc", b"\0" * 4 * 480 * 1000, "{}", "[" * 100000, '{"strength": 7}']
)
def test_bad_messages_end_their_own_connection_only(server, message):
    with connect(server) as socket:
        socket.recv(timeout=60)
        socket.send(message)
        assert refusal(socket)
    with connect(server) as socket:
        assert json.loads(socket.recv(timeout=60))["latency"] > 0


def test_pages_from_elsewhere_may_not_use_the_socket(server):
    with connect(server, origin="http://evil.example") as socket:
        assert refusal(socket) == "log in first"


def test_streams_are_limited_and_places_come_free_again(server):
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(connect(server)).recv(timeout=60)
        with connect(server) as fifth:
            assert "4 live streams run already" in refusal(fifth)
    for _ in range(20):
        with connect(server) as again:
            try:
                again.recv(timeout=60)
                return
            except Exception:
                continue
    pytest.fail("no place came free")


def test_the_tab_plays_what_it_hears_tells_its_delay_and_follows_its_switches(page):
    page.get_by_role("tab", name="Live").click()
    live = page.locator("enh-live")
    live.get_by_role("button", name="Start").click()
    page.wait_for_function("() => document.querySelector('enh-live').delay > 0")
    live.locator(".status").get_by_text("Measured delay").wait_for()
    page.wait_for_function("() => document.querySelector('enh-live').meters[0].meter.value > -40")
    live.get_by_label("Bypass").check()
    live.get_by_role("button", name="Record").click()
    page.wait_for_function("() => document.querySelector('enh-live').kept.frames > 48000")
    live.get_by_role("button", name="Stop recording").click()
    with page.expect_download() as download:
        live.get_by_role("link", name="Download Microphone").click()
    audio, rate = soundfile.read(download.value.path())
    assert rate >= 44100
    assert len(audio) > rate
    assert np.abs(audio).max() > 0.01
    live.get_by_role("button", name="Stop", exact=True).click()
    live.get_by_role("button", name="Start").wait_for()


@pytest.mark.slow
def test_what_is_heard_live_is_better_than_the_microphone(page):
    """Takes a machine that is not too busy: what is heard has no gaps there."""
    page.get_by_role("tab", name="Live").click()
    live = page.locator("enh-live")
    live.get_by_role("button", name="Start").click()
    page.wait_for_function("() => document.querySelector('enh-live').delay > 0")
    page.wait_for_timeout(3000)
    live.get_by_role("button", name="Record").click()
    page.wait_for_timeout(15000)
    live.get_by_role("button", name="Stop recording").click()
    clean, rate = soundfile.read(SAMPLES / "clean" / "rain.flac")
    scores = {}
    for name in ("Microphone", "Enhanced"):
        with page.expect_download() as download:
            live.get_by_role("link", name=f"Download {name}").click()
        audio, recorded_rate = soundfile.read(download.value.path())
        audio = soxr.resample(audio, recorded_rate, rate)
        # The fake microphone plays the recording again and again.
        place = int(np.argmax(signal.correlate(audio, clean, "valid")))
        scores[name] = evaluate_arrays(clean, audio[place : place + len(clean)], rate, ("pesq_wb",))[
            "pesq_wb"
        ]
    assert scores["Enhanced"] > scores["Microphone"] + 0.4
