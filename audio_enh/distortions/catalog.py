"""The distortions in their ten families, with the weights of the random chain."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from audio_enh.distortions.band_limiting import BandPass, Downsample, HighPass, LowPass
from audio_enh.distortions.base import Distortion
from audio_enh.distortions.codecs import (
    Aac,
    Ac3,
    Adpcm,
    ALaw,
    Eac3,
    Gsm,
    Mp2,
    Mp3,
    MuLaw,
    Opus,
    Speex,
    Vorbis,
)
from audio_enh.distortions.dynamics import (
    AutomaticGain,
    Compressor,
    DestroyLevels,
    Expander,
    NoiseGate,
    Tremolo,
)
from audio_enh.distortions.equalisation import BandReject, Plosives, RandomEqualiser, Resonance, Sibilance
from audio_enh.distortions.overload import BitCrush, Clipping, HardLimiting, Overdrive
from audio_enh.distortions.recorded_noise import Babble, BackgroundNoise, NoiseBursts
from audio_enh.distortions.reverb import (
    AlgorithmicReverb,
    Chorus,
    Phaser,
    RecordedRoom,
    ShortDelay,
    SimulatedRoom,
)
from audio_enh.distortions.spectral import (
    GriffinLim,
    PhaseRandomisation,
    SpectralGating,
    SpectralHoles,
    SpectralSmearing,
)
from audio_enh.distortions.synthetic_noise import Clicks, ColouredNoise, DcOffset, Hum, Tones
from audio_enh.distortions.transmission import Dtmf, FrameShuffle, PacketLoss, Telephone, Voip
from audio_enh.errors import UserError


@dataclass(frozen=True)
class Family:
    """Distortions of one kind.

    Attributes:
        weight: how likely the random chain takes the family.
        members: each distortion and how likely it is within the family.
    """

    weight: float
    members: tuple[tuple[type[Distortion], float], ...]

    @property
    def name(self) -> str:
        return self.members[0][0].family


#: Weights within a family as published implementations quote them from Serra et al. 2022, and ours where the paper
#: has no such distortion or its number was not to be had: see docs/distortions.md.
FAMILIES: tuple[Family, ...] = (
    Family(1, ((BandPass, 5), (HighPass, 5), (LowPass, 20), (Downsample, 30))),
    Family(
        1,
        (
            (Mp3, 20),
            (Mp2, 3),
            (Vorbis, 3),
            (Opus, 20),
            (Aac, 3),
            (Ac3, 3),
            (Eac3, 3),
            (Speex, 3),
            (MuLaw, 3),
            (ALaw, 3),
            (Gsm, 3),
            (Adpcm, 3),
        ),
    ),
    Family(1, ((Clipping, 8), (Overdrive, 5), (HardLimiting, 3), (BitCrush, 3))),
    Family(
        1,
        (
            (Compressor, 10),
            (Expander, 2),
            (NoiseGate, 10),
            (DestroyLevels, 20),
            (Tremolo, 2),
            (AutomaticGain, 3),
        ),
    ),
    Family(1, ((RandomEqualiser, 20), (BandReject, 5), (Resonance, 5), (Plosives, 4), (Sibilance, 4))),
    Family(4, ((BackgroundNoise, 20), (NoiseBursts, 5), (Babble, 5))),
    Family(
        1,
        (
            (RecordedRoom, 120),
            (SimulatedRoom, 30),
            (AlgorithmicReverb, 20),
            (ShortDelay, 3),
            (Chorus, 1),
            (Phaser, 1),
        ),
    ),
    Family(
        1,
        (
            (PhaseRandomisation, 2),
            (GriffinLim, 2),
            (SpectralHoles, 4),
            (SpectralGating, 6),
            (SpectralSmearing, 2),
        ),
    ),
    Family(1, ((ColouredNoise, 15), (Hum, 4), (Clicks, 3), (Tones, 2), (DcOffset, 1))),
    Family(1, ((PacketLoss, 10), (Telephone, 6), (Dtmf, 1), (Voip, 6), (FrameShuffle, 2))),
)

DISTORTIONS: tuple[type[Distortion], ...] = tuple(kind for family in FAMILIES for kind, _ in family.members)


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def find_distortion(name: str) -> type[Distortion]:
    """The distortion of a name; case, hyphens and underscores do not matter.

    Raises:
        UserError: there is none, with the nearest name.
    """
    by_name = {_plain(kind.name()): kind for kind in DISTORTIONS}
    found = by_name.get(_plain(name))
    if found is None:
        near = difflib.get_close_matches(_plain(name), by_name, n=1, cutoff=0.5)
        hint = f"did you mean {by_name[near[0]].name()}?" if near else "see audio-enh distort --list"
        raise UserError(f"there is no distortion {name!r}: {hint}")
    return found
