"""Codecs: the real encoders and decoders, by libsndfile or ffmpeg, at bit rates that hurt.

Channels are coded one by one, at the codec's next higher sample rate. What the coder delays is taken back.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from audio_enh.distortions._coders import g711, missing_encoder, through_ffmpeg, through_libsndfile
from audio_enh.distortions.base import Audio, Context, Distortion, chosen, ranged
from audio_enh.distortions.recordings import Recordings
from audio_enh.dsp.signals import fit, peak, resample
from audio_enh.errors import DependencyError

#: Silence after the signal, so that its end comes out of the decoder, in seconds.
_TAIL_SECONDS = 0.1
#: A coder's delay is looked for up to here, in seconds.
_LONGEST_DELAY = 0.15


@dataclass(frozen=True)
class Codec(Distortion):
    """A coder of mono signals at certain rates."""

    family = "codecs"
    #: Sample rates it knows, ascending; empty if it takes any.
    rates: ClassVar[tuple[int, ...]] = ()

    def coding_rate(self, sample_rate: int) -> int:
        """The rate at which it runs for audio of a rate."""
        if not self.rates:
            return sample_rate
        return next((rate for rate in self.rates if rate >= sample_rate), self.rates[-1])

    @abstractmethod
    def _code(self, mono: Audio, rate: int) -> Audio:
        """``(samples,)`` within full scale, encoded and decoded."""

    def _delay_twin(self) -> Codec:
        """A codec of the same delay that distorts little."""
        return self

    def _apply(self, audio: Audio, context: Context) -> Audio:
        problem = self.unavailable(context.recordings)
        if problem is not None:
            raise DependencyError(f"{self.name()} {problem}")
        rate = self.coding_rate(context.sample_rate)
        coded = resample(audio, context.sample_rate, rate)
        # Overload is a damage of its own: what is beyond full scale is coded at a lower level.
        gain = min(1.0, 0.98 / max(peak(coded), 1e-9))
        length = coded.shape[1]
        padded = fit(coded * np.float32(gain), length + int(_TAIL_SECONDS * rate))
        delay = _delay(self._delay_twin(), rate)
        out = np.stack([fit(self._code(channel, rate)[delay:], length) for channel in padded])
        out = np.nan_to_num(out / np.float32(gain))
        return fit(resample(out, rate, context.sample_rate), audio.shape[1])


@functools.lru_cache(maxsize=256)
def _delay(codec: Codec, rate: int) -> int:
    """Samples by which a coder delays, measured: it changes with the versions of the libraries.

    The probe is two seconds of eight bundled voices at once, so that the phase of no single pitch decides; the
    lag is that of the largest cross-correlation.
    """
    rng = np.random.default_rng(0)
    voices = Recordings().talkers
    probe = np.stack([voices.draw(rng, 2 * rate, rate) for _ in range(8)]).sum(axis=0)
    probe *= np.float32(0.5 / peak(probe))
    length = len(probe)
    out = fit(codec._code(fit(probe, length + int(_LONGEST_DELAY * rate)), rate), 2 * length)
    size = 4 * length
    product = np.fft.rfft(out, size) * np.conj(np.fft.rfft(probe, size))
    correlation = np.fft.irfft(product, size)[: int(_LONGEST_DELAY * rate)]
    return int(np.argmax(correlation))


#: Of MPEG-1 and of MPEG-2's lower sampling frequencies; those below 16 kHz are not in the standard for layer II.
_MPEG1_RATES = (32000, 44100, 48000)
_MPEG2_RATES = (16000, 22050, 24000)


def _mpeg_rate(sample_rate: int, mpeg1: bool) -> int:
    """The next higher rate; bit rates that MPEG-1 does not have run at 24 kHz and less, as LAME does it."""
    rates = (*_MPEG2_RATES, *_MPEG1_RATES) if mpeg1 else _MPEG2_RATES
    return next((rate for rate in rates if rate >= sample_rate), rates[-1])


@dataclass(frozen=True)
class Mp3(Codec):
    """MPEG-1/2 layer III (LAME), constant bit rate."""

    bitrate: int = chosen(96, 80, 64, 56, 48, 40, 32, 24, 16, 8, unit="kbit/s")

    def coding_rate(self, sample_rate: int) -> int:
        return _mpeg_rate(sample_rate, mpeg1=self.bitrate >= 32)

    def _code(self, mono: Audio, rate: int) -> Audio:
        low, high = (32, 320) if rate >= 32000 else (8, 160)
        # Exactly 1 is taken for an error.
        level = min((high - self.bitrate) / (high - low), 0.9999)
        return through_libsndfile(mono, rate, "MP3", "MPEG_LAYER_III", max(level, 0.0))


class _FFmpegCodec(Codec):
    """What only ffmpeg encodes."""

    encoder: ClassVar[str]
    muxer: ClassVar[str]
    demuxer: ClassVar[str]
    bitrate: int

    @classmethod
    def unavailable(cls, recordings: Recordings) -> str | None:
        return missing_encoder(cls.encoder)

    def _delay_twin(self) -> Codec:
        return replace(self, bitrate=self.parameters()["bitrate"].at(0, 0))  # type: ignore[call-arg]

    def _code(self, mono: Audio, rate: int) -> Audio:
        return through_ffmpeg(mono, rate, self.encoder, self.muxer, self.demuxer, self.bitrate)


@dataclass(frozen=True)
class Mp2(_FFmpegCodec):
    """MPEG-1/2 layer II, as in digital broadcasting."""

    encoder, muxer, demuxer = "mp2", "mp2", "libsndfile"
    bitrate: int = chosen(96, 80, 64, 56, 48, 40, 32, 24, 16, unit="kbit/s")

    def coding_rate(self, sample_rate: int) -> int:
        return _mpeg_rate(sample_rate, mpeg1=self.bitrate >= 32 and self.bitrate != 40)


@dataclass(frozen=True)
class Aac(_FFmpegCodec):
    """AAC-LC by ffmpeg's own encoder."""

    encoder, muxer, demuxer = "aac", "adts", "aac"
    rates = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
    bitrate: int = chosen(64, 48, 40, 32, 24, 20, 16, 12, unit="kbit/s")


@dataclass(frozen=True)
class Ac3(_FFmpegCodec):
    """AC-3 (Dolby Digital)."""

    encoder, muxer, demuxer = "ac3", "ac3", "ac3"
    rates = (32000, 44100, 48000)
    bitrate: int = chosen(96, 80, 64, 56, 48, 40, 32, unit="kbit/s")


@dataclass(frozen=True)
class Eac3(_FFmpegCodec):
    """Enhanced AC-3 (Dolby Digital Plus), which goes lower."""

    encoder, muxer, demuxer = "eac3", "eac3", "eac3"
    rates = (32000, 44100, 48000)
    bitrate: int = chosen(64, 56, 48, 40, 32, 24, 20, 16, unit="kbit/s")


@dataclass(frozen=True)
class Speex(_FFmpegCodec):
    """Speex, the codec of the first internet telephones; narrow-band for audio below 16 kHz."""

    encoder, muxer, demuxer = "libspeex", "ogg", "ogg"
    rates = (8000, 16000)
    bitrate: int = chosen(28, 24, 20, 16, 12, 10, 8, 6, unit="kbit/s")


@dataclass(frozen=True)
class Vorbis(Codec):
    """Ogg Vorbis, variable bit rate by quality."""

    rates = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)
    quality: float = ranged(0.9, 0)

    def _code(self, mono: Audio, rate: int) -> Audio:
        return through_libsndfile(mono, rate, "OGG", "VORBIS", 1 - self.quality)


@dataclass(frozen=True)
class Opus(Codec):
    """Opus, variable bit rate; below some 12 kbit/s it narrows the band."""

    rates = (8000, 12000, 16000, 24000, 48000)
    bitrate: int = chosen(64, 48, 32, 24, 20, 16, 12, 10, 8, 6, unit="kbit/s")

    def _code(self, mono: Audio, rate: int) -> Audio:
        return through_libsndfile(mono, rate, "OGG", "OPUS", (256 - self.bitrate) / 250)


@dataclass(frozen=True)
class MuLaw(Codec):
    """G.711 mu-law at the audio's own rate; with less than 8 bits, the lowest ones are lost."""

    bits: int = chosen(8, 7, 6, 5, 4, 3, unit="bits")

    def _code(self, mono: Audio, rate: int) -> Audio:
        return g711(mono, "ULAW", self.bits)


@dataclass(frozen=True)
class ALaw(Codec):
    """G.711 A-law at the audio's own rate; with less than 8 bits, the lowest ones are lost."""

    bits: int = chosen(8, 7, 6, 5, 4, 3, unit="bits")

    def _code(self, mono: Audio, rate: int) -> Audio:
        return g711(mono, "ALAW", self.bits)


@dataclass(frozen=True)
class Gsm(Codec):
    """GSM 06.10 full rate at 8 kHz, once or through several networks in a row."""

    rates = (8000,)
    generations: int = chosen(1, 2, 3, 4)

    def _code(self, mono: Audio, rate: int) -> Audio:
        length = len(mono)
        for _ in range(self.generations):
            mono = fit(through_libsndfile(np.clip(mono, -1, 1), rate, "WAV", "GSM610"), length)
        return mono


@dataclass(frozen=True)
class Adpcm(Codec):
    """ADPCM of 5 to 2 bits a sample: G.723 and G.721 (ITU), NMS, IMA, Microsoft."""

    variant: str = chosen("g723_40", "g721_32", "nms_24", "ima", "g723_24", "ms", "nms_16")

    def _code(self, mono: Audio, rate: int) -> Audio:
        container, subtype = {
            "g723_40": ("AU", "G723_40"),
            "g721_32": ("AU", "G721_32"),
            "nms_24": ("RAW", "NMS_ADPCM_24"),
            "g723_24": ("AU", "G723_24"),
            "ima": ("WAV", "IMA_ADPCM"),
            "ms": ("WAV", "MS_ADPCM"),
            "nms_16": ("RAW", "NMS_ADPCM_16"),
        }[self.variant]
        return through_libsndfile(mono, rate, container, subtype)
