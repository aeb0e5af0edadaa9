"""What may not be on two sides of a split, and on which side it is: rules that read a file's path.

A group is whatever training must not have heard when it is validated: a voice, a recording of which files are
slices, a room. A collection is described by a :class:`Rule` for each way in which its files are named.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

#: Part of the groups that is kept for validation where a collection has no published split.
VALID_FRACTION = 0.05


@dataclass(frozen=True)
class Rule:
    """One way of naming files.

    Attributes:
        kind: ``"speech"``, ``"noise"``, ``"rir"`` or ``"pair"``.
        what: what a group is: reader, recording, room...
        pattern: regular expression, searched in the path below the collection's folder. ``group`` in it names the
            group, ``subset`` a published part of the collection.
        example: a path it is for.
        subsets: the side of each published part; for those of side ``"train"`` the next three apply.
        valid, test: groups on these sides.
        share: part of the other groups for validation, by a hash of their names.
    """

    kind: str
    what: str
    pattern: str
    example: str
    subsets: Mapping[str, str] = field(default_factory=dict)
    valid: Sequence[str] = ()
    test: Sequence[str] = ()
    share: float = VALID_FRACTION

    def find(self, path: str) -> tuple[str, str] | None:
        """Group and side of a file; None if the rule is not for it."""
        match = re.search(self.pattern, path)
        if match is None:
            return None
        found = match.groupdict()
        group = found["group"]
        side = self.subsets[found["subset"]] if self.subsets else "train"
        if side == "train":
            if group in self.test:
                side = "test"
            elif group in self.valid:
                side = "valid"
            else:
                side = by_hash(group, self.share)
        return group, side


def by_hash(group: str, valid_fraction: float = VALID_FRACTION) -> str:
    """``"valid"`` or ``"train"``, always the same for a group and independent of the others."""
    return "valid" if _place(group) < valid_fraction else "train"


def split_groups(groups: Iterable[str], valid_fraction: float) -> dict[str, str]:
    """Sides by :func:`by_hash`, but of two groups and more at least one is for validation."""
    sides = {group: by_hash(group, valid_fraction) for group in groups}
    if len(sides) > 1 and "valid" not in sides.values():
        sides[min(sides, key=_place)] = "valid"
    return sides


def apply_rules(rules: Sequence[Rule], kind: str, path: str) -> tuple[str, str] | None:
    """Group and side of a file by the first rule for it; None if there is none."""
    return next((found for rule in rules if rule.kind == kind and (found := rule.find(path))), None)


def _place(group: str) -> float:
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64


# Voices of VCTK are in four collections here: the same sides everywhere.
_VCTK_VALID, _VCTK_TEST = ("p226", "p287"), ("p232", "p257")

VOICEBANK = (
    Rule(
        "pair",
        "speaker",
        r"(?P<subset>trainset_28spk|testset)_wav/(?P<group>p\d{3})_\d{3}",
        "noisy_trainset_28spk_wav/p226_001.wav",
        {"trainset_28spk": "train", "testset": "test"},
        share=0,
        valid=_VCTK_VALID,
        test=_VCTK_TEST,
    ),
)
VCTK = (
    Rule(
        "speech",
        "speaker",
        r"(^|/)(?P<group>p\d{3}|s5)_\d{3}(_mic1)?\.",
        "wav48_silence_trimmed/p225/p225_001_mic1.flac",
        valid=_VCTK_VALID,
        test=_VCTK_TEST,
    ),
)
EARS = (
    Rule(
        "speech",
        "speaker",
        r"(^|/)(?P<group>p\d{3})/[^/]+$",
        "p001/emo_anger_freeform.wav",
        valid=("p100", "p101"),
        test=tuple(f"p{n}" for n in range(102, 108)),
        share=0,
    ),
)
LIBRISPEECH = (
    Rule(
        "speech",
        "reader",
        r"(^|/)(?P<subset>train|dev|test)-(clean|other)(-\d+)?/(?P<group>\d+)/",
        "train-clean-100/19/198/19_198_000000_000000.wav",
        {"train": "train", "dev": "valid", "test": "test"},
        share=0,
    ),
)
WHAM = (
    Rule(
        "noise",
        "recording (published split, by place)",
        r"(^|/)(?P<subset>tr|cv|tt)/(?P<group>[^/]+)\.\w+$",
        "wham_noise/tr/40na010x_1.9857_01xo031a_-1.9857.wav",
        {"tr": "train", "cv": "valid", "tt": "test"},
        share=0,
    ),
)
DNS = (
    Rule("speech", "reader", r"reader_(?P<group>\d+)", "read_speech/book_00000_chp_0009_reader_06709_0.wav"),
    Rule(
        "speech",
        "speaker of VCTK",
        r"(?i:vctk).*(^|/)(?P<group>p\d{3}|s5)_\d{3}(_mic1)?\.",
        "vctk_wav48_silence_trimmed/p225/p225_001_mic1.wav",
        valid=_VCTK_VALID,
        test=_VCTK_TEST,
    ),
    Rule(
        "speech",
        "actor of CREMA-D",
        r"(^|/)(?P<group>\d{4})_[A-Z]{3}_[A-Z]{3}_[A-Z]{2}\.",
        "emotional_speech/crema_d/1001_DFA_ANG_XX.wav",
    ),
    Rule(
        "speech",
        "singer of VocalSet",
        r"(?i:vocalset).*?(^|/)(?P<group>((fe)?male|[fm])\d+)[/_]",
        "VocalSet_48kHz_mono/f1_arpeggios_belt_c_a.wav",
    ),
    Rule(
        "speech",
        "speaker of SLR 39 to 75",
        r"(^|[/_])(?P<group>[a-z]{2}[fm]_\d{5})_\d{11}",
        "spanish_speech/SLR61_es_ar_female/arf_06592_00774535859.wav",
    ),
    Rule("speech", "speaker of AISHELL", r"BAC009(?P<group>S\d{4})W", "mandarin_speech/BAC009S0002W0122.wav"),
    Rule(
        "speech",
        "reader of M-AILABS",
        r"by_book/(?:fe)?male/(?P<group>[^/]+)/",
        "french_speech/fr_FR/by_book/male/ezwa/l_ile/wavs/l_ile_mysterieuse_2_06_f000145.wav",
    ),
    Rule(
        "noise",
        "Freesound recording",
        r"(?i:freesound)(_validated)?_(?P<group>[A-Za-z]?\d+)",
        "noise_fullband/door_Freesound_validated_364656_0.wav",
    ),
    Rule("noise", "AudioSet video", r"(^|/)(?P<group>[\w-]{11})\.\w+$", "noise_fullband/-0BIyqJj9ZU.wav"),
    Rule(
        "rir",
        "simulated room",
        r"(?P<group>(small|medium|large)room\w*/Room\d+)/",
        "impulse_responses/SLR26/simulated_rirs_48k/smallroom/Room001/Room001-00001.wav",
    ),
    Rule(
        "rir",
        "room of the REVERB challenge",
        r"RVB2014_type\d_rir_(?P<group>[a-z]+room\d)",
        "SLR28/RIRS_NOISES/real_rirs_isotropic_noises/RVB2014_type1_rir_largeroom1_far_angla.wav",
    ),
    Rule(
        "rir",
        "room of RWCP",
        r"RWCP_type\d_rir_[a-z]+_(?P<group>[a-z0-9]+)_imp",
        "SLR28/RIRS_NOISES/real_rirs_isotropic_noises/RWCP_type2_rir_cirline_ofc_imp090.wav",
    ),
    Rule("rir", "room of RWCP", r"(?P<group>RWCP_type4)_rir_", "RWCP_type4_rir_p30r.wav"),
    Rule(
        "rir",
        "room of AIR",
        r"air_type1_air_[a-z]+_(?i:bt_)?(?P<group>[a-z]+)",
        "SLR28/RIRS_NOISES/real_rirs_isotropic_noises/air_type1_air_binaural_aula_carolina_1_3_0_3.wav",
    ),
)
