"""Dynamic mixing: every training item is a new mixture of speech, noises and a room."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from audio_enh.data import augment
from audio_enh.data.silence import begin_at_speech, silence_ends
from audio_enh.data.struck import struck
from audio_enh.sources.packed import PackedAudio
from audio_enh.sources.rooms import reverberate, statistical_room


class Mixture(NamedTuple):
    """One training item.

    Attributes:
        noisy, clean: ``(samples,)`` float32, aligned.
        snr: in dB.
        bandwidth: up to which frequency in Hz ``clean`` is speech; infinite if that is not known.
    """

    noisy: np.ndarray
    clean: np.ndarray
    snr: float
    bandwidth: float = np.inf


@dataclass(frozen=True)
class MixConfig:
    """Probabilities and ranges of the mixture, all uniform between the two ends.

    Attributes:
        snr_db: signal-to-noise ratio while someone speaks.
        level_db: level of the mixture, RMS against full scale.
        second_noise: probability of another noise on top, 0 to 15 dB below the first.
        synthetic_noise: probability that a noise is coloured noise, hum or clicks instead of a recording.
        modulated_noise: probability that a noise comes and goes.
        babble: probability that the noise is 3 to 8 other talkers.
        reverb: probability of a room; half of the rooms are recorded ones when there are any.
        early_seconds: reflections up to this age stay in the target; 0 keeps the direct sound alone.
        equaliser: probability of a random frequency response on the speech, and, drawn apart, on the noise.
        low_pass: probability that the recording, noise included, is band-limited.
        clipping: probability that the noisy recording is clipped.
        speech_only: probability of no noise at all: what is clean must pass untouched.
        noise_only: probability of no speech: the target is silence.
        struck: probability that a noise is struck, clicking or scraping things (:mod:`audio_enh.data.struck`).
        noise_by_file: probability that a recording is drawn as often as any other, however short it is; otherwise
            recordings are drawn by their duration.
        digital_silence: probability that the item begins or ends in zeros, as from a muted microphone.
        speech_at_once: probability that speech begins at the first sample.
        rumble: probability of sound below speech or an offset, up to 20 dB above all else.
    """

    snr_db: tuple[float, float] = (-8.0, 22.0)
    level_db: tuple[float, float] = (-45.0, -12.0)
    second_noise: float = 0.25
    synthetic_noise: float = 0.15
    modulated_noise: float = 0.15
    babble: float = 0.05
    reverb: float = 0.3
    early_seconds: float = 0.05
    equaliser: float = 0.4
    low_pass: float = 0.05
    clipping: float = 0.03
    speech_only: float = 0.03
    noise_only: float = 0.03
    struck: float = 0.0
    noise_by_file: float = 0.0
    digital_silence: float = 0.0
    speech_at_once: float = 0.0
    rumble: float = 0.0

    def __post_init__(self) -> None:
        for name in ("snr_db", "level_db"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be (low, high), got ({low}, {high})")
        if self.early_seconds < 0:
            raise ValueError(f"early_seconds must be 0 or more, got {self.early_seconds}")


@dataclass
class Mixer:
    """Draws mixtures.

    Attributes:
        speech: clean speech.
        noise: recorded noises.
        rooms: recorded room responses.
        interferers: speech for babble, never a target; ``speech`` serves when there is none.
        config: the mixture's statistics.
    """

    speech: PackedAudio
    noise: PackedAudio
    rooms: PackedAudio | None = None
    interferers: PackedAudio | None = None
    config: MixConfig = field(default_factory=MixConfig)

    def __call__(self, rng: np.random.Generator, length: int) -> Mixture:
        """One mixture of ``length`` samples; the same generator state gives the same mixture."""
        cfg = self.config
        rate = self.speech.sample_rate
        kind = rng.random()
        speech, bandwidth = self._speech(rng, length)
        if rng.random() < cfg.reverb:
            wet, clean = reverberate(speech, self._room(rng), rate, cfg.early_seconds)
        else:
            wet = clean = speech
        noise = self._noises(rng, length)
        snr = float(rng.uniform(*cfg.snr_db))

        speech_level, noise_level = augment.active_rms(wet, rate // 50), augment.rms(noise)
        if kind < cfg.speech_only or noise_level < 1e-6:
            noise, snr = np.zeros(length, np.float32), np.inf
        elif kind < cfg.speech_only + cfg.noise_only or speech_level < 1e-5:
            wet, clean, snr = np.zeros(length, np.float32), np.zeros(length, np.float32), -np.inf
        else:
            noise = noise * (speech_level / noise_level * 10 ** (-snr / 20))
        return self._record(rng, wet, clean, noise, snr)._replace(bandwidth=bandwidth)

    def _record(
        self, rng: np.random.Generator, wet: np.ndarray, clean: np.ndarray, noise: np.ndarray, snr: float
    ) -> Mixture:
        """What a microphone makes of it: level, band limit, overload."""
        cfg = self.config
        noisy = wet + noise
        if self._happens(rng, cfg.rumble):
            below = augment.rumble(len(noisy), rng, self.speech.sample_rate)
            noisy = noisy + below * augment.rms(noisy) * 10 ** (rng.uniform(-10, 20) / 20)
        if rng.random() < cfg.low_pass:
            state = rng.bit_generator.state
            noisy = augment.random_low_pass(noisy, rng, self.speech.sample_rate)
            rng.bit_generator.state = state  # the same filter for the target
            clean = augment.random_low_pass(clean, rng, self.speech.sample_rate)
        level = augment.rms(noisy)
        gain = 10 ** (rng.uniform(*cfg.level_db) / 20) / level if level > 1e-9 else 1.0
        # The peaks stay within full scale: overload is drawn apart.
        gain = min(gain, 0.99 / max(float(np.abs(noisy).max(initial=0.0)), 1e-9))
        noisy, clean = noisy * gain, clean * gain
        if rng.random() < cfg.clipping:
            noisy = augment.clip(noisy, rng)
        if self._happens(rng, cfg.digital_silence):
            noisy, clean = silence_ends(noisy, clean, rng)
        return Mixture(noisy.astype(np.float32), clean.astype(np.float32), snr)

    def _speech(self, rng: np.random.Generator, length: int) -> tuple[np.ndarray, float]:
        number, speech = self.speech.draw_file(rng, length, loop=False)
        if self._happens(rng, self.config.speech_at_once):
            speech = begin_at_speech(speech, self.speech.sample_rate)
        if rng.random() < self.config.equaliser:
            speech = augment.random_equaliser(speech, rng, max_db=5.0)
        return speech, float(self.speech.bandwidths[number])

    def _room(self, rng: np.random.Generator) -> np.ndarray:
        if self.rooms is not None and rng.random() < 0.5:
            return self.rooms.draw_whole(rng)[1]
        return statistical_room(rng, self.speech.sample_rate)

    def _noises(self, rng: np.random.Generator, length: int) -> np.ndarray:
        noise = self._noise(rng, length)
        if rng.random() < self.config.second_noise:
            other = self._noise(rng, length)
            level = augment.rms(noise) / (augment.rms(other) + 1e-9)
            noise = noise + other * level * 10 ** (-rng.uniform(0, 15) / 20)
        return noise

    def _noise(self, rng: np.random.Generator, length: int) -> np.ndarray:
        cfg, rate = self.config, self.speech.sample_rate
        kind = rng.random()
        if kind < cfg.synthetic_noise:
            which = rng.integers(4)
            if which == 0:
                noise = augment.hum(length, rng, rate)
            elif which == 1:
                noise = augment.clicks(length, rng, rate)
            else:
                noise = augment.coloured_noise(length, rng)
        elif kind < cfg.synthetic_noise + cfg.babble:
            noise = self._babble(rng, length)
        elif kind < cfg.synthetic_noise + cfg.babble + cfg.struck:
            noise = struck(length, rng, rate)
        else:
            by_file = self._happens(rng, cfg.noise_by_file)
            noise = self.noise.draw(rng, length, loop=True, by_file=by_file)
            for _ in range(3):  # long files have silent stretches; an item without noise is drawn apart
                if augment.rms(noise) > 1e-4:
                    break
                noise = self.noise.draw(rng, length, loop=True, by_file=by_file)
        if rng.random() < cfg.modulated_noise:
            noise = augment.modulate(noise, rng, rate)
        if rng.random() < cfg.equaliser:
            noise = augment.random_equaliser(noise, rng)
        return noise

    def _babble(self, rng: np.random.Generator, length: int) -> np.ndarray:
        source = self.interferers if self.interferers is not None else self.speech
        out = np.zeros(length, np.float32)
        for _ in range(int(rng.integers(3, 9))):
            talker = source.draw(rng, length, loop=True)
            level = augment.rms(talker)
            if level > 1e-6:
                out += talker / level * 10 ** (rng.uniform(-6, 0) / 20)
        # Far talkers come through the room; without it they would be told apart by being dry.
        wet, _ = reverberate(out, self._room(rng), source.sample_rate, early_seconds=0.05)
        return wet

    @staticmethod
    def _happens(rng: np.random.Generator, probability: float) -> bool:
        """Draws nothing where it never happens: mixtures of configurations without it stay the same."""
        return probability > 0 and rng.random() < probability
