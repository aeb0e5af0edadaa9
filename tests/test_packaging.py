"""What an installed wheel holds, and the exact versions that `make` installs."""

import re
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from audio_enh.inference.catalog import DEFAULT_MODEL

ROOT = Path(__file__).parents[1]


def test_every_tracked_file_of_the_packages_is_in_the_wheel(tmp_path: Path) -> None:
    """Modules, recipes, checkpoints and samples: a wheel once lacked a package that a checkout had."""
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    names = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    for name in names:
        if not name.startswith(("tests/", "docs/")) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).symlink_to(ROOT / name)
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    folders = ("streaming", "eval", "recipes", "checkpoints")
    wanted = {
        f"audio_enh/{name}" if name.startswith(folders) else name
        for name in names
        if name.startswith(("audio_enh/", *(f"{folder}/" for folder in folders)))
    }
    assert packed == wanted


def pinned(name: str) -> dict[str, Version]:
    """The versions of one set that hold for this interpreter."""
    lines = (ROOT / "constraints" / f"{name}.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if not line.startswith("#")]
    return {
        one.name: Version(next(iter(one.specifier)).version)
        for one in requirements
        if one.marker is None or one.marker.evaluate()
    }


@pytest.mark.parametrize("name", ["full", "cpu"])
def test_every_dependency_is_pinned_within_its_range(name: str) -> None:
    tomllib = pytest.importorskip("tomllib", reason="reads TOML with the standard library")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    chosen = (
        extras if name == "full" else {extra: extras[extra] for extra in ("eval", "live", "export", "web")}
    )
    versions = pinned(name)
    for line in [*project["dependencies"], *(line for lines in chosen.values() for line in lines)]:
        requirement = Requirement(line)
        if requirement.name != "audio-enh":
            assert versions[requirement.name.lower()] in requirement.specifier, line
    assert (
        name == "full" or "torchaudio" not in versions
    )  # its Linux wheels do not load beside torch's CPU build


def test_torch_and_torchaudio_are_a_pair_that_loads() -> None:
    """A torchaudio built against another torch fails on import, or on its first compiled operator."""
    import torch
    from torchaudio.functional import lfilter

    step = lfilter(torch.ones(4), a_coeffs=torch.tensor([1.0, -0.5]), b_coeffs=torch.tensor([0.25, 0.0]))
    torch.testing.assert_close(step, torch.tensor([0.25, 0.375, 0.4375, 0.46875]))
    for package in ("torch", "torchaudio"):
        found = Version(version(package)).public
        assert found == str(pinned("full")[package]), "run `make test`, which installs the tested pair"


def test_what_a_cpu_user_needs_imports_no_torchaudio(tmp_path: Path) -> None:
    """Beside torch's CPU build torchaudio does not load: enhancing, evaluating and live must not ask for it."""
    code = f"""
import sys
from pathlib import Path
sys.modules["torchaudio"] = sys.modules["lightning"] = None  # importing them now fails
from audio_enh.cli import run
home = Path({str(tmp_path)!r})
assert run(["demo", "-o", str(home / "demo")]) == 0
for kind in ("clean", "noisy"):
    (home / kind).mkdir()
    (home / "demo" / f"{{kind}}.wav").rename(home / kind / "rain.wav")
assert run(["evaluate", "--clean", str(home / "clean"), "--noisy", str(home / "noisy"), "--model", {DEFAULT_MODEL!r},
            "--metrics", "si_sdr,stoi", "-o", str(home / "report")]) == 0
import audio_enh.streaming.live.session, audio_enh.streaming.export
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_no_text_tells_people_to_install_from_an_index_that_does_not_have_it() -> None:
    files = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("checkpoints/*/README.md")]
    for folder in ("audio_enh", "eval", "streaming", "recipes"):
        files += [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.yaml")]
    offending = [file for file in files if re.search(r"pip install '?audio-enh\b", file.read_text())]
    assert offending == []
