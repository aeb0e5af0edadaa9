"""The table of docs/recordings.md is that of the program."""

from __future__ import annotations

from pathlib import Path

from audio_enh.io.containers import FFMPEG_MUXERS, READ_ONLY, SOUNDFILE_FORMATS, writable_suffix

PAGE = Path(__file__).parents[2] / "docs" / "recordings.md"


def test_the_table_of_containers() -> None:
    section = PAGE.read_text(encoding="utf-8").split("## What is read")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    told = {f".{name}": as_what for names, as_what in rows for name in names.split()}
    expected = {
        suffix: "the same" if writable_suffix(suffix) == suffix else writable_suffix(suffix)[1:]
        for suffix in (*SOUNDFILE_FORMATS, *FFMPEG_MUXERS, *READ_ONLY)
    }
    assert told == expected
