"""The benchmark: systems in processes of their own, peers in environments of their own, costs beside scores."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from audio_enh.errors import CheckpointError, UserError
from audio_enh.eval.benchmark.environments import WORKER_REQUIREMENTS, InstallationFailed, prepare
from audio_enh.eval.benchmark.run import BenchmarkRequest, _pairs
from audio_enh.eval.benchmark.systems import PEERS, find_models, find_peers, read_adapter
from audio_enh.eval.pairing import Group
from audio_enh.eval.processing import LoadingFailed, process_set, target
from audio_enh.eval.runs import Run, System
from audio_enh.io.owned import MARK
from tests.eval.synthesis import RATE, noisy, speech, write

SCRIPT = Path(sys.executable).with_name("audio-enh")
FILES = 2

GOOD = """
PEER = {
    "source": "here", "licence": "CC0-1.0", "requirements": ["quieter==1.0"], "sample_rate": 48000,
    "latency_ms": 10.0, "parameters": 3,
    "variants": {"half": {"load": {"gain": 0.5}}, "late": {"load": {"gain": 1.0, "late": 480}, "delay": 480}},
}


def load(gain, late=0):
    import quieter
    import numpy

    print("on its standard output")  # is no answer
    return lambda audio: numpy.concatenate([numpy.zeros(late, "float32"), quieter.quieter(audio, gain)]), [__file__]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A set."""
    root = tmp_path_factory.mktemp("set")
    for index in range(FILES):
        clean = speech(1.5, seed=index)
        write(root / "clean" / f"f{index}.wav", clean)
        write(root / "noisy" / f"f{index}.wav", noisy(clean, 5 + 5 * index))
    (root / "metadata.csv").write_text(
        "file,snr_db\n" + "".join(f"f{i}.wav,{5 + 5 * i}\n" for i in range(FILES))
    )
    return root


@pytest.fixture(scope="module")
def offline(tmp_path_factory) -> dict[str, str]:
    """pip without network: a peer's package, and the worker's as links to those of this environment."""
    wheels = tmp_path_factory.mktemp("wheels")
    _wheel(wheels, "quieter", "1.0", {"quieter.py": "def quieter(audio, gain):\n    return gain * audio\n"})
    site = sysconfig.get_paths()["purelib"] + "\n"
    for name, version in (("soundfile", "0.13.99"), ("soxr", "1.99")):
        _wheel(wheels, name, version, {f"{name}_of_the_tests.pth": site})
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}


@pytest.fixture(scope="module")
def adapters(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("adapters")
    (place / "good.py").write_text(GOOD)
    (place / "gone.py").write_text(GOOD.replace("quieter==1.0", "no-such-package==1.0"))
    return place


def _wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    """A package as pip installs it, without building anything."""
    info = f"{name}-{version}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = io.StringIO()
    lines = csv.writer(record, lineterminator="\n")
    for path, text in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.writerow([path, f"sha256={digest}", len(text.encode())])
    lines.writerow([f"{info}/RECORD", "", ""])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**content, f"{info}/RECORD": record.getvalue()}.items():
            wheel.writestr(path, text)


def run(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        env={**os.environ, **environment},
    )


def local(path: Path, code: str, **facts: object) -> System:
    """A system that runs in this environment."""
    path.write_text(code)
    return System(path.stem, "peer", path, {}, **{"sample_rate": RATE, **facts})


def groups_of(folder: Path) -> list[Group]:
    return [
        Group(f"f{i}", {role: folder / role / f"f{i}.wav" for role in ("clean", "noisy")})
        for i in range(FILES)
    ]


def process(
    system: System, folder: Path, out: Path, told: list[str] | None = None, again: bool = False
) -> Run:
    def tell(done) -> None:
        if told is not None:
            told.append(done.file)

    return process_set(system, Path(sys.executable), {}, groups_of(folder), out, tell, again)


def test_models_and_peers_in_one_run(folder, checkpoint, adapters, offline, tmp_path):
    command = ["benchmark", folder, "-o", "report", "-m", checkpoint, "-m", f"{checkpoint}:live", "-j", 1]
    command += ["--peer", adapters / "good.py", "--peer", adapters / "gone.py:half"]
    command += ["--environments", "environments"]
    result = run(*command, cwd=tmp_path, **offline)
    assert result.returncode == 0, result.stderr
    report = tmp_path / "report"
    data = json.loads((report / "benchmark.json").read_text())
    systems = {system["name"]: system for system in data["systems"]}
    assert list(systems) == ["tiny", "tiny:live", "good:half", "good:late", "gone:half"]

    # Quality: gain and delay change no score of a copy (48 kHz and back takes the noise near 8 kHz away), and a
    # stream gives what files give.
    for name in ("good:half", "good:late"):
        assert systems[name]["gains"]["si_sdr"]["difference"] == pytest.approx(0.1, abs=0.2)
        assert systems[name]["lag_samples"] == [0, 0, 0]
    for metric in ("pesq_wb", "estoi", "si_sdr", "dnsmos_ovrl"):
        both = [systems[name]["scores"][metric]["mean"] for name in ("tiny", "tiny:live")]
        assert both[0] == pytest.approx(both[1], abs=1e-3)
    assert systems["tiny"]["harm"]["si_sdr"]["count"] == FILES
    # Cost.
    for name in ("tiny", "tiny:live", "good:half"):
        cost = systems[name]["cost"]
        assert 0 < cost["real_time_factor"] < 5
        assert cost["seconds_audio"] == pytest.approx(1.5 * FILES)
    assert (
        systems["good:half"]["cost"]["peak_memory_mb"] < systems["tiny"]["cost"]["peak_memory_mb"]
    )  # no torch
    assert systems["good:half"]["cost"]["weight_bytes"] == (adapters / "good.py").stat().st_size
    assert systems["good:half"]["packages"]["quieter"] == "1.0"
    # A peer that cannot be had is told with its reason.
    assert "no-such-package" in systems["gone:half"]["failure"]
    table = (report / "table.md").read_text()
    # The terminal gets one table, with the names whole at 80 columns too.
    for name in ("tiny:live", "good:half"):
        assert name in {line.split(maxsplit=1)[0] for line in result.stdout.splitlines() if line.strip()}
    assert "|" not in result.stdout
    assert "gone:half: cannot be installed" in result.stdout
    assert "| good:half |" in table
    assert "### Files made worse" in table
    assert "| worse in | PESQ-WB | ESTOI | SI-SDR | DNSMOS OVRL |" in table
    assert "- gone:half: cannot be installed: ERROR:" in table
    assert "### PESQ-WB ↑ by snr_db\n\n|  | 5 | 10 |" in table
    assert (report / "plot.png").read_bytes()[:4] == b"\x89PNG"
    assert (report / "report.html").exists()

    # Once more: nothing is enhanced or measured anew.
    made = {path: path.stat().st_mtime_ns for path in report.glob("enhanced/*/*.wav")}
    rows = (report / "rows.jsonl").read_bytes()
    again = run(*command, cwd=tmp_path, **offline)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in report.glob("enhanced/*/*.wav")} == made
    assert len(made) == 4 * FILES
    assert (report / "rows.jsonl").read_bytes() == rows
    assert json.loads((report / "benchmark.json").read_text())["systems"] == data["systems"]


@pytest.mark.slow
def test_an_environment_is_made_once_and_anew_for_other_versions(offline, tmp_path, monkeypatch):
    for name, value in offline.items():
        monkeypatch.setenv(name, value)
    # Requirements may be folders beside the adapter.
    _wheel(tmp_path, "beside", "2.0", {"beside.py": "HERE = 1\n"})
    wanted = ["./beside-2.0-py3-none-any.whl"]
    made = prepare("peer", wanted, (), tmp_path / "environments", tmp_path)
    assert made.packages["beside"] == "2.0"
    code = "import beside, sys; print(sys.prefix)"
    prefix = subprocess.run([made.python, "-c", code], capture_output=True, text=True, check=True).stdout
    assert Path(prefix.strip()).is_relative_to(tmp_path / "environments")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))  # it is not asked again
    assert prepare("peer", wanted, (), tmp_path / "environments", tmp_path) == made
    with pytest.raises(InstallationFailed, match="no-such-package"):
        prepare("peer", ["no-such-package"], (), tmp_path / "environments", tmp_path)
    assert not made.python.exists()


def test_only_one_file_of_so_many(folder, tmp_path):
    def files(**choice: int) -> list[str]:
        return [group.key for group in _pairs(BenchmarkRequest(folder, tmp_path, **choice))]

    assert FILES == 2
    assert files() == ["f0", "f1"]
    assert files(every=2) == files(every=9) == files(limit=1) == ["f0"]


def test_no_folder_is_removed_that_it_did_not_make(offline, tmp_path, monkeypatch):
    """`--environments DIR` took whatever lay in DIR/NAME for leftovers."""
    for name, value in offline.items():
        monkeypatch.setenv(name, value)
    thesis = tmp_path / "peer" / "thesis"
    thesis.mkdir(parents=True)
    (thesis / "chapter.txt").write_text("years of work")
    (tmp_path / "peer" / "link").symlink_to(thesis)
    made = prepare("peer", ["quieter==1.0"], (), tmp_path, tmp_path)
    with pytest.raises(InstallationFailed, match="no-such-package"):
        prepare("peer", ["no-such-package"], (), tmp_path, tmp_path)
    assert not made.python.exists()
    assert (tmp_path / "peer" / "link" / "chapter.txt").read_text() == "years of work"
    # What an installation was to make is there, made by others.
    place = next(path for path in (tmp_path / "peer").iterdir() if path.name not in ("thesis", "link"))
    (place / MARK).unlink()
    with pytest.raises(InstallationFailed, match="did not make it"):
        prepare("peer", ["no-such-package"], (), tmp_path, tmp_path)
    assert (place / "pyvenv.cfg").exists()


def test_a_package_with_another_sum_is_not_installed(offline, tmp_path, monkeypatch):
    for name, value in offline.items():
        monkeypatch.setenv(name, value)
    wheels = Path(offline["PIP_FIND_LINKS"])
    lines = [
        f"{wheel.name.split('-')[0]}=={wheel.name.split('-')[1]}"
        f" --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
        for wheel in sorted(wheels.glob("*.whl"))
    ]
    lock = tmp_path / "peer.txt"
    lock.write_text("".join(lines))
    made = prepare("peer", ["quieter==1.0"], (), tmp_path / "environments", tmp_path, lock)
    assert made.packages["quieter"] == "1.0"
    lock.write_text("".join(lines).replace("sha256:", "sha256:0000")[: -len("0000")])
    with pytest.raises(InstallationFailed):
        prepare("peer", ["quieter==1.0"], (), tmp_path / "environments", tmp_path, lock)
    lock.write_text("quieter==1.0\n")
    with pytest.raises(InstallationFailed):
        prepare("peer", ["quieter==1.0"], (), tmp_path / "environments", tmp_path, lock)


def test_every_package_of_every_peer_is_pinned_with_sums():
    for system in find_peers(None):
        assert system.lock is not None, system.name
        text = system.lock.read_text().replace("\\\n", " ")
        packages = {}
        for line in filter(None, text.splitlines()):
            pinned = re.match(r"([\w.-]+)==([\w.+-]+)( ;.*?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*$", line)
            assert pinned, line[:100]
            packages.setdefault(pinned[1].lower(), set()).add(pinned[2])
        for wanted in (*system.requirements, *system.without_dependencies, *WORKER_REQUIREMENTS):
            name, _, version = wanted.partition("==")
            assert name.lower() in packages, wanted
            assert not version or version in packages[name.lower()] or version.endswith("*"), wanted


def test_reports_of_others_are_not_written_over(folder, checkpoint, tmp_path):
    for spoil in ("report.html", "table.md", "enhanced/tiny/f0.wav"):
        report = tmp_path / spoil.replace("/", "-")
        path = report / spoil
        path.parent.mkdir(parents=True)
        path.write_text("mine")
        done = run("benchmark", folder, "-o", report, "-m", checkpoint, "--peer", "none", cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "--overwrite" in done.stderr
        assert path.read_text() == "mine"
        assert sum(each.is_file() for each in report.rglob("*")) == 1


def test_delay_and_rate_are_taken_out(folder, tmp_path):
    code = """
import numpy

def load():
    return lambda audio: numpy.concatenate([numpy.zeros(700, "float32"), audio]), []
"""
    system = local(tmp_path / "late.py", code, sample_rate=44100, delay=700)
    process(system, folder, tmp_path / "out")
    for group in groups_of(folder):
        before, _ = soundfile.read(group.paths["noisy"])
        after, rate = soundfile.read(target(tmp_path / "out", group.key))
        assert (rate, after.shape) == (RATE, before.shape)
        # Below the edge of the resampler's band.
        before, after = (soxr.resample(audio, RATE, RATE // 2, "VHQ")[200:-200] for audio in (before, after))
        assert np.sqrt(np.mean(np.square(after - before)) / np.mean(np.square(before))) < 1e-3


def test_a_run_goes_on_where_it_stopped(folder, tmp_path):
    code = "def load():\n    return lambda audio: 0.5 * audio, []\n"
    system = local(tmp_path / "half.py", code)
    out = tmp_path / "out"
    first = process(system, folder, out)
    # As an interruption in the last file leaves it.
    journal = out / "processed.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]) + lines[-1][:20])
    told: list[str] = []
    second = process(system, folder, out, told)
    assert told == [group.key for group in groups_of(folder)]
    assert second.files[:-1] == first.files[:-1]
    assert second.files[-1] != first.files[-1]
    # For the times alone nothing is written.
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.wav")}
    third = process(system, folder, out, again=True)
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.wav")} == times
    assert not set(third.files) & set(second.files)
    # No partial file is left.
    assert sorted(path.suffix for path in out.iterdir()) == ["", ".jsonl", ".txt", *[".wav"] * FILES]
    # An output that is gone, an input that has changed, another adapter.
    (out / "f0.wav").unlink()
    process(system, folder, out)
    assert (out / "f0.wav").exists()
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.wav")}
    process(local(tmp_path / "half.py", code.replace("0.5", "0.4")), folder, out)
    assert all((out / name).stat().st_mtime_ns != time for name, time in times.items())


def test_a_run_of_an_earlier_version_goes_on(folder, tmp_path):
    """Its worker and its journal had other contents, but what they say is as true."""
    system = local(tmp_path / "half.py", "def load():\n    return lambda audio: 0.5 * audio, []\n")
    first = process(system, folder, tmp_path / "out")
    journal = tmp_path / "out" / "processed.jsonl"
    head, *lines = [json.loads(line) for line in journal.read_text().splitlines()]
    head["worker"] = "281e3a4997c5a6a58a2ba850809aa8325f9441f121ff4ae08284d3d11dc99e9b"
    for line in lines:
        for new in ("seed", "device", "reason"):
            del line[new]
    journal.write_text("".join(json.dumps(line) + "\n" for line in (head, *lines)))
    assert process(system, folder, tmp_path / "out") == first


def test_failures_cost_their_file_only(folder, tmp_path):
    code = """
import os

def load():
    calls = []

    def enhance(audio):
        calls.append(0)
        {failure}
        return audio

    return enhance, []
"""
    # The first call is the warm-up.
    raising = local(
        tmp_path / "raising.py", code.format(failure='if len(calls) == 2: raise ValueError("no\\nway")')
    )
    result = process(raising, folder, tmp_path / "a")
    assert [each.error for each in result.files] == ["ValueError: no way", *[None] * (FILES - 1)]
    dying = local(tmp_path / "dying.py", code.format(failure="if len(calls) == 2: os._exit(3)"))
    result = process(dying, folder, tmp_path / "b")
    assert result.files[0].error == "its process ended with code 3"
    short = local(
        tmp_path / "short.py", "def load():\n    return lambda audio: audio[len(audio) - 16000:], []\n"
    )
    result = process(short, folder, tmp_path / "c")
    assert "gave 16000 samples for 24000" in result.files[0].error
    with pytest.raises(LoadingFailed, match="RuntimeError: no weights"):
        process(
            local(tmp_path / "d.py", 'def load():\n    raise RuntimeError("no weights")\n'),
            folder,
            tmp_path / "d",
        )


def test_adapters_that_come_with_it_say_what_they_are():
    systems = find_peers(None)
    assert {system.adapter for system in systems} == set(PEERS.glob("[!_]*.py"))
    assert len({system.folder for system in systems}) == len(systems)
    for system in systems:
        assert system.licence
        assert system.source
        assert any("==" in each for each in (*system.requirements, *system.without_dependencies))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", "no PEER"),
        ("PEER = {'requirements': []}", "sample_rate"),
        ("PEER = {'sample_rate': 16000}", "requirements"),
        ("PEER = {'requirements': [], 'sample_rate': 16000, 'colour': 1}", "colour"),
        ("PEER = {'requirements': [], 'sample_rate': open('x')}", "not as it should be"),
        ("PEER = (", "not as it should be"),
    ],
)
def test_an_adapter_that_says_nothing_of_use(content, message, tmp_path):
    path = tmp_path / "peer.py"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_adapter(path)


def test_names_of_models(checkpoint):
    shipped = {system.name: system for system in find_models(None, RATE)}
    assert {"causal-unet-16k", "causal-unet-16k:live", "sgmse-lite-16k:1"} <= set(shipped)
    assert shipped["sgmse-lite-16k:4"].load["steps"] == 4
    assert "steps" not in shipped["universe-lite-16k"].load  # makes none by itself
    assert shipped["causal-unet-16k"].latency_ms == 30
    assert [system.name for system in find_models([f"{checkpoint}:live"], RATE)] == ["tiny:live"]
    with pytest.raises(UserError, match="takes steps"):
        find_models([f"{checkpoint}:4"], RATE)
    with pytest.raises(UserError, match="live"):
        find_models(["sgmse-lite-16k:live"], RATE)
    with pytest.raises(CheckpointError, match="did you mean"):
        find_models(["causal-unet-16"], RATE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no folders clean and noisy"),
        ([".", "-m", "none", "--peer", "no-such"], "no peer 'no-such'"),
        ([".", "-m", "none", "--peer", "webrtc:loud"], "no variant 'loud'"),
        ([".", "-m", "causal-unet-16k", "-m", "causal-unet-16k", "--peer", "none"], "give each once"),
    ],
)
def test_mistakes_in_one_line(arguments, message, folder, tmp_path):
    where = [folder if argument == "." else argument for argument in arguments]
    result = run("benchmark", *where, "-o", tmp_path / "out", cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_scores_of_other_settings_are_refused_before_the_long_part(folder, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"format": 0}\n')
    result = run("benchmark", folder, "-o", tmp_path, "--peer", "none", cwd=tmp_path)
    assert result.returncode == 2
    assert "--overwrite" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_folder_of_sets_names_them(folder, tmp_path):
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "one").symlink_to(folder)
    result = run("benchmark", "sets", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (
        2,
        "error: sets has no folders clean and noisy; sets are sets/one\n",
    )


@pytest.mark.slow
def test_a_peer_from_the_index(folder, tmp_path):
    """Needs the network."""
    system = find_peers(["rnnoise"])[0]
    made = prepare("rnnoise", system.requirements, (), tmp_path, system.adapter.parent)
    run = process_set(system, made.python, made.packages, groups_of(folder), tmp_path / "out")
    assert [each.error for each in run.files] == [None] * FILES
