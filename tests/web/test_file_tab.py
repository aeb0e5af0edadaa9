"""The file tab, used as a person would."""

import subprocess

import numpy as np
import pytest
import soundfile

from audio_enh.eval.arrays import evaluate_arrays
from tests.web.conftest import SAMPLES, give_file

# Records what the player plays, from its own output, sample by sample.
RECORD = """
async (player) => {
  player.open();
  const code = `registerProcessor("recorder", class extends AudioWorkletProcessor {
    process([input]) { if (input.length) this.port.postMessage(input[0].slice()); return true; }
  })`;
  await player.context.audioWorklet.addModule(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  const recorder = new AudioWorkletNode(player.context, "recorder");
  player.heard = [];
  recorder.port.onmessage = ({ data }) => player.heard.push(...data);
  player.output.connect(recorder);
  recorder.connect(player.context.destination);
}
"""


# Plays: first the original, after a second the enhanced one, after another what was removed.
LISTEN = """
async (player) => {
  const pass = async (frame) => { while (player.now() < frame) await new Promise((done) => setTimeout(done, 20)); };
  const choose = (number) => player.shadowRoot.querySelectorAll("input[type=radio]")[number].click();
  player.shadowRoot.querySelector("button").click();
  await pass(16000);
  choose(1);
  await pass(32000);
  choose(2);
  await pass(48000);
  player.shadowRoot.querySelector("button").click();
  return player.heard;
}
"""


def score(path, name="rain"):
    clean, rate = soundfile.read(SAMPLES / "clean" / f"{name}.flac")
    enhanced, enhanced_rate = soundfile.read(path)
    assert (enhanced_rate, enhanced.shape) == (rate, clean.shape)
    return evaluate_arrays(clean, enhanced, rate, ("pesq_wb",))["pesq_wb"]


def test_sample_is_one_click_away_and_its_result_is_better(page, tmp_path):
    page.get_by_role("button", name="rain").click()
    page.locator("enh-player").wait_for()
    noisy = score(SAMPLES / "noisy" / "rain.flac")
    for kind in ("WAV", "FLAC"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Download {kind}").click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        assert path.name == f"rain_enhanced.{kind.lower()}"
        assert score(path) > noisy + 0.8
    # The table says the same.
    table = page.locator(".enh-scores")
    table.wait_for()
    row = table.get_by_role("row").filter(has_text="PESQ-WB").inner_text().split()
    assert float(row[1]) == pytest.approx(noisy, abs=0.006)
    assert float(row[2]) == pytest.approx(score(path), abs=0.006)
    assert table.get_by_role("row").filter(has_text="DNSMOS OVRL").count() == 1


def test_the_player_plays_what_the_files_hold_and_switches_without_a_gap(page, tmp_path):
    page.get_by_role("button", name="rain").click()
    player = page.locator("enh-player")
    player.wait_for()
    player.get_by_label("Same loudness").uncheck()
    player.evaluate(RECORD)
    heard = np.array(player.evaluate(LISTEN), np.float32)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download WAV").click()
    enhanced, _ = soundfile.read(download.value.path(), dtype="float32")
    noisy, _ = soundfile.read(SAMPLES / "noisy" / "rain.flac", dtype="float32")
    # Every sample is that of one of the three, or of a fade between two, at one and the same place.
    first = heard[np.flatnonzero(heard)[0] :][:8000]
    offset = int(np.argmax(np.correlate(noisy[:16000], first, "valid")))
    heard = heard[np.flatnonzero(heard)[0] :]
    noisy, enhanced = noisy[offset:], enhanced[offset:]
    choices = np.stack([noisy, enhanced, noisy - enhanced])[:, : len(heard)]
    distance = np.abs(choices - heard)
    assert (heard > choices.min(axis=0) - 1e-3).all()
    assert (heard < choices.max(axis=0) + 1e-3).all()
    assert (distance.min(axis=0) > 1e-3).mean() < 0.02  # two fades of 10 ms
    # Each of the three was heard, in turn, and the fades are all that lies between.
    only = []
    for track in range(3):
        others = np.delete(distance, track, axis=0)
        only.append(np.flatnonzero((distance[track] < 1e-3) & (others > 1e-2).all(axis=0)))
    assert all(len(where) > 1000 for where in only)
    # (A sample of a fade may happen to be that of the third.)
    early, late = (np.array([np.quantile(where, share) for where in only]) for share in (0.01, 0.99))
    assert (late[:-1] < early[1:]).all()


def test_cancelled_while_it_works_and_ready_for_the_next(page, tmp_path):
    noisy, rate = soundfile.read(SAMPLES / "noisy" / "rain.flac")
    long = tmp_path / "long.flac"
    soundfile.write(long, np.tile(noisy, 120), rate)
    give_file(page, "#file-source", long)
    page.get_by_role("button", name="Enhance", exact=True).click()
    page.get_by_text("enhancing").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("alert").get_by_text("cancelled").wait_for(timeout=20_000)
    assert page.get_by_role("button", name="Enhance", exact=True).is_visible()
    assert page.locator("enh-player").count() == 0


def test_a_file_that_is_no_recording_is_told_in_a_line_and_the_server_goes_on(page, tmp_path):
    bad = tmp_path / "talk.wav"
    bad.write_bytes(b"RIFF\x10\0\0\0WAVEnothing of use here")
    give_file(page, "#file-source", bad)
    page.get_by_role("button", name="Enhance", exact=True).click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "talk.wav" in alert.inner_text()
    assert "/" not in alert.inner_text()
    page.get_by_role("button", name="dog").click()
    player = page.locator("enh-player")
    player.wait_for()
    # Another recording, while the first is still scored: it is that which is played, and no longer the first.
    first = player.evaluate("player => [player.base, player.config.frames]")
    page.get_by_role("button", name="rain").click()
    page.wait_for_function(
        "old => document.querySelector('enh-player')?.base > '' && "
        "document.querySelector('enh-player').base !== old",
        arg=first[0],
    )
    assert (
        player.evaluate("player => player.config.frames")
        == soundfile.info(SAMPLES / "noisy" / "rain.flac").frames
    )
    assert player.evaluate("async player => (await player.fetch(0)).length") == 32000


@pytest.mark.slow
def test_video_keeps_its_picture(page, tmp_path):
    film = tmp_path / "film.mp4"
    picture = "-f lavfi -i testsrc=s=64x48:r=10:d=3"
    make = f"ffmpeg -v error {picture} -i {SAMPLES}/noisy/rain.flac -shortest -c:a aac {film}"
    subprocess.run(make.split(), check=True)
    give_file(page, "#file-source", film)
    page.get_by_role("button", name="Enhance", exact=True).click()
    page.locator("enh-player").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download MP4").click()
    look = [
        "ffprobe",
        "-v",
        "error",
        "-show_entries",
        "stream=codec_type",
        "-of",
        "csv=p=0",
        download.value.path(),
    ]
    kinds = subprocess.run(look, check=True, capture_output=True, text=True).stdout.split()
    assert sorted(kinds) == ["audio", "video"]
