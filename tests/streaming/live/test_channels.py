"""Which input is listened to: a voice keeps its level, whatever the other inputs do."""

from __future__ import annotations

import numpy as np
import pytest

from audio_enh.errors import UserError
from audio_enh.io import write_audio
from audio_enh.streaming.live.channels import Chooser, parse_channel
from audio_enh.streaming.live.direct import asked_for

from .conftest import RATE, correlation, correlation_by_pieces, lag, noisy_speech, wait_until

HISS = 10 ** (-60 / 20)


def voice() -> np.ndarray:
    """Speech, ``(samples,)``, half a second of quiet before it."""
    return np.concatenate([np.zeros(RATE // 2, np.float32), noisy_speech(seconds=7.5)])


def hiss(inputs: int, samples: int) -> np.ndarray:
    return (HISS * np.random.default_rng(0).standard_normal((inputs, samples))).astype(np.float32)


def heard(audio: np.ndarray, wanted="auto", outputs: int = 1) -> tuple[np.ndarray, Chooser]:
    chooser = Chooser(RATE, len(audio), outputs, wanted)
    blocks = [chooser.process(audio[:, start : start + 480]) for start in range(0, audio.shape[1], 480)]
    return np.concatenate(blocks, axis=1), chooser


def level(output: np.ndarray, reference: np.ndarray) -> float:
    """Of the reference in the output, in dB, by regression; of what comes after the first second and a half."""
    late = slice(3 * RATE // 2, None)
    gain = np.dot(output[late], reference[late]) / np.dot(reference[late], reference[late])
    return 20 * float(np.log10(max(abs(gain), 1e-9)))


@pytest.mark.parametrize("wanted", ["auto", "mix"])
@pytest.mark.parametrize(("inputs", "place"), [(2, 0), (2, 1), (4, 2), (8, 5)])
def test_a_voice_on_one_input_keeps_its_level(inputs, place, wanted):
    speech = voice()
    audio = hiss(inputs, len(speech))
    audio[place] += speech
    output, chooser = heard(audio, wanted)
    assert level(output[0], speech) == pytest.approx(0, abs=0.5 if wanted == "auto" else 1)
    assert correlation(output[0, RATE:], speech[RATE:]) > 0.98
    words = f"input {place + 1} of {inputs}" if wanted == "auto" else f"mix of {inputs} inputs"
    assert chooser.description == words


@pytest.mark.parametrize("wanted", ["auto", "mix"])
def test_opposite_signs_do_not_cancel(wanted):
    speech = voice()
    output, _ = heard(np.stack([speech, -speech]), wanted)
    assert level(output[0], speech) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("wanted", ["auto", "mix"])
def test_twice_the_same_is_the_same(wanted):
    speech = voice()
    output, _ = heard(np.stack([speech, speech]), wanted)
    np.testing.assert_allclose(output[0], speech, atol=1e-6)


def test_delayed_copies_do_not_comb():
    """A spaced pair: one of the two is taken."""
    speech = voice()
    output, chooser = heard(np.stack([speech, 0.9 * np.roll(speech, 40)]))
    assert correlation(output[0, RATE:], speech[RATE:]) > 0.9999
    assert chooser.description == "input 1 of 2"


def test_two_people_with_a_microphone_each_are_both_heard():
    speech = voice()
    turns = np.repeat([1, 0, 1, 0], len(speech) // 4)[: len(speech)].astype(np.float32)
    talks = np.zeros((4, len(turns)), np.float32) + hiss(4, len(turns))
    talks[1] += speech[: len(turns)] * turns + 0.1 * speech[: len(turns)] * (1 - turns)
    talks[3] += speech[: len(turns)] * (1 - turns) + 0.1 * speech[: len(turns)] * turns
    output, chooser = heard(talks)
    assert chooser.description == "inputs 2 and 4 of 4"
    for person in (turns, 1 - turns):
        own = np.where(person > 0, speech[: len(turns)], 0)
        assert level(np.where(person > 0, output[0], 0), own) == pytest.approx(
            0.4, abs=0.6
        )  # and what spills over
    stereo, chooser = heard(talks, outputs=2)
    late = slice(5 * RATE, None)
    np.testing.assert_allclose(stereo[:, late], talks[[1, 3], late], atol=1e-6)


def test_loud_hum_and_hiss_on_another_input_are_no_voice():
    speech = 0.3 * voice()
    audio = hiss(3, len(speech))
    audio[0] += 0.5 * np.sin(2 * np.pi * 50 * np.arange(len(speech)) / RATE).astype(np.float32)
    audio[1] *= 30  # louder, sharply, than the voice
    audio[2] += speech
    output, chooser = heard(audio)
    assert chooser.description == "input 3 of 3"
    assert correlation(output[0, 2 * RATE :], audio[2, 2 * RATE :]) > 0.999


def test_an_input_that_is_named_is_taken():
    audio = hiss(4, 4800)
    output, chooser = heard(audio, 3)
    np.testing.assert_array_equal(output[0], audio[2])
    assert chooser.description == "input 3 of 4"
    with pytest.raises(UserError, match="no input 5: the microphone has 4"):
        heard(audio, 5)


def test_changes_do_not_click():
    """From one input to another of a different voice: no step that neither has."""
    t = np.arange(4 * RATE) / RATE
    tone = np.sin(2 * np.pi * 300 * t).astype(np.float32)
    audio = np.stack([tone * (t < 2), -tone * (t >= 2)])
    output, _ = heard(audio)
    assert np.abs(np.diff(output[0])).max() < 1.2 * np.abs(np.diff(audio)[0, :RATE]).max()


@pytest.mark.parametrize(
    ("text", "said"), [("0", "by its number"), ("left", "by its number"), ("-1", "input")]
)
def test_other_words_are_refused(text, said):
    with pytest.raises(UserError, match=said):
        parse_channel(text)


def test_positions_are_those_that_alsa_asks_for():
    assert asked_for(4) == ("front-left", "front-right", "rear-left", "rear-right")
    assert asked_for(7)[-2:] == ("lfe", "aux0")
    assert len(asked_for(32)) == 32


@pytest.mark.parametrize("kind", ["interface", "loudspeakers"])
def test_every_input_of_an_interface_is_heard(server, live, tmp_path, kind):
    """Four inputs, the microphone on the third: PulseAudio's own remix would leave nothing of it."""
    names = "aux0,aux1,aux2,aux3" if kind == "interface" else ",".join(asked_for(4))
    server.pactl(
        "load-module",
        "module-null-sink",
        "sink_name=interface",
        "channels=4",
        f"rate={RATE}",
        f"channel_map={names}",
    )
    audio = np.zeros((4, 12 * RATE), np.float32)
    audio[2, 4 * RATE :] = noisy_speech(seconds=8)
    write_audio(tmp_path / "four.wav", audio, RATE)
    session = live(
        "-i", "interface.monitor", "-o", "none", "--record-input", tmp_path / "in.wav", "--strength", 0,
    )  # fmt: skip
    session.wait_for("started")
    wait_until(lambda: "interface.monitor" in server.names("sources"), "no interface")
    server.play(tmp_path / "four.wav", "interface", "--no-remix", f"--channel-map={names}")
    session.wait_for("info", text="listening to input 3 of 4")
    status = session.wait_for("status", channels="input 3 of 4", input_level=lambda db: db > -50)
    assert status["channels"] == "input 3 of 4"
    session.wait_for("status", input_level=lambda db: db < -90, timeout=30)
    assert session.stop()[0] == 143
    assert server.names("sources") == {"interface.monitor"}

    from audio_enh.io import read_audio

    recorded, _ = read_audio(tmp_path / "in.wav")
    speech = audio[2, 5 * RATE : 11 * RATE]
    shift = lag(speech, recorded[0])
    assert correlation_by_pieces(speech, recorded[0], shift) > 0.99
    assert 0.9 < np.std(recorded[0, shift : shift + len(speech)]) / np.std(speech) < 1.1
