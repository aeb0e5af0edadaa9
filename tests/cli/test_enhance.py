"""`audio-enh enhance`: what comes out of files, where it goes, and what is said about mistakes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr

import audio_enh
from audio_enh.inference import files
from tests.cli.conftest import Result, sound


def write(path: Path, audio: np.ndarray | None = None, rate: int = 16000, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, (sound() if audio is None else audio).T, rate, subtype=subtype)
    return path


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32", always_2d=True)[0].T


def names(folder: Path) -> list[str]:
    """Every file below ``folder``, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refused(result: Result, *words: str) -> None:
    """One line on stderr with these words, code 2, nothing on stdout."""
    assert result.code == 2
    assert result.out == ""
    assert len(result.lines) == 1, result.err
    assert result.err.startswith("error: ")
    for word in words:
        assert word in result.err


class TestSound:
    """A file comes back as the kind of file it was, its sound in place."""

    @pytest.mark.parametrize(
        ("rate", "channels", "subtype"),
        [
            (8000, 1, "PCM_16"),
            (11025, 1, "PCM_U8"),
            (16000, 2, "PCM_24"),
            (44100, 2, "FLOAT"),
            (48000, 8, "PCM_16"),
            (96000, 1, "PCM_32"),
        ],
    )
    def test_rate_channels_length_format_and_place(
        self, cli, tmp_path: Path, rate: int, channels: int, subtype: str
    ) -> None:
        audio = sound(rate, 0.7, channels)
        source = write(tmp_path / "in.wav", audio, rate, subtype)
        assert cli("enhance", source, "-o", tmp_path / "out.wav").code == 0
        info = soundfile.info(tmp_path / "out.wav")
        assert (info.samplerate, info.channels, info.subtype) == (rate, channels, subtype)
        out = read(tmp_path / "out.wav")
        assert out.shape == audio.shape
        for before, after in zip(audio, out, strict=True):
            correlation = scipy.signal.correlate(after, before)
            # An untrained model is no pure identity: within one sample of its own rate (test_enhancer.py is
            # exact).
            assert abs(np.argmax(correlation) - (len(before) - 1)) <= rate / 16000
            assert np.corrcoef(before, after)[0, 1] > 0.97

    def test_a_file_and_an_array_give_the_same(self, cli, checkpoint: Path, tmp_path: Path) -> None:
        audio = sound(44100, 2.3, 2)
        write(tmp_path / "in.wav", audio, 44100, "FLOAT")
        cli("enhance", tmp_path / "in.wav", "-o", tmp_path / "out.wav", "--max-attenuation", "20")
        enhancer = audio_enh.load(checkpoint, "cpu")
        expected = enhancer.enhance(audio, 44100, max_attenuation=20.0)
        np.testing.assert_array_equal(read(tmp_path / "out.wav"), expected)

    @pytest.mark.parametrize("samples", [0, 1, 2, 159])
    @pytest.mark.parametrize("rate", [8000, 44100])
    def test_hardly_any_samples(self, cli, tmp_path: Path, samples: int, rate: int) -> None:
        write(tmp_path / "in.wav", np.full((2, samples), 0.25, np.float32), rate)
        assert cli("enhance", tmp_path / "in.wav", "-o", tmp_path / "out.wav").code == 0
        assert read(tmp_path / "out.wav").shape == (2, samples)

    def test_digital_silence_stays(self, cli, tmp_path: Path) -> None:
        write(tmp_path / "in.wav", np.zeros((1, 40000), np.float32), 44100)
        assert cli("enhance", tmp_path / "in.wav", "-o", tmp_path / "out.wav").code == 0
        np.testing.assert_array_equal(read(tmp_path / "out.wav"), np.zeros((1, 40000)))

    def test_strength_0_is_the_file_itself(self, cli, tmp_path: Path) -> None:
        source = write(tmp_path / "in.flac", sound(44100, 0.5, 2), 44100)
        assert cli("enhance", source, "-o", tmp_path / "out.flac", "--strength", "0").code == 0
        np.testing.assert_array_equal(read(tmp_path / "out.flac"), read(source))

    def test_overload_and_offset(self, cli, tmp_path: Path) -> None:
        audio = np.clip(5 * sound() + 0.2, -1, 1)
        write(tmp_path / "in.wav", audio, 16000, "FLOAT")
        assert cli("enhance", tmp_path / "in.wav", "-o", tmp_path / "out.wav").code == 0
        assert np.isfinite(read(tmp_path / "out.wav")).all()

    def test_clipped_samples_are_told(self, cli, tmp_path: Path) -> None:
        write(tmp_path / "in.wav", 8 * sound(), 16000, "FLOAT")
        result = cli(
            "enhance", tmp_path / "in.wav", "-o", tmp_path / "out.flac", "--report", tmp_path / "r.json"
        )
        assert result.code == 0
        assert "beyond full scale were clipped" in result.err
        clipped = json.loads((tmp_path / "r.json").read_text())["files"][0]["clipped"]
        assert clipped > 0
        assert np.count_nonzero(np.abs(read(tmp_path / "out.flac")) > 0.9999) == clipped


class TestPlaces:
    """Which file goes where."""

    def test_beside_the_input_by_default(self, cli, tmp_path: Path) -> None:
        write(tmp_path / "talk.wav")
        assert cli("enhance", tmp_path / "talk.wav").code == 0
        assert names(tmp_path) == ["talk.wav", "talk_enhanced.wav"]

    def test_a_folder_beside_the_folder_by_default(self, cli, tmp_path: Path, monkeypatch) -> None:
        write(tmp_path / "talks" / "a.wav")
        monkeypatch.chdir(tmp_path / "talks")
        assert cli("enhance", ".").code == 0
        assert names(tmp_path / "talks_enhanced") == ["a.wav", "enhance_report.json"]

    @pytest.mark.parametrize("output", ["new", "new/", "there"])
    def test_one_file_into_a_folder(self, cli, tmp_path: Path, output: str) -> None:
        write(tmp_path / "talk.wav")
        (tmp_path / "there").mkdir()
        assert cli("enhance", tmp_path / "talk.wav", "-o", f"{tmp_path}/{output}").code == 0
        assert names(tmp_path / output) == ["talk.wav"]

    def test_the_extension_decides_the_format(self, cli, tmp_path: Path) -> None:
        write(tmp_path / "talk.wav")
        assert cli("enhance", tmp_path / "talk.wav", "-o", tmp_path / "new" / "talk.flac").code == 0
        assert soundfile.info(tmp_path / "new" / "talk.flac").format == "FLAC"

    def test_a_tree_is_mirrored(self, cli, tmp_path: Path) -> None:
        for name in ("a.wav", "x/a.wav", "x/y/b.flac"):
            write(tmp_path / "in" / name)
        (tmp_path / "in" / "notes.txt").write_text("no audio")
        assert cli("enhance", tmp_path / "in", "-o", tmp_path / "out").code == 0
        assert names(tmp_path / "out") == ["a.wav", "enhance_report.json", "x/a.wav", "x/y/b.flac"]

    def test_an_output_folder_inside_is_not_an_input(self, cli, tmp_path: Path) -> None:
        write(tmp_path / "a.wav")
        for _ in range(2):
            assert cli("enhance", tmp_path, "-o", tmp_path / "clean", "--overwrite").code == 0
        assert names(tmp_path) == ["a.wav", "clean/a.wav", "clean/enhance_report.json"]

    def test_a_glob_run_twice_leaves_its_outputs_alone(self, cli, tmp_path: Path) -> None:
        write(tmp_path / "a.wav")
        write(tmp_path / "b.wav")
        for _ in range(2):
            assert cli("enhance", tmp_path / "*.wav").code == 0
        assert names(tmp_path) == ["a.wav", "a_enhanced.wav", "b.wav", "b_enhanced.wav"]

    def test_a_dry_run_only_tells(self, cli, tmp_path: Path) -> None:
        for name in ("a.wav", "b.wav"):
            write(tmp_path / "in" / name)
        shutil.copy(write(tmp_path / "out" / "b.wav"), tmp_path / "kept.wav")
        result = cli("enhance", tmp_path / "in", "-o", tmp_path / "out", "--dry-run")
        assert result.code == 0
        assert result.out.splitlines() == [
            f"{tmp_path}/in/a.wav -> {tmp_path}/out/a.wav",
            f"{tmp_path}/in/b.wav -> {tmp_path}/out/b.wav (there already: skipped)",
        ]
        assert names(tmp_path / "out") == ["b.wav"]


class TestBatch:
    """Many files: what is done stays done, what fails fails alone, and all of it is told."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write(tmp_path / "in" / "a.wav", sound(48000, 0.5, 2), 48000)
        write(tmp_path / "in" / "c.wav")
        (tmp_path / "in" / "b.wav").write_text("this is no audio")
        return tmp_path / "in"

    def test_one_bad_file_does_not_stop_the_others(self, cli, folder: Path, tmp_path: Path) -> None:
        result = cli("enhance", folder, "-o", tmp_path / "out")
        assert result.code == 2
        errors = [line for line in result.lines if line.startswith("error: ")]
        assert len(errors) == 1
        assert "b.wav" in errors[0]
        assert result.lines[-1].startswith("2 enhanced, 0 skipped, 1 failed; 1.5 s of audio in ")
        assert names(tmp_path / "out") == ["a.wav", "c.wav", "enhance_report.json"]

    def test_the_report(self, cli, folder: Path, checkpoint: Path, tmp_path: Path) -> None:
        cli("enhance", folder, "-o", tmp_path / "out", "--strength", "0.9", "--device", "cpu")
        report = json.loads((tmp_path / "out" / "enhance_report.json").read_text())
        assert report["audio_enh"] == audio_enh.__version__
        assert report["settings"]["model"] == str(checkpoint)
        assert len(report["settings"]["weights_sha256"]) == 64
        assert (report["settings"]["strength"], report["settings"]["device"]) == (0.9, "cpu")
        counts = {k: report["summary"][k] for k in ("enhanced", "skipped", "failed", "not_started")}
        assert counts == {"enhanced": 2, "skipped": 0, "failed": 1, "not_started": 0}
        first, second, third = report["files"]
        assert first["input"] == str(folder / "a.wav")
        assert first["output"] == str(tmp_path / "out" / "a.wav")
        assert (first["status"], first["error"]) == ("enhanced", None)
        assert (first["sample_rate"], first["channels"], first["frames"]) == (48000, 2, 24000)
        assert first["seconds"] == 0.5
        assert first["real_time_factor"] == pytest.approx(first["elapsed"] / 0.5)
        assert second["status"] == "failed"
        assert "b.wav" in second["error"]
        assert third["status"] == "enhanced"

    def test_going_on_where_it_stopped(self, cli, folder: Path, tmp_path: Path) -> None:
        cli("enhance", folder, "-o", tmp_path / "out")
        done = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.wav")}
        write(folder / "b.wav")
        result = cli("enhance", folder, "-o", tmp_path / "out")
        assert result.code == 0
        assert "1 enhanced, 2 skipped, 0 failed" in result.lines[-1]
        assert {path: path.stat().st_mtime_ns for path in done} == done
        rows = json.loads((tmp_path / "out" / "enhance_report.json").read_text())["files"]
        skipped = [row for row in rows if row["status"] == "skipped"]
        assert [row["frames"] for row in skipped] == [24000, 16000]  # known from the first run's report

    def test_overwriting_does_all_again(self, cli, folder: Path, tmp_path: Path) -> None:
        cli("enhance", folder, "-o", tmp_path / "out")
        (tmp_path / "out" / "a.wav").write_text("something else")
        result = cli("enhance", folder, "-o", tmp_path / "out", "--overwrite")
        assert "2 enhanced, 0 skipped, 1 failed" in result.lines[-1]
        assert soundfile.info(tmp_path / "out" / "a.wav").frames == 24000

    def test_quiet_says_only_errors(self, cli, folder: Path, tmp_path: Path) -> None:
        result = cli("enhance", folder, "-o", tmp_path / "out", "--quiet")
        assert result.code == 2
        assert [line[:7] for line in result.lines] == ["error: "]

    def test_a_foreign_report_is_replaced_not_read(self, cli, folder: Path, tmp_path: Path) -> None:
        for text in ("no json", '{"files": 3}', "[]", '{"files": [{"input": 1}]}'):
            (tmp_path / "r.json").write_text(text)
            cli(
                "enhance",
                folder / "a.wav",
                "-o",
                tmp_path / "a.wav",
                "--overwrite",
                "--report",
                tmp_path / "r.json",
            )
            assert len(json.loads((tmp_path / "r.json").read_text())["files"]) == 1

    def test_what_was_done_before_an_interruption_is_reported(
        self, cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = files.AudioReader

        def stop_at_c(source, **options):
            if source.name == "c.wav":
                raise KeyboardInterrupt
            return original(source, **options)

        monkeypatch.setattr(files, "AudioReader", stop_at_c)
        result = cli("enhance", folder, "-o", tmp_path / "out")
        assert result.code == 130
        assert result.lines[-1] == "stopped by Ctrl-C"
        report = json.loads((tmp_path / "out" / "enhance_report.json").read_text())
        assert [row["status"] for row in report["files"]] == ["enhanced", "failed"]
        assert report["summary"]["not_started"] == 1


class TestMistakes:
    """One line that says what is wrong, code 2, and nothing is lost or left behind."""

    @pytest.fixture(autouse=True)
    def _no_litter(self, tmp_path: Path):
        yield
        assert not [name for name in names(tmp_path) if ".part" in name]

    def test_a_missing_file(self, cli, tmp_path: Path) -> None:
        refused(cli("enhance", tmp_path / "nothing.wav"), "nothing.wav", "no such file")

    def test_a_folder_without_audio(self, cli, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        refused(cli("enhance", tmp_path / "in"), "no audio files")

    def test_a_glob_without_a_match(self, cli, tmp_path: Path) -> None:
        refused(cli("enhance", tmp_path / "*.wav"), "no audio file matches")

    @pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\x24\0\0\0WAVEfmt ", os.urandom(5000)])
    def test_an_unreadable_file(self, cli, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "in.wav").write_bytes(content)
        refused(cli("enhance", tmp_path / "in.wav", "-o", tmp_path / "out.wav"), "in.wav")
        assert names(tmp_path) == ["in.wav"]

    @pytest.mark.parametrize("suffix", ["wav", "flac"])
    def test_a_truncated_file(self, cli, tmp_path: Path, suffix: str) -> None:
        source = write(tmp_path / f"in.{suffix}", sound(seconds=3))
        data = source.read_bytes()
        source.write_bytes(data[: len(data) * 2 // 3])
        target = tmp_path / f"out.{suffix}"
        refused(cli("enhance", source, "-o", target), str(source))
        assert names(tmp_path) == [source.name]
        result = cli("enhance", source, "-o", target, "--allow-truncated")
        assert result.code == 0
        assert "warning: " in result.err
        assert 1.5 < soundfile.info(target).duration < 2.1

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_not_a_number(self, cli, tmp_path: Path, value: float) -> None:
        audio = sound(seconds=2)
        audio[0, 20000] = value
        write(tmp_path / "in.wav", audio, 16000, "FLOAT")
        result = cli("enhance", tmp_path / "in.wav", "-o", tmp_path / "out.wav")
        refused(result, f"{tmp_path}/in.wav: ", "NaN or infinite", "1.250 s")
        assert names(tmp_path) == ["in.wav"]

    def test_the_output_is_there(self, cli, tmp_path: Path) -> None:
        write(tmp_path / "in.wav")
        (tmp_path / "out.wav").write_text("precious")
        refused(cli("enhance", tmp_path / "in.wav", "-o", tmp_path / "out.wav"), "--overwrite")
        assert (tmp_path / "out.wav").read_text() == "precious"

    @pytest.mark.parametrize("way", ["same", "relative", "link", "hard link", "folder"])
    def test_the_output_is_the_input(self, cli, tmp_path: Path, monkeypatch, way: str) -> None:
        source = write(tmp_path / "in" / "a.wav")
        before = source.read_bytes()
        monkeypatch.chdir(tmp_path / "in")
        output = {"same": source, "relative": "../in/./a.wav", "folder": "../in"}.get(way, "b.wav")
        if way == "link":
            Path("b.wav").symlink_to("a.wav")
        if way == "hard link":
            Path("b.wav").hardlink_to("a.wav")
        refused(cli("enhance", source, "-o", output, "--overwrite"), "is the input itself")
        assert source.read_bytes() == before

    def test_the_output_folder_is_the_input_folder(self, cli, tmp_path: Path) -> None:
        write(tmp_path / "a.wav")
        refused(cli("enhance", tmp_path, "-o", f"{tmp_path}/", "--overwrite"), "is the input folder")

    def test_many_inputs_for_one_file_name(self, cli, tmp_path: Path) -> None:
        write(tmp_path / "a.wav")
        write(tmp_path / "b.wav")
        refused(
            cli("enhance", tmp_path / "a.wav", tmp_path / "b.wav", "-o", tmp_path / "c.wav"), "output folder"
        )
        (tmp_path / "text").write_text("x")
        refused(cli("enhance", tmp_path / "a.wav", "-o", tmp_path / "text"), "is a file")

    def test_two_inputs_of_one_name(self, cli, tmp_path: Path) -> None:
        write(tmp_path / "x" / "a.wav")
        write(tmp_path / "y" / "a.wav")
        refused(
            cli("enhance", tmp_path / "x" / "a.wav", tmp_path / "y" / "a.wav", "-o", tmp_path / "out"),
            "would both become",
        )

    def test_an_unknown_extension(self, cli, tmp_path: Path) -> None:
        write(tmp_path / "in.wav")
        refused(cli("enhance", tmp_path / "in.wav", "-o", tmp_path / "out.xyz"), ".xyz")

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write")
    def test_a_read_only_folder(self, cli, tmp_path: Path) -> None:
        write(tmp_path / "in.wav")
        refused(cli("enhance", tmp_path / "in.wav", "-o", "/proc/out.wav"), "/proc")

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_without_permission(self, cli, tmp_path: Path) -> None:
        write(tmp_path / "in.wav")
        (tmp_path / "out").mkdir(mode=0o555)
        refused(cli("enhance", tmp_path / "in.wav", "-o", tmp_path / "out"), "no permission")

    def test_an_unknown_model(self, cli, tmp_path: Path) -> None:
        write(tmp_path / "in.wav")
        refused(cli("enhance", tmp_path / "in.wav", "--model", "causal-unt"), "no checkpoint 'causal-unt'")
        assert names(tmp_path) == ["in.wav"]

    def test_a_corrupt_checkpoint(self, cli, checkpoint: Path, tmp_path: Path) -> None:
        write(tmp_path / "in.wav")
        shutil.copytree(checkpoint, tmp_path / "model")
        weights = tmp_path / "model" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-10])
        refused(
            cli("enhance", tmp_path / "in.wav", "--model", tmp_path / "model"), "model.safetensors", "damaged"
        )

    @pytest.mark.parametrize("device", ["cuda:99", "tpu"])
    def test_a_device_that_is_not_there(self, cli, tmp_path: Path, device: str) -> None:
        write(tmp_path / "in.wav")
        refused(cli("enhance", tmp_path / "in.wav", "--device", device), device)

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("--strength", "1.5"),
            ("--strength", "-1"),
            ("--strength", "nan"),
            ("--strength", "much"),
            ("--max-attenuation", "-3"),
            ("--max-attenuation", "nan"),
            ("--threads", "0"),
            ("--seed", "x"),
            ("--report", "out.wav"),
            ("--stregth", "1"),
        ],
    )
    def test_options_out_of_range(self, cli, tmp_path: Path, option: str, value: str) -> None:
        write(tmp_path / "in.wav")
        refused(cli("enhance", tmp_path / "in.wav", f"{option}={value}"), option)
        assert names(tmp_path) == ["in.wav"]

    def test_no_input(self, cli) -> None:
        refused(cli("enhance"), "INPUT")

    def test_an_unknown_command(self, cli) -> None:
        refused(cli("enhanse"), "enhanse")

    def test_pipes_go_with_one_file(self, cli, tmp_path: Path) -> None:
        write(tmp_path / "a.wav")
        write(tmp_path / "b.wav")
        refused(cli("enhance", "-", tmp_path / "a.wav"), "single input")
        refused(cli("enhance", tmp_path, "-o", "-"), "takes one file")
        refused(cli("enhance", "-", "-o", tmp_path), "needs a file name")

    def test_a_defect_is_told_in_one_line_with_the_way_to_see_more(
        self, cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*arguments, **options):
            raise ZeroDivisionError("division\nby zero")

        write(tmp_path / "in.wav")
        monkeypatch.setattr(files, "AudioReader", broken)
        refused(
            cli("enhance", tmp_path / "in.wav"), "ZeroDivisionError: division by zero", "AUDIO_ENH_DEBUG=1"
        )
        monkeypatch.setenv("AUDIO_ENH_DEBUG", "1")
        assert "Traceback" in cli("enhance", tmp_path / "in.wav").err

        monkeypatch.delenv("AUDIO_ENH_DEBUG")
        monkeypatch.setattr("audio_enh.cli.enhance._enhance", broken)
        result = cli("enhance", tmp_path / "in.wav")
        assert result.code == 1  # not the user's mistake
        assert len(result.lines) == 1
        monkeypatch.setenv("AUDIO_ENH_DEBUG", "1")
        with pytest.raises(ZeroDivisionError):
            cli("enhance", tmp_path / "in.wav")


def test_a_lost_treble_is_told_once(cli, tmp_path: Path) -> None:
    """Where a model hears up to 8 kHz, what a file has above it is gone, and that is said."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, 48000)).astype(np.float32)
    for name in ("a", "b"):
        write(tmp_path / "in" / f"{name}.wav", noise, 48000)
    again = ("-o", tmp_path / "out", "--overwrite")
    result = cli("enhance", tmp_path / "in", *again, "--model", "causal-unet-48k")
    assert result.code == 0
    assert "is lost" not in result.err
    result = cli("enhance", tmp_path / "in", *again)
    assert result.code == 0
    assert [line for line in result.lines if "sound above 8 kHz is lost" in line] == [
        "warning: sound above 8 kHz is lost, where this model hears nothing; causal-unet-48k keeps it, or --strength "
        "0.9 a tenth of the original"
    ]
    for options in (("--strength", "0.9"), ("--max-attenuation", "20")):
        result = cli("enhance", tmp_path / "in", *again, *options)
        assert "is lost" not in result.err
    narrow = soxr.resample(noise[:, :16000].T, 16000, 48000).T
    result = cli("enhance", write(tmp_path / "narrow.wav", narrow, 48000))
    assert "is lost" not in result.err
