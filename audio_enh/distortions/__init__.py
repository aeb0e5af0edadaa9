"""Damage done to speech: distortions in ten families, chains of them, and random chains for training.

After Serra et al. 2022 (arXiv 2206.03065). A distortion is a frozen dataclass of its parameters::

    Mp3(bitrate=16)(audio, sample_rate, rng)              # parameters given
    Mp3.at(0.8, sample_rate, rng)(audio, sample_rate, rng)  # from a severity
    RandomDamage()(clean, sample_rate, rng)                # a training item: audio, target, record
"""

from audio_enh.distortions.base import Choice, Distortion, Range
from audio_enh.distortions.catalog import DISTORTIONS, FAMILIES, Family, find_distortion
from audio_enh.distortions.chain import Applied, Step, apply_chain, apply_in_pieces, parse_chain
from audio_enh.distortions.damage import Damaged, RandomDamage
from audio_enh.distortions.recordings import PackedSounds, Recordings, SoundFiles

__all__ = [
    "DISTORTIONS",
    "FAMILIES",
    "Applied",
    "Choice",
    "Damaged",
    "Distortion",
    "Family",
    "PackedSounds",
    "RandomDamage",
    "Range",
    "Recordings",
    "SoundFiles",
    "Step",
    "apply_chain",
    "apply_in_pieces",
    "find_distortion",
    "parse_chain",
]
