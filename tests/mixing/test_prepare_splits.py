"""No voice, recording or room on two sides of the split: layouts of every collection, and of folders of one's own."""

from collections import defaultdict
from pathlib import Path

import pytest

from audio_enh.data.prepare import CORPORA
from audio_enh.data.prepare.own_folder import folder
from audio_enh.data.prepare.page import splits_page
from audio_enh.errors import UserError

ROOT = Path(__file__).parents[2]


def layout(root: Path, files: dict[str, str]) -> dict[Path, str]:
    """Empty files, each with the group that it truly belongs to; rules see names alone."""
    made = {}
    for name, group in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        made[path] = group
    return made


def speakers(pattern: str, names, takes=3) -> dict[str, str]:
    return {pattern.format(who=who, take=take): who for who in names for take in range(takes)}


def vctk_names(count=40):
    return [f"p{225 + i}" for i in range(count)]


DNS = {
    **speakers(
        "clean_fullband/read_speech/book_0{take}_chp_2_reader_{who}_3.wav", [f"{i:05}" for i in range(60)]
    ),
    **speakers(
        "clean_fullband/vctk_wav48_silence_trimmed/{who}/{who}_00{take}_mic1.wav", vctk_names(), takes=4
    ),
    **{
        f"clean_fullband/emotional_speech/crema_d/{actor}_{what}_{mood}_XX.wav": f"actor {actor}"
        for actor in range(1001, 1031)
        for what, mood in (("DFA", "ANG"), ("IEO", "HAP"), ("TIE", "SAD"))
    },
    **speakers(
        "clean_fullband/VocalSet_48kHz_mono/{who}_scale_{take}.wav",
        [f"{s}{i}" for s in "fm" for i in range(1, 12)],
    ),
    **speakers(
        "clean_fullband/spanish_speech/SLR61/{who}_0012345678{take}.wav", [f"arf_{i:05}" for i in range(40)]
    ),
    **speakers(
        "clean_fullband/mandarin_speech/BAC009S0{who}W012{take}.wav", [f"{i:03}" for i in range(100, 140)]
    ),
    **speakers(
        "clean_fullband/french_speech/fr_FR/by_book/female/{who}/book/wavs/x_{take}.wav",
        [f"r{i}" for i in range(40)],
    ),
    **speakers(
        "noise_fullband/door_Freesound_validated_{who}_{take}.wav", [str(3646 + i) for i in range(40)]
    ),
    **speakers(
        "impulse_responses/SLR26/simulated_rirs_48k/smallroom/{who}/{who}-0000{take}.wav",
        [f"Room{i:03}" for i in range(60)],
    ),
    **{
        f"impulse_responses/SLR28/RIRS_NOISES/real_rirs_isotropic_noises/{name}": group
        for name, group in (
            ("RVB2014_type1_rir_largeroom1_far_angla.wav", "largeroom1"),
            ("RVB2014_type1_rir_largeroom1_near_anglb.wav", "largeroom1"),
            ("RWCP_type1_rir_cirline_e2b_imp010.wav", "e2b"),
            ("RWCP_type2_rir_circle_e2b_imp090.wav", "e2b"),
            ("air_type1_air_binaural_stairway_1_2_60.wav", "stairway"),
            ("air_type1_air_phone_stairway1_hfrp.wav", "stairway"),
            ("air_type1_air_phone_bt_stairway_hhp.wav", "stairway"),
        )
    },
}
SUBSETS = ("train-clean-100", "dev-clean", "dev-other", "test-clean")
LIBRI = {
    f"{subset}/{reader}/1{reader}/{reader}_000{take}.flac": reader
    for place, subset in enumerate(SUBSETS)
    for reader in map(str, range(100 * place + 10, 100 * place + 30))
    for take in range(3)
}
VCTK = speakers("wav48_silence_trimmed/{who}/{who}_00{take}_mic1.flac", vctk_names())
LAYOUTS = {
    "vbdmd": {
        f"{side}_{stem}_wav/{who}_00{take}.wav": who
        for side in ("clean", "noisy")
        for stem, voices in (("trainset_28spk", ("p226", "p228", "p287")), ("testset", ("p232", "p257")))
        for who in voices
        for take in range(3)
    },
    "ears": speakers("{who}/emo_{take}.wav", [f"p{i:03}" for i in range(1, 108)]),
    "dns": DNS,
    "libritts": {f"LibriTTS/{name}": group for name, group in LIBRI.items()},
    "librispeech": {f"LibriSpeech/{name}": group for name, group in LIBRI.items()},
    "vctk": VCTK,
    "wham": {
        f"wham_noise/{side}/{side}{i}.wav": f"{side}{i}" for side in ("tr", "cv", "tt") for i in range(3)
    },
}


def check(listing, made, groups_on_two_sides=()):
    """No true group on two sides; validation is not empty."""
    sides = defaultdict(set)
    for entry in listing.entries:
        if made[entry.source]:
            sides[entry.kind, made[entry.source]].add(entry.split)
    assert sides
    assert {group for (_, group), where in sides.items() if len(where) > 1} == set(groups_on_two_sides)
    return {entry.source: entry for entry in listing.entries}


def test_every_collection_has_a_layout_here():
    assert set(LAYOUTS) == set(CORPORA)


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_group_is_on_two_sides(name, tmp_path):
    made = layout(tmp_path, LAYOUTS[name])
    listing = CORPORA[name].find(tmp_path)
    found = check(listing, made)
    used = made if name != "vbdmd" else {path for path in made if "noisy" in path.parts[-2]}
    assert set(found) == set(used)
    assert all(entry.group for entry in found.values())
    kinds = {entry.kind for entry in found.values()}
    for kind in kinds - {"rir"}:
        assert {entry.split for entry in found.values() if entry.kind == kind} >= {"train", "valid"}


def test_voices_of_vctk_are_on_one_side_in_all_collections(tmp_path):
    sides = defaultdict(set)
    for name in ("vbdmd", "vctk", "dns"):
        layout(tmp_path / name, LAYOUTS[name])
        for entry in CORPORA[name].find(tmp_path / name).entries:
            if entry.group in ("p226", "p287", "p232", "p257"):
                sides[entry.group].add(entry.split)
    assert sides == {"p226": {"valid"}, "p287": {"valid"}, "p232": {"test"}, "p257": {"test"}}


def test_noises_are_no_rooms_and_what_no_rule_knows_is_for_training(tmp_path):
    place = "impulse_responses/SLR28/RIRS_NOISES"
    made = layout(
        tmp_path,
        {
            f"{place}/real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav": "",
            f"{place}/pointsource_noises/noise-free-sound-0000.wav": "",
            f"{place}/real_rirs_isotropic_noises/RVB2014_type1_rir_largeroom1_far_angla.wav": "",
            "clean_fullband/vctk/p225_001_mic1.wav": "",
            "clean_fullband/vctk/p225_001_mic2.wav": "",
            **{f"clean_fullband/german_speech/{i}.wav": "" for i in range(100)},
        },
    )
    listing = CORPORA["dns"].find(tmp_path)
    left_out = {path.name for path in set(made) - {entry.source for entry in listing.entries}}
    assert left_out == {
        "RVB2014_type1_noise_largeroom1_1.wav",
        "noise-free-sound-0000.wav",
        "p225_001_mic2.wav",
    }
    assert {e.split for e in listing.entries if "german" in str(e.source)} == {"train"}
    said = "\n".join(listing.notes)
    assert "100 files of speech in" in said
    assert "2 files beside the room responses name themselves noise" in said


def test_wham_at_48_khz_is_split_as_published(tmp_path):
    layout(tmp_path, {f"high_res_wham/audio/{i}_1.wav": "" for i in range(4)})
    with pytest.raises(UserError, match="high_res_metadata"):
        CORPORA["wham"].find(tmp_path)
    (tmp_path / "high_res_wham" / "high_res_metadata.csv").write_text(
        "Filename,Location ID,WHAM! Split\naudio/0_1.wav,0,Train\naudio/1_1.wav,1,Valid\n"
        "audio/2_1.wav,2,Test\naudio/3_1.wav,2,N/A\n"
    )
    (tmp_path / "high_res_wham" / "audio" / "4_1.wav").touch()  # unknown to the table
    for root in (tmp_path, tmp_path / "high_res_wham"):
        listing = CORPORA["wham"].find(root)
    assert {e.source.stem: e.split for e in listing.entries} == {
        "0_1": "train",
        "1_1": "valid",
        "2_1": "test",
    }


@pytest.mark.parametrize(
    ("files", "pattern"),
    [
        (VCTK | {name.replace("mic1", "mic2"): who for name, who in VCTK.items()}, None),
        (LIBRI, None),
        ({f"LibriSpeech/{name}": who for name, who in LIBRI.items()}, None),
        (speakers("{who}_00{take}.wav", vctk_names()), "^[^_]+"),
        (speakers("x/{who}/a/{take}.wav", vctk_names(3)), None),
    ],
    ids=["VCTK", "LibriSpeech", "LibriSpeech's parent", "flat", "three speakers"],
)
def test_own_folder_keeps_groups_together(files, pattern, tmp_path):
    made = layout(tmp_path, files)
    listing = folder(tmp_path, "speech", pattern=pattern)
    found = check(listing, made)
    assert set(found) == set(made)
    assert {entry.split for entry in found.values()} >= {"train", "valid"}
    assert {entry.speaker for entry in found.values()} == set(files.values())
    assert "groups by" in listing.notes[0]
    for path, entry in found.items():
        for part, side in (("dev-", "valid"), ("test-", "test"), ("train-", "train")):
            if part in str(path.relative_to(tmp_path)):
                assert entry.split == side


def test_folder_without_groups_says_how_to_give_them(tmp_path):
    layout(tmp_path, speakers("{who}_00{take}.wav", vctk_names()))
    with pytest.raises(UserError, match=r"120 of 120 files.*--group"):
        folder(tmp_path, "speech")
    with pytest.raises(UserError, match="does not match the pattern"):
        folder(tmp_path, "speech", pattern="^q")
    each = folder(tmp_path, "noise", pattern=".+", valid_fraction=0.5)
    assert len({entry.group for entry in each.entries}) == 120
    assert {entry.split for entry in each.entries} == {"train", "valid"}


def test_given_sides_are_checked(tmp_path):
    layout(tmp_path, {f"{side}/p{i}_{side}.wav": "" for side in ("train", "test") for i in range(3)})
    with pytest.raises(UserError, match="on two sides"):
        folder(tmp_path, "speech", pattern=r"p\d")
    listing = folder(tmp_path, "noise", pattern=".+", valid_fraction=0.4)
    assert {e.split for e in listing.entries if "train" in str(e.source.parent.name)} == {"train", "valid"}
    assert {e.split for e in listing.entries if "test" in str(e.source.parent.name)} == {"test"}


def test_page_is_that_of_the_rules():
    assert (ROOT / "docs" / "data_splits.md").read_text() == splits_page()
