"""The commands of each page run in their order, as written, on small stand-ins for the reader's recordings and data.

Only what makes them small is added: fewer mixtures, files and steps, narrower networks. Live sound has tests of its
own, and so has what installs the benchmark's peers.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audio_enh.inference.checkpoint import save_checkpoint
from audio_enh.models.diffusion import DiffusionEnhancer
from audio_enh.models.universe import Universe
from tests.docs.commands import PAGES, ROOT, blocks
from tests.mixing.test_prepare import voicebank

SCRIPT = Path(sys.executable).with_name("audio-enh")
ELSEWHERE = ("live", "live-speed", "doctor")
SECONDS = 2
GUIDES = [page for page in PAGES if page.parent.name != "causal-unet-16k" and any(blocks(page))]
SCORED = ("evaluate", "--clean", "ref", "--enhanced", "out", "--metrics", "stoi,si_sdr")
# The published sizes take a processor minutes a step.
NARROW = {
    "experiment=sgmse_vbdmd": ["+model.network.channels=8", "model.sampler.steps=2"],
    "experiment=universepp_16k": ["model.channels=4"],
    "experiment=universe_lite": ["model.channels=4"],
}


@pytest.fixture
def reader(tmp_path: Path, page: Path) -> Path:
    """A folder with what the page names."""
    commands = [words for block in blocks(page) for words in block]
    rate, rng = 16000, np.random.default_rng(0)
    samples = Path(str(files("audio_enh") / "samples"))

    def sound(kind: str, name: str) -> np.ndarray:
        return soundfile.read(samples / kind / f"{name}.flac", stop=SECONDS * rate)[0]

    def write(name: str, audio: np.ndarray) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, audio, rate)

    for name in ("talk", "bad"):
        write(f"{name}.wav", sound("noisy", "rain"))
    for name in ("rain", "dog"):
        noisy, clean = sound("noisy", name), sound("clean", name)
        write(f"talks/{name}.wav", noisy)
        for folder, audio in (("ref", clean), ("noisy", noisy), ("out", 0.5 * (clean + noisy))):
            write(f"{folder}/{name}.wav", audio)
        write(f"Speech/{name}/one.wav", clean)
        write(f"Noise/{name}.wav", noisy - clean)
        write(f"my_noises/{name}.wav", noisy - clean)
        decay = np.exp(-np.arange(4000) / 500) * rng.standard_normal(4000) * 0.1
        for folder in ("Rooms", "my_responses"):
            write(f"{folder}/{name}.wav", np.concatenate([[1.0], decay]))
    rows = []
    for split in ("train", "valid"):
        for kind, folder in (("speech", "ref"), ("noise", "my_noises"), ("rir", "my_responses")):
            rows += [[tmp_path / folder / f"{name}.wav", kind, split] for name in ("rain", "dog")]
    (tmp_path / "corpus").mkdir()
    with (tmp_path / "corpus/manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "kind", "split"], *rows])
    if not any(words[:2] == ["data", "prepare"] for words in commands):  # another page told how to
        (tmp_path / "data").symlink_to("corpus")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    two_tracks(tmp_path / "meeting.mkv", tmp_path / "talk.wav", tmp_path / "bad.wav")
    voicebank(tmp_path / "Downloads")
    voicebank(tmp_path / "ROOT")
    torch.manual_seed(0)
    universe = {"channels": 2, "mel_bands": 16, "embedding_features": 4, "embedding_dimensions": 16}
    save_checkpoint(tmp_path / "FOLDER", Universe(**universe), {}, arguments=universe)
    sgmse = {
        "hop_length": 256,
        "process": {"name": "ouve"},
        "network": {"name": "lite", "channels": (4, 4, 8), "rnn_hidden": 4, "rnn_layers": 1},
        "prediction": "score",
        "sampler": {"name": "pc", "steps": 3},
    }
    save_checkpoint(tmp_path / "NAME", DiffusionEnhancer(**sgmse), {}, arguments=sgmse)
    shutil.copy(
        next((ROOT / "tests/data/goldens/import/sgmse_v1_ouve").glob("*.ckpt")), tmp_path / "sgmse.ckpt"
    )
    for side in ("A", "B"):
        if any(words[0] == "compare" for words in commands):
            call(tmp_path, *SCORED, "-o", side)
    return tmp_path


def two_tracks(path: Path, *sounds: Path) -> None:
    """A picture with two sound tracks, which have titles."""
    inputs = [word for sound in sounds for word in ("-i", str(sound))]
    picture = ["-f", "lavfi", "-i", f"testsrc=duration={SECONDS}:size=64x64:rate=10"]
    tracks = ["-map", "0:v", "-map", "1:a", "-map", "2:a", "-metadata:s:a:0", "title=Mic"]
    done = ["-metadata:s:a:1", "title=Desktop", str(path)]
    subprocess.run(["ffmpeg", "-loglevel", "error", *picture, *inputs, *tracks, *done], check=True)


def call(folder: Path, *words: str) -> None:
    done = subprocess.run([SCRIPT, *words], cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def small(words: list[str], folder: Path) -> list[str]:
    """The same command on the stand-ins."""
    words = [word.replace("/data/", f"{folder}/corpus/") for word in words]
    command = words[2] if words[0] == "--code" else words[0]
    if command == "train" and "--cfg" not in words:
        words += ["trainer=debug", "trainer.max_steps=2", "data.batch_size=2", "data.valid_items=1"]
        words += NARROW.get(next((word for word in words if word in NARROW), ""), [])
    if command == "mix":
        words += ["set.per_family=1"] if "set=damaged" in words else ["set.per_snr=1"]
    if command == "benchmark":
        words += ["--limit", "1"] + ([] if "--peer" in words else ["--peer", "none"])
    if command in ("enhance", "distort", "evaluate") and "--list" not in words:
        words += ["--overwrite"]  # pages show the same file with several options
    if words[:3] == ["data", "prepare", "vbdmd"]:
        words += ["--allow-incomplete"]
    return words


@pytest.mark.slow
@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in GUIDES])
def test_the_commands_of_a_page_run_in_order(page: Path, reader: Path) -> None:
    done = 0
    for block in blocks(page):
        for words in block:
            if words[0] not in ELSEWHERE and "rnnoise" not in words:
                call(reader, *small(words, reader))
                done += 1
    assert done or page.name == "live.md"
