"""The damaged test set: what its table says, the same when built again, and usable by ``audio-enh evaluate``."""

import csv
import json
import subprocess
import sys
from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_enh.data.damaged_testset import build_damaged_set
from audio_enh.distortions import FAMILIES, find_distortion, parse_chain
from audio_enh.distortions.damage import ROUND
from audio_enh.errors import UserError
from audio_enh.sources.packed import AudioFolder

SAMPLES = files("audio_enh") / "samples"
SPEECH, NOISE = (AudioFolder(str(SAMPLES / name)) for name in ("clean", "noise"))
SCRIPT = Path(sys.executable).with_name("audio-enh")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two items a family, four chains."""
    place = tmp_path_factory.mktemp("damaged")
    return build_damaged_set(str(place / "set"), SPEECH, NOISE, per_family=2, cache=str(place / "cache"))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_family_has_its_share_and_is_what_damaged_its_files(built):
    table = rows(built)
    assert Counter(row["family"] for row in table) == {family.name: 2 for family in FAMILIES} | {"chain": 4}
    for row in table:
        kinds = [find_distortion(name) for name in row["distortions"].split()]
        assert [step.kind for step in parse_chain(row["chain"])] == kinds
        assert len(row["severities"].split()) == len(kinds)
        if row["family"] != "chain":
            assert [kind.family for kind in kinds] == [row["family"]]
    assert {row["file"] for row in table} == {path.name for path in (built / "noisy").iterdir()}


def test_clean_is_at_its_level_and_aligned(built):
    for row in rows(built):
        clean, rate = soundfile.read(built / "clean" / row["file"])
        noisy, _ = soundfile.read(built / "noisy" / row["file"])
        assert rate == 16000
        assert clean.shape == noisy.shape
        assert len(clean) == round(float(row["seconds"]) * rate) <= 6 * rate
        assert not np.array_equal(clean, noisy)
        level = 20 * np.log10(np.sqrt(np.mean(clean**2)))
        turned_down = max(np.abs(noisy).max(), np.abs(clean).max()) > 0.98
        assert level == pytest.approx(-26, abs=0.01) or (turned_down and level < -26)


def test_same_files_again_and_in_a_larger_set(built, tmp_path):
    cache = str(built.parent / "cache")
    larger = build_damaged_set(str(tmp_path / "larger"), SPEECH, NOISE, per_family=3, cache=cache)
    assert len(rows(larger)) == 3 * len(ROUND)
    assert rows(larger)[: 2 * len(ROUND)] == rows(built)
    for row in rows(built):
        for side in ("noisy", "clean"):
            assert (built / side / row["file"]).read_bytes() == (larger / side / row["file"]).read_bytes()
    other = build_damaged_set(str(tmp_path / "other"), SPEECH, NOISE, per_family=1, cache=cache, seed=1)
    assert rows(other)[0]["chain"] != rows(built)[0]["chain"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"per_family": 0}, "per_family"),
        ({"seconds": (100, 200)}, "lasts 100 s"),
        ({"seconds": (3, 2)}, "shortest"),
        ({"severity": (0, 2)}, "severity"),
        ({"counts": (0, 0)}, "counts"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(built, tmp_path, options, said):
    with pytest.raises(UserError, match=said):
        build_damaged_set(str(tmp_path / "set"), SPEECH, NOISE, cache=str(built.parent / "cache"), **options)
    assert not any(tmp_path.iterdir())
    with pytest.raises(UserError, match="not empty"):
        build_damaged_set(str(built), SPEECH, NOISE)


@pytest.mark.slow
def test_commands_give_a_table_by_family(built, tmp_path):
    manifest = tmp_path / "manifest.csv"
    lines = [f"{path},speech,valid" for path in SPEECH.files()]
    manifest.write_text("\n".join(["path,kind,split", *lines]) + "\n")
    cache = f"set.cache={built.parent / 'cache'}"
    made = tmp_path / "set"
    mix = [SCRIPT, "mix", "set=damaged", f"manifest={manifest}", f"out={made}", "set.per_family=1", cache]
    subprocess.run(mix, check=True, capture_output=True)
    report = tmp_path / "report"
    subprocess.run(
        [
            *(SCRIPT, "evaluate", "--clean", made / "clean", "--enhanced", made / "noisy"),
            *("--metadata", made / "metadata.csv", "--group-by", "family", "--metrics", "lsd", "-o", report),
        ],
        check=True,
        capture_output=True,
    )
    scores = [row["scores"]["lsd"] for row in json.loads((report / "report.json").read_text())["rows"]]
    assert len(scores) == len(ROUND)
    assert min(scores) > 0
    summary = (report / "summary.md").read_text()
    assert all(family.name in summary for family in FAMILIES)
    again = subprocess.run(mix, check=False, capture_output=True, text=True)
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1
    assert "not empty" in again.stderr
