"""The document lists what the code has."""

from __future__ import annotations

from pathlib import Path

import pytest

from audio_enh.distortions import FAMILIES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_tables_and_pictures_are_up_to_date(family):
    text = (DOCS / "distortions.md").read_text(encoding="utf-8")
    for kind, weight in family.members:
        parameters = "; ".join(f"{n}{'*' if s.free else ''} {s}" for n, s in kind.parameters().items())
        row = f"| {kind.name()} | {kind.summary()} | {parameters} | {weight:g}"
        assert row in text
    picture = f"distortions/{family.name.replace(' ', '_')}.png"
    assert f"({picture})" in text
    assert (DOCS / picture).stat().st_size < 400_000
