"""The terminal view fits, and says what there is to say; keys."""

import dataclasses
import io

import pytest
from rich.console import Console

from audio_enh.streaming.live.keys import parse
from audio_enh.streaming.live.status import Status
from audio_enh.streaming.live.view import LINES, View

STATUS = Status(
    seconds=3725.4,
    input="Jabra Evolve2 65 Mono with a name that is far too long for a line of the terminal, and then some",
    output="Built-in Audio Analog Stereo",
    input_rate=44100,
    output_rate=48000,
    waiting_for=(),
    input_level=-21.3,
    output_level=-34.0,
    input_peak=-0.0,
    output_peak=-12.0,
    reduction=18.26,
    strength=0.8,
    max_attenuation=24.0,
    bypassed=False,
    muted=False,
    overloaded=False,
    overloads=0,
    recording="talk.wav",
    frame_ms={"p50": 1.2, "p95": 1.5, "p99": 12.0},
    block_ms=10.0,
    load=0.11,
    cpu=17.0,
    latency_ms={
        "device_in": 0.2, "queue": 25.0, "resampler": 3.5, "hop": 0.0, "model": 10.0, "device_out": 28.6,
        "total": 67.3,
    },
    reserve_ms=15.0,
    drift_ppm=-37.0,
    trim_ppm=37.0,
    underruns=2,
    lost_ms=0.0,
    flags={"overflows": 0, "late": 0},
    invalid_samples=0,
    model_failures=0,
)  # fmt: skip


def draw(view: View, status: Status, width: int = 80, height: int = LINES) -> list[str]:
    console = Console(width=width, height=height, record=True, file=io.StringIO(), legacy_windows=False)
    console.print(view.render(status, width, height))
    return console.export_text().splitlines()


@pytest.mark.parametrize("help_shown", [False, True])
@pytest.mark.parametrize("width", [80, 132])
def test_it_fits_the_smallest_terminal(help_shown, width):
    view = View("causal-unet-16k, ONNX Runtime", None)
    view.show_help = help_shown
    for number in range(5):
        view.tell("warning", f"message {number} " + "that is long " * 20)
    lines = draw(view, dataclasses.replace(STATUS, waiting_for=("input", "output")), width)
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= width
    assert "message 4" in "\n".join(lines)
    assert "q  quit" in lines[-1]


@pytest.mark.parametrize("help_shown", [False, True])
@pytest.mark.parametrize(("width", "height"), [(40, 12), (60, 20), (79, 24), (80, 23), (30, 6), (132, 12)])
def test_a_small_terminal_keeps_the_keys_and_what_matters(width, height, help_shown):
    view = View("causal-unet-16k, ONNX Runtime", None)
    view.show_help = help_shown
    view.tell("warning", "message " + "that is long " * 20)
    lines = draw(view, dataclasses.replace(STATUS, muted=True), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    last = "\n".join(lines[-4:])
    for key in ("bypass", "strength", "mute", "record", "help", "quit"):
        assert key in last, key
    assert help_shown or "MUTED" in "\n".join(lines)


def test_it_says_which_input_is_heard():
    text = "\n".join(
        draw(View("onnx"), dataclasses.replace(STATUS, channels="input 3 of 4", input="Scarlett"))
    )
    assert "from  input 3 of 4, Scarlett" in text


def test_it_says_what_there_is_to_say():
    text = "\n".join(draw(View("onnx"), STATUS))
    for part in ("1:02:05", "44.1 kHz", "-21.3 dB", "CLIP", "18.3 dB lower", "strength 80 %", "at most 24 dB",
                 "REC", "67 ms", "device out", "28.6", "p99 12.0", "of 10", "load 11 %", "CPU 17 %", "2 gaps",
                 "clock -37 ppm", "buffer 15 ms"):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"muted": True}, "MUTED"),
        ({"bypassed": True}, "BYPASSED"),
        ({"overloaded": True}, "UNPROCESSED"),
        ({"reduction": None}, "no sound yet"),
        ({"waiting_for": ("input",)}, "gone, waiting"),
        ({"output": None}, "nothing is played"),
        ({"input_level": -100.0}, "silent"),
    ],
)
def test_states_are_told(change, said):
    assert said in "\n".join(draw(View("onnx"), dataclasses.replace(STATUS, **change)))


@pytest.mark.parametrize(
    ("text", "keys"),
    [("b", ["b"]), ("\x1b[A", ["up"]), ("\x1b", []),
     ("\x1bOB+", ["down", "+"]), ("\x1b[5~q", ["q"]), ("\x1b[Cq", ["q"])],
)  # fmt: skip
def test_keys(text, keys):
    assert parse(text) == keys
