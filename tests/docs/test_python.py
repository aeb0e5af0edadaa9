"""The page for people who write Python runs from top to bottom, as it stands."""

from __future__ import annotations

import re
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
import soundfile

from tests.docs.commands import ROOT


def test_every_block_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    audio, rate = soundfile.read(str(files("audio_enh") / "samples/noisy/rain.flac"), stop=32000)
    Path("meetings").mkdir()
    soundfile.write("talk.wav", audio, rate)
    shutil.copy("talk.wav", "meetings/monday.wav")
    page = (ROOT / "docs/python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 7
    names: dict[str, object] = {}
    for block in blocks:
        exec(
            compile(block, "docs/python.md", "exec"), names
        )  # one block goes on with the names of those before
    assert {path.name for path in Path("meetings").iterdir()} == {"monday.wav", "monday.flac"}
