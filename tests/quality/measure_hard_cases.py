"""What others report of speech enhancement going wrong, measured on speakers that nothing was trained on.

    python -m tests.quality.measure_hard_cases /data/manifest.csv causal-unet-16k [another ...] [--items 20]

Speech and noise are those of the manifest's split ``valid``. One line a case: what was measured, the mean over the
items and its 95 % interval, a column for each model. Loss is how much less of the speech there is than went in, by
projection on it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

import numpy as np
from scipy import signal

import audio_enh
from audio_enh import Enhancer
from audio_enh.data.augment import active_rms, coloured_noise
from audio_enh.data.struck import struck
from audio_enh.io import read_audio
from audio_enh.sources.folders import AudioFolder

RATE = 16000
Case = Callable[["Source"], Iterator[tuple[str, float]]]


class Source:
    """An item: speech with a speech level of -26 dB, noise of the same level, a generator, and the model."""

    def __init__(
        self, speech: np.ndarray, other: np.ndarray, noise: np.ndarray, seed: int, enhancer: Enhancer
    ):
        self.speech, self.other = (0.05 * each / active_rms(each) for each in (speech, other))
        self.noise = 0.05 * noise / (np.std(noise) + 1e-9)
        self.rng = np.random.default_rng(seed)
        self.enhancer = enhancer

    def enhanced(self, audio: np.ndarray) -> np.ndarray:
        return np.asarray(self.enhancer.enhance(audio.astype(np.float32)[None], RATE))[0]


def from_first_word(speech: np.ndarray) -> np.ndarray:
    """From where the first word begins: a click or a breath before it is no speech, and taking it away no loss.

    A word is 100 ms within 15 dB of the speech level; it begins with the first 10 ms in them within 25 dB.
    """
    count = len(speech) // 160
    power = np.square(speech[: count * 160]).reshape(count, 160).mean(axis=1)
    level = active_rms(speech) ** 2
    word = int(np.argmax(np.convolve(power, np.ones(10) / 10, "valid") > level * 10**-1.5))
    return speech[160 * (word + int(np.argmax(power[word:] > level * 10**-2.5))) :]


def loss(out: np.ndarray, wanted: np.ndarray) -> float:
    """In dB, by the projection of the output on what is wanted."""
    share = float(out @ wanted) / float(wanted @ wanted + 1e-12)
    return -20 * np.log10(max(share, 1e-3))


def distortion(out: np.ndarray, wanted: np.ndarray) -> float:
    """SI-SDR in dB above 80 Hz, where speech is."""
    sections = signal.butter(4, 80, "highpass", fs=RATE, output="sos")
    out, wanted = (signal.sosfiltfilt(sections, each.astype(float)) for each in (out, wanted))
    target = (out @ wanted) / (wanted @ wanted + 1e-12) * wanted
    return float(10 * np.log10((target @ target + 1e-12) / ((out - target) @ (out - target) + 1e-12)))


def quieter(out: np.ndarray, noise: np.ndarray) -> float:
    return float(-10 * np.log10((np.mean(out**2) + 1e-12) / (np.mean(noise**2) + 1e-12)))


def clean_at_every_level(item: Source) -> Iterator[tuple[str, float]]:
    for decibels in (-60, -40, -20, 0):
        audio = item.speech / np.abs(item.speech).max() * 10 ** (decibels / 20)
        yield f"clean speech, peak {decibels} dBFS: SI-SDR (dB)", distortion(item.enhanced(audio), audio)


def rumble_and_offset(item: Source) -> Iterator[tuple[str, float]]:
    noisy = item.speech + 0.3 * item.noise
    low = signal.butter(4, [8, 40], "bandpass", fs=RATE, output="sos")
    rumble = signal.sosfilt(low, item.rng.standard_normal(len(noisy)))
    rumble *= 0.5 / np.std(rumble)
    for name, added in (
        ("no rumble", 0.0),
        ("rumble 20 dB above speech", rumble),
        ("offset 20 dB above speech", 0.5),
    ):
        out = item.enhanced(noisy + added)
        yield f"noisy speech, {name}: SI-SDR above 80 Hz (dB)", distortion(out, item.speech)


def knock_before_quiet_speech(item: Source) -> Iterator[tuple[str, float]]:
    quiet = 0.1 * item.speech
    time = np.arange(RATE // 2) / RATE
    for frequency in (50, 150):
        knock = 0.9 * np.exp(-time / 0.05) * np.sin(2 * np.pi * frequency * time)
        out = item.enhanced(np.concatenate([0 * knock, knock, quiet]))[RATE:]
        alone = item.enhanced(np.concatenate([0 * knock, 0 * knock, quiet]))[RATE:]
        three = slice(0, 3 * RATE)
        yield (
            f"{frequency} Hz knock before quiet speech: its loss in 3 s against no knock (dB)",
            loss(out[three], quiet[three]) - loss(alone[three], quiet[three]),
        )


def beginning(out: np.ndarray, speech: np.ndarray, after: str) -> Iterator[tuple[str, float]]:
    """Of a first word, most of whose sound is in its first vowel, and of its first consonant."""
    rest = slice(RATE // 5, None)
    for milliseconds in (30, 200):
        begin = slice(0, RATE * milliseconds // 1000)
        yield (
            f"first {milliseconds} ms after {after}: loss against the rest (dB)",
            loss(out[begin], speech[begin]) - loss(out[rest], speech[rest]),
        )


def first_word_after_silence(item: Source) -> Iterator[tuple[str, float]]:
    speech = from_first_word(item.speech)
    for seconds in (0, 3, 30):
        out = item.enhanced(np.concatenate([np.zeros(seconds * RATE), speech]))[seconds * RATE :]
        yield from beginning(out, speech, f"{seconds} s of digital silence")


def pauses_in_digital_silence(item: Source) -> Iterator[tuple[str, float]]:
    """Between two talkers, and, as a noise gate makes them, between the words."""
    speech = from_first_word(item.speech)
    out = item.enhanced(np.concatenate([item.other, np.zeros(3 * RATE), speech]))[-len(speech) :]
    yield from beginning(out, speech, "another talker and 3 s of digital silence")
    # Open from 50 ms before to 50 ms after each frame of 10 ms that is within 30 dB of the loudest.
    count = len(item.speech) // 160
    power = np.square(item.speech[: count * 160]).reshape(count, 160).mean(axis=1)
    is_open = np.repeat(np.convolve(power > 1e-3 * power.max(), np.ones(11), "same") > 0, 160)
    for name, level in (("clean", 0.0), ("noisy", 10 ** (-10 / 20))):
        gated, wanted = (is_open * x[: count * 160] for x in (item.speech + level * item.noise, item.speech))
        yield (
            f"{name} speech with digital silence between the words: SI-SDR (dB)",
            distortion(item.enhanced(gated), wanted),
        )


def second_talker_20_db_below(item: Source) -> Iterator[tuple[str, float]]:
    quiet = 0.1 * item.other
    out = item.enhanced(np.concatenate([item.speech, quiet]))[len(item.speech) :]
    yield "talker 20 dB below the one before: loss (dB)", loss(out, quiet)


def sounds_that_are_no_speech(item: Source) -> Iterator[tuple[str, float]]:
    time = np.arange(4 * RATE) / RATE
    root = 2 ** (item.rng.integers(12) / 12) * 220
    chord = sum(
        np.sin(2 * np.pi * root * ratio * k * time) / k for ratio in (1, 1.26, 1.498) for k in (1, 2, 3, 4)
    )
    vibrato = np.cumsum(1 + 0.01 * np.sin(2 * np.pi * 5 * time)) / RATE
    sung = sum(
        np.sin(2 * np.pi * root * k * vibrato) * np.exp(-(((root * k - 700) / 500) ** 2))
        for k in range(1, 20)
    )
    alarm = np.sin(2 * np.pi * item.rng.uniform(1500, 3500) * time) * (np.sin(2 * np.pi * 2 * time) > 0)
    for name, sound in (("chord", chord), ("sung vowel", sung), ("alarm", alarm)):
        audio = 0.05 * sound / np.std(sound)
        yield f"{name} alone: loss (dB)", loss(item.enhanced(audio)[RATE:], audio[RATE:])


def typing_between_words(item: Source) -> Iterator[tuple[str, float]]:
    keys = 0.05 * struck(len(item.speech), item.rng, RATE)
    out = item.enhanced(item.speech + keys)
    yield "struck things beside speech, 0 dB: SI-SDR (dB)", distortion(out, item.speech)


def noise_alone(item: Source) -> Iterator[tuple[str, float]]:
    for name, noise in (
        ("recorded", item.noise),
        ("coloured", 0.05 * coloured_noise(len(item.noise), item.rng)),
    ):
        out = item.enhanced(noise)
        begin, rest = slice(0, RATE // 2), slice(RATE // 2, None)
        yield f"{name} noise alone, first 0.5 s: quieter by (dB)", quieter(out[begin], noise[begin])
        yield f"{name} noise alone, after that: quieter by (dB)", quieter(out[rest], noise[rest])


CASES: tuple[Case, ...] = (
    clean_at_every_level,
    rumble_and_offset,
    knock_before_quiet_speech,
    first_word_after_silence,
    pauses_in_digital_silence,
    second_talker_20_db_below,
    sounds_that_are_no_speech,
    typing_between_words,
    noise_alone,
)


def read(manifest: str, kind: str, least_seconds: float) -> list[np.ndarray]:
    """One file of each speaker or class, by the order of their names."""
    found: dict[str, np.ndarray] = {}
    for path in AudioFolder(manifest, where={"kind": kind, "split": "valid"}).files():
        key = f"{path.parent.name}/{path.stem.split('_')[0]}"
        if key not in found:
            audio, rate = read_audio(path)
            mono = (
                signal.resample_poly(audio.mean(axis=0), RATE, rate) if rate != RATE else audio.mean(axis=0)
            )
            if len(mono) >= least_seconds * RATE:
                found[key] = mono[: 6 * RATE].astype(float)
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("manifest")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--items", type=int, default=20)
    arguments = parser.parse_args()
    speech, noise = read(arguments.manifest, "speech", 2.5), read(arguments.manifest, "noise", 4)
    count = min(arguments.items, len(speech))
    table: dict[str, dict[str, list[float]]] = {}
    for name in arguments.models:
        enhancer = audio_enh.load(name)
        for i in range(count):
            each = noise[i % len(noise)]
            for case in CASES:
                own = np.resize(each, len(speech[i]))
                for what, value in case(Source(speech[i], speech[i - 1], own, i, enhancer)):
                    table.setdefault(what, {}).setdefault(name, []).append(value)
    sys.stdout.write(f"{count} items | " + " | ".join(arguments.models) + "\n")
    for what, columns in table.items():
        values = [np.array(columns[name]) for name in arguments.models]
        cells = [f"{v.mean():6.1f} +- {1.96 * v.std(ddof=1) / len(v) ** 0.5:.1f}" for v in values]
        sys.stdout.write(f"{what} | " + " | ".join(cells) + "\n")


if __name__ == "__main__":
    main()
