"""The report: numbers that agree, a page that stands alone and opens without an error in a real browser."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_enh.eval.evaluation import Evaluation, Request, evaluate
from audio_enh.eval.report.clips import MAX_SECONDS, make_clips
from audio_enh.eval.report.figures import nice_ticks
from audio_enh.eval.report.html import to_html
from audio_enh.eval.rows import NOISY
from audio_enh.eval.summary import summarise_rows
from tests.eval.synthesis import RATE, noisy, speech, write

HOSTILE = 'a & b <!--<script>alert("x")</script>'
FILES = 12


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory) -> Evaluation:
    root = tmp_path_factory.mktemp("report")
    for index in range(FILES):
        clean = speech(1.0, seed=index)
        name = f"{HOSTILE.replace('/', '_')}.wav" if index == 0 else f"f{index}.wav"
        write(root / "clean" / name, clean)
        write(root / "noisy" / name, noisy(clean, 2 * index))
        write(root / "my system" / name, 0 * clean if index == 3 else noisy(clean, 2 * index + 8))
    with (root / "meta.csv").open("w", newline="") as file:
        names = [path.name for path in sorted((root / "clean").iterdir())]
        csv.writer(file).writerows(
            [["file", "noise"], *([name, "ab"[i % 2]] for i, name in enumerate(names))]
        )
    return evaluate(
        Request(
            output=root / "out",
            clean=root / "clean",
            noisy=root / "noisy",
            enhanced=(root / "my system",),
            metrics=("pesq_wb", "stoi", "si_sdr", "lsd"),
            metadata=root / "meta.csv",
            workers=0,
            clips=2,
            command=("audio-enh", "evaluate"),
        )
    )


class Page(HTMLParser):
    """Attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)


def test_json_holds_rows_and_manifest(evaluation: Evaluation) -> None:
    data = json.loads(evaluation.paths.json.read_text())
    assert len(data["rows"]) == 2 * FILES
    manifest = data["manifest"]
    for key in (
        "command",
        "packages",
        "resampler",
        "interval",
        "definitions",
        "references_sha256",
        "settings",
    ):
        assert manifest[key], key
    assert "P.862.2" in manifest["definitions"]["pesq_wb"]
    assert manifest["packages"]["pesq"] == "0.0.4"
    scores = [
        row["scores"]["si_sdr"] for row in data["rows"] if row["system"] == "my system" and row["scores"]
    ]
    assert data["summary"]["scores"]["my system"]["si_sdr"]["mean"] == pytest.approx(np.mean(scores))
    assert data["summary"]["failures"]["my system"] == {"silent_estimate": 1}


def test_csv_agrees_and_leaves_failures_empty(evaluation: Evaluation) -> None:
    with evaluation.paths.csv.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * FILES
    by_key = {(line["file"], line["system"]): line for line in lines}
    silent = by_key["f3", "my system"]
    assert (silent["pesq_wb"], silent["delta_si_sdr"]) == ("", "")
    assert (silent["status"], silent["reason"]) == ("failed", "silent_estimate")
    good = by_key["f5", "my system"]
    gain = float(good["si_sdr"]) - float(by_key["f5", "noisy"]["si_sdr"])
    assert float(good["delta_si_sdr"]) == pytest.approx(gain, abs=1e-3)
    assert good["noise"] in "ab"


def test_markdown_has_the_tables(evaluation: Evaluation) -> None:
    text = evaluation.paths.markdown.read_text()
    for title in (
        "Gain over the noisy input",
        "Files made worse",
        "By noise",
        "By input SNR",
        "Failures",
        "Worst files",
    ):
        assert f"## {title}" in text
    assert re.search(r"\| my system \| \d\.\d\d \[", text)
    assert f"(n={FILES - 1})" in text  # the silent file is not in the mean
    assert "f3" in text.split("## Failures")[1]
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        widths = {len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_page_stands_alone(evaluation: Evaluation) -> None:
    text = evaluation.paths.html.read_text()
    page = Page(text)
    assert page.unbalanced == []
    assert page.open == []
    for tag, attributes in page.elements:
        for name in ("src", "href"):
            target = attributes.get(name) or "#"
            assert target.startswith(("data:", "#")), (tag, target[:60])
    assert "@import" not in text
    assert "url(" not in text
    # The hostile file name is text: it opens no element, in the tables nor in the script's data.
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "rows-data"}, {}]


def test_many_systems_stand_below_each_other(evaluation: Evaluation) -> None:
    names = [f"system {number} & more" for number in range(7)]
    rows = [row for row in evaluation.rows if row.system == NOISY]
    rows += [
        replace(row, system=name, warnings=[])
        for name in names
        for row in evaluation.rows
        if row.system != NOISY
    ]
    summary = summarise_rows(rows)
    text = to_html(evaluation.manifest, summary, rows, {}, clips=0, best_clips=0)
    assert "<h1>Evaluation of 7 systems</h1>" in text
    assert not Page(text).unbalanced
    table = text[text.index('id="summary"') : text.index('id="harm"')]
    assert table.count("<tr>") == 1 + 1 + len(names)
    mean = f"{summary.scores[names[0]]['si_sdr'].mean:.2f}"
    assert table.count(f"<b>{mean}</b>") == len(names)
    # As there are more of them than colours, each is named in every plot.
    assert text.count(">system 3 &amp; more</text>") == len(summary.metrics)


def test_sound_on_the_page_is_the_sound_of_the_file(evaluation: Evaluation) -> None:
    row = next(row for row in evaluation.rows if row.file == "f1" and row.system == "my system")
    clips = make_clips([("clean", Path(row.reference)), ("out", Path(row.estimate))])
    for clip, path in zip(clips, (row.reference, row.estimate), strict=True):
        head, body = clip.audio.split(",", 1)
        assert head == "data:audio/flac;base64"
        sound, rate = soundfile.read(io.BytesIO(base64.b64decode(body)))
        original, _ = soundfile.read(path)
        assert rate == RATE
        np.testing.assert_allclose(sound, np.clip(original, -1, 1), atol=1 / 32768)
    text = evaluation.paths.html.read_text()
    assert text.count("<audio") == 4 * (2 + 2)  # worst 2, best 2; clean, noisy, system, removed


def test_what_was_removed_can_be_heard(evaluation: Evaluation, tmp_path: Path) -> None:
    first, second = np.full(RATE, 0.25), np.full(RATE, 0.0625)
    paths = [(name, tmp_path / f"{name}.wav") for name in ("noisy", "out")]
    for (_, path), audio in zip(paths, (first, second), strict=True):
        write(path, audio)
    clips = make_clips(paths, ("removed by out", "noisy", "out"))
    assert [clip.role for clip in clips] == ["noisy", "out", "removed by out"]
    content = base64.b64decode(clips[2].audio.partition(",")[2])
    np.testing.assert_allclose(soundfile.read(io.BytesIO(content))[0], first - second)
    write(paths[1][1], second[:-1])
    assert len(make_clips(paths, ("removed by out", "noisy", "out"))) == 2
    assert "removed by " in evaluation.paths.html.read_text()


def test_long_and_odd_files_make_clips(tmp_path: Path) -> None:
    long = np.tile(speech(5.0), 4)
    write(tmp_path / "long.wav", long)
    write(tmp_path / "stereo.wav", np.stack([long[:8000]] * 2), 8000)
    write(tmp_path / "one.wav", long[:1])
    (tmp_path / "bad.wav").write_text("nothing")
    clips = {c.role: c for c in make_clips([(p.stem, p) for p in sorted(tmp_path.iterdir())])}
    assert set(clips) == {"long", "stereo", "one"}
    assert clips["long"].cut
    assert clips["long"].seconds == MAX_SECONDS
    assert clips["stereo"].top_khz == 4


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 17), (1.02, 4.64), (0.8999, 0.9001), (-1e-3, 1e3)])
def test_ticks_are_round_and_within(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert 3 <= len(ticks) <= 8
    assert low - 1e-9 <= ticks[0] <= ticks[-1] <= high + 1e-9
    steps = np.diff(ticks)
    assert np.allclose(steps, steps[0])


CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
PROBE = """<script>
addEventListener("load", async () => {
  const sounds = [...document.querySelectorAll("audio")];
  await Promise.all(sounds.map((a) => a.readyState >= 1 || new Promise((done) => {
    a.addEventListener("loadedmetadata", done); a.addEventListener("error", done);
  })));
  const width = document.documentElement;
  document.body.innerHTML = `<pre>${JSON.stringify({
    overflow: width.scrollWidth - width.clientWidth,
    seconds: sounds.map((a) => a.duration),
    images: [...document.images].every((image) => image.naturalWidth > 100),
    rows: document.querySelectorAll("#rows tbody tr").length,
    shown: document.getElementById("shown")?.textContent,
  })}</pre>`;
});
</script>"""


def browse(page: Path, width: int, profile: Path) -> tuple[str, list[str]]:
    """What the page has become, and what it said on the console."""
    result = subprocess.run(
        [
            *(
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--dump-dom",
                "--enable-logging=stderr",
            ),
            *(f"--window-size={width},900", f"--user-data-dir={profile}", "--virtual-time-budget=8000"),
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    return result.stdout, [line for line in result.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("width", [1280, 400])
def test_opens_in_chromium_without_console_errors(evaluation: Evaluation, tmp_path: Path, width: int) -> None:
    page = tmp_path / "page.html"
    page.write_text(evaluation.paths.html.read_text().replace("</body>", PROBE + "</body>"))
    dom, console = browse(page, width, tmp_path / "profile")
    assert console == []
    found = json.loads(re.search(r"<pre>(.*)</pre>", dom, re.DOTALL).group(1))
    assert found["overflow"] <= 0  # nothing sticks out of the page, at 400 pixels neither
    assert found["images"]
    assert found["rows"] == 2 * FILES
    assert found["shown"] == f"{2 * FILES} of {2 * FILES} rows"
    assert found["seconds"] == pytest.approx([1.0] * 16, abs=0.05)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_console_errors_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><script>nothing.here()</script>")
    _, console = browse(page, 800, tmp_path / "profile")
    assert any("nothing is not defined" in line for line in console)


def test_all_systems_can_be_heard_side_by_side(tmp_path: Path) -> None:
    """With several systems the page has files from bad to good, each with the sound of every one of them."""
    folders = []
    for index in range(5):
        clean = speech(1.0, seed=index)
        write(tmp_path / "clean" / f"f{index}.wav", clean)
        write(tmp_path / "noisy" / f"f{index}.wav", noisy(clean, 3 * index))
        for gain in range(4):
            folders.append(tmp_path / f"system{gain}")
            write(folders[-1] / f"f{index}.wav", noisy(clean, 3 * index + gain))
    evaluated = evaluate(
        Request(
            output=tmp_path / "out",
            clean=tmp_path / "clean",
            noisy=tmp_path / "noisy",
            enhanced=tuple(dict.fromkeys(folders)),
            metrics=("stoi", "si_sdr"),
            workers=0,
            clips=1,
        )
    )
    text = evaluated.paths.html.read_text()
    section = re.search(r'<section id="compare">.*?</section>', text, re.DOTALL)
    assert section is not None
    assert section[0].count("<article") == 1  # no more than --clips
    assert section[0].count("<audio") == 6  # clean, noisy, four systems
    # Five rows of the summary, one cell for each metric: no gain has a column of its own.
    summary = re.search(r'<section id="summary">.*?</table>', text, re.DOTALL)
    assert summary is not None
    assert summary[0].count("<th") == 1 + 3 + 5  # thead, its cells, the systems
