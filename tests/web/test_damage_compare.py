"""The damage tab and the compare tab, used as a person would."""

import csv

import pytest
import soundfile
from scipy.stats import binom

from audio_enh.eval.arrays import evaluate_arrays
from tests.web.conftest import SAMPLES, Server, give_file, open_page


def test_damage_is_heard_repaired_and_scored(page):
    page.get_by_role("tab", name="Damage").click()
    page.get_by_role("button", name="waves (clean)").click()
    page.locator("#damage-source").get_by_text("waves").wait_for()
    page.get_by_role("button", name="Damage and repair").click()
    player = page.locator("#damage-result enh-player")
    player.wait_for()
    assert player.get_by_role("radio").evaluate_all("inputs => inputs.length") == 3
    assert "background_noise(snr=" in page.locator("#damage-status").inner_text()
    clean, rate = soundfile.read(SAMPLES / "clean" / "waves.flac")
    scores = {}
    for kind in ("damaged", "repaired"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Download the {kind} recording").click()
        audio, _ = soundfile.read(download.value.path())
        scores[kind] = evaluate_arrays(clean, audio, rate, ("pesq_wb",))["pesq_wb"]
    assert scores["repaired"] > scores["damaged"] + 0.1


def answer(page, number, total, letter):
    page.locator("#compare-status").get_by_text(f"Trial {number} of {total}").wait_for()
    page.get_by_role("button", name=f"X is {letter}").click()


def test_a_listening_test_of_a_model_against_the_recording_itself(page, tmp_path):
    page.get_by_role("tab", name="Compare").click()
    give_file(page, "#compare-source", SAMPLES / "noisy" / "dog.flac")
    page.get_by_label("Second model").click()
    page.get_by_role("option", name="(the recording itself)").click()
    page.get_by_label("Your name").fill("Ada")
    page.get_by_role("button", name="Start the test", exact=True).click()
    rightly = []
    for number in range(1, 6):
        page.locator("#compare-status").get_by_text(f"Trial {number} of 5").wait_for()
        player = page.locator(f"#compare-player enh-player[base*='trial-{number}/']")
        page.wait_for_function(
            "n => document.querySelector('#compare-player enh-player').base.includes(n)",
            arg=f"trial-{number}/",
        )
        # Hears which of the two X is, as a person would: by its sound. Labels and names tell nothing.
        x = player.evaluate(
            """async (player) => {
              const { data } = await player.fetch(0);
              const rows = player.config.tracks.length * player.config.channels;
              const track = (n) => data.filter((_, at) => at % rows === n * player.config.channels);
              const [a, b, x] = [track(0), track(1), track(2)];
              return x.every((sample, at) => sample === a[at]) ? "A" : "B";
            }"""
        )
        letter = x if number != 3 else {"A": "B", "B": "A"}[x]
        rightly.append(letter == x)
        assert "causal" not in player.get_attribute("config")
        page.get_by_role("button", name=f"X is {letter}").click()
    status = page.locator("#compare-status")
    status.get_by_text("4 of 5 right").wait_for()
    assert f"{binom.sf(3, 5, 0.5):.3g}" in status.inner_text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the answers as CSV").click()
    assert download.value.suggested_filename == "abx-Ada.csv"
    rows = list(csv.DictReader(download.value.path().read_text().splitlines()))
    assert [row["correct"] == "1" for row in rows] == rightly
    assert {row["x"] for row in rows} <= {"causal-unet-48k", "(the recording itself)"}
    assert {row["file"] for row in rows} == {"dog.flac"}


@pytest.mark.slow
def test_pairs_of_a_folder_and_answers_that_are_kept(browser, tmp_path):
    for system in ("noisy", "clean"):
        (tmp_path / "pairs" / system).mkdir(parents=True)
        for name in ("rain", "dog"):
            source = SAMPLES / system / f"{name}.flac"
            (tmp_path / "pairs" / system / source.name).write_bytes(source.read_bytes())
    answers = tmp_path / "answers"
    running = Server(
        tmp_path, "--pairs", str(tmp_path / "pairs"), "--answers", str(answers), "-m", "causal-unet-16k"
    )
    try:
        with open_page(browser, running) as page:
            page.get_by_role("tab", name="Compare").click()
            page.get_by_role("button", name="Start the test of these pairs").click()
            answer(page, 1, 10, "A")
            answer(page, 2, 10, "B")
            page.locator("#compare-status").get_by_text("Trial 3 of 10").wait_for()
            (table,) = answers.glob("*.csv")
            assert len(list(csv.DictReader(table.open(newline="")))) == 2
            page.get_by_role("button", name="End the test here").click()
            page.locator("#compare-status").get_by_text("of 2 right").wait_for()
    finally:
        assert running.stop() == 143
