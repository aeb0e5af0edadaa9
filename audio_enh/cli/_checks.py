"""What `audio-enh doctor` looks at. Every check really does the thing it is about."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import audio_enh
from audio_enh.cli._errors import outside_cause
from audio_enh.errors import UserError, install_command

if TYPE_CHECKING:
    from audio_enh.streaming.live.devices import Direction


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis.

    Attributes:
        name: what was looked at.
        status: ``fail`` where enhancing files cannot work, ``warn`` where something else cannot.
        detail: what was found.
        remedy: what to do about it, empty if all is well.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""


def all_checks() -> Iterator[Finding]:
    """Run every check, one after the other; the slow ones (checkpoints) come last."""
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(lambda: list(check_packages()))  # in a process of its own, beside the rest

        def packages() -> Iterator[Finding]:
            yield from found.result()

        yield from _run_checks(packages)


def _run_checks(packages: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_python,
        check_torch,
        check_formats,
        check_ffmpeg,
        check_devices,
        packages,
        check_places,
        check_recordings,
        check_checkpoints,
    ]
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            # A broken installation breaks in ways nobody listed; that is a finding, not a crash.
            name, outside = check.__name__.removeprefix("check_"), outside_cause(error)
            if outside is None:
                yield Finding(name, "fail", _one_line(error), "reinstall audio-enh")
            else:
                what, _, remedy = outside.partition(": ")
                yield Finding(name, "fail", what, remedy or "mend that, and run this again")


def check_python() -> Iterator[Finding]:
    """Interpreter, system and this package."""
    home = Path(audio_enh.__file__).parent
    yield Finding("audio-enh", "ok", f"{audio_enh.__version__} in {home}")
    yield Finding("python", "ok", f"{platform.python_version()} ({sys.executable}) on {platform.platform()}")


def check_torch() -> Iterator[Finding]:
    """Torch, and a small convolution on every device it claims to have."""
    import torch

    yield Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")
    yield _try_device("cpu", "reinstall torch")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            remedy = (
                "update the GPU driver or install the torch build for its CUDA version; or use --device cpu"
            )
            yield _try_device(f"cuda:{index}", remedy, torch.cuda.get_device_name(index))
    elif torch.backends.mps.is_available():
        yield _try_device("mps", "use --device cpu")
    else:
        built = torch.version.cuda or "no"
        yield Finding("gpu", "ok", f"none found (torch built for {built} CUDA): the CPU is used")


def _try_device(device: str, remedy: str, label: str = "") -> Finding:
    import torch

    try:
        out = torch.nn.functional.conv1d(
            torch.ones(1, 1, 8, device=device), torch.ones(1, 1, 8, device=device)
        )
        right = out.item() == 8
    except RuntimeError as error:
        return Finding(device, "fail" if device == "cpu" else "warn", _one_line(error), remedy)
    if not right:
        return Finding(device, "fail", "a small convolution gave a wrong result", remedy)
    return Finding(device, "ok", label or "works")


def check_formats() -> Iterator[Finding]:
    """Each container libsndfile should handle, by writing and reading a little of it."""
    import numpy as np
    import soundfile

    from audio_enh.io import read_audio, write_audio

    works, broken = [], []
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("wav", "flac", "ogg", "opus", "mp3"):
            path = Path(folder, f"probe.{suffix}")
            try:
                write_audio(path, np.zeros((1, 4800), np.float32), 48000)
                read_audio(path)
                works.append(suffix)
            except UserError:
                broken.append(suffix)
    detail = f"libsndfile {soundfile.__libsndfile_version__} reads and writes {', '.join(works)}"
    if broken:
        status: Literal["fail", "warn"] = "fail" if "wav" in broken else "warn"
        detail += f", not {', '.join(broken)}"
        yield Finding("audio files", status, detail, "pip install --force-reinstall soundfile")
    else:
        yield Finding("audio files", "ok", detail)


def check_ffmpeg() -> Iterator[Finding]:
    """The program for everything libsndfile does not read."""
    remedy = "install it (apt install ffmpeg, brew install ffmpeg, winget install ffmpeg)"
    missing = [name for name in ("ffmpeg", "ffprobe") if shutil.which(name) is None]
    if missing:
        yield Finding("ffmpeg", "warn", f"{' and '.join(missing)} not found: no m4a, mp4, mkv", remedy)
        return
    try:
        done = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding("ffmpeg", "warn", f"does not run: {_one_line(error)}", remedy)
        return
    yield Finding("ffmpeg", "ok", done.stdout.splitlines()[0].split(" Copyright")[0])


def check_devices() -> Iterator[Finding]:
    """PortAudio, the microphone and the output that `audio-enh live` takes, and how it can be a microphone itself."""
    from audio_enh.streaming.live.devices import find_device, list_devices
    from audio_enh.streaming.live.portaudio import load_sounddevice, quiet_libraries
    from audio_enh.streaming.live.pulse import query_server

    with quiet_libraries():
        try:
            sounddevice = load_sounddevice()
        except UserError as error:
            what, _, remedy = str(error).partition(": ")
            yield Finding("portaudio", "warn", what, remedy)
            return
        server = query_server()
        devices = list_devices(sounddevice, server)
    version = sounddevice.get_portaudio_version()[1].split(",")[0]
    through = f", sound server {server.server_name}" if server else ""
    yield Finding("portaudio", "ok", f"{version}, {len(devices)} devices{through}")
    directions: tuple[tuple[Direction, str], ...] = (("input", "microphone"), ("output", "headphones"))
    for direction, name in directions:
        try:
            device = find_device(devices, None, direction)
        except UserError as error:
            what, _, remedy = str(error).partition(": ")
            yield Finding(name, "warn", what, remedy)
        else:
            yield Finding(name, "ok", f"{device.name} ({device.host}), {device.sample_rate} Hz")
    yield _check_virtual_microphone(server, devices)


def _check_virtual_microphone(server: Any, devices: Any) -> Finding:
    from audio_enh.streaming.live.virtual_mic import facility

    try:
        return Finding("virtual mic", "ok", facility(server, devices))
    except UserError as error:
        what, _, remedy = str(error).partition(": ")
        return Finding("virtual mic", "warn", what, remedy)


# Module, its distribution, the extra that brings it, what needs it.
PACKAGES = (
    ("onnxruntime", "onnxruntime", "live", "live enhancement"),
    ("pesq", "pesq", "eval", "the metric PESQ"),
    ("pystoi", "pystoi", "eval", "the metric STOI"),
    ("speechmos", "speechmos", "eval", "the metrics DNSMOS and PLCMOS"),
    ("onnx", "onnx", "export", "export to ONNX"),
    ("hydra", "hydra-core", "train", "training"),
    ("lightning", "lightning", "train", "training"),
    ("torchaudio", "torchaudio", "train", "training"),
    ("tensorboard", "tensorboard", "train", "training"),
    ("pyroomacoustics", "pyroomacoustics", "train", "training"),
)
# Pure Python that takes seconds to import and goes wrong only where it is missing: its version is looked up.
SLOW = ("lightning", "tensorboard")
# Imports the modules of its arguments and tells of each; a crash of compiled code ends it before its line.
_IMPORTER = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        result = "ok"
    except BaseException as error:
        result = f"{type(error).__name__}: {error}"
    print(f"{name}\t{' '.join(result.split())}", flush=True)
"""


def check_packages() -> Iterator[Finding]:
    """Optional packages, by importing them: one built for another torch is installed, but of no use."""
    results = _import([module for module, *_ in PACKAGES if module not in SLOW])
    for module, distribution, extra, purpose in PACKAGES:
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            result, version = "it is not installed", ""
        else:
            result = results.get(module, "ok")
        if result == "ok":
            yield Finding(module, "ok", version)
            continue
        remedy = install_command(extra)
        if module == "torchaudio" and version:
            remedy = (
                "install torch and torchaudio as in constraints/full.txt; torch for the CPU only has none"
            )
        yield Finding(module, "warn", f"{purpose} cannot work: {result}", remedy)


def _import(modules: list[str]) -> dict[str, str]:
    """What importing each gives, ``ok`` or the error, in a process where a crash and noise do no harm."""
    results: dict[str, str] = {}
    while waiting := [module for module in modules if module not in results]:
        done = subprocess.run(
            [sys.executable, "-c", _IMPORTER, *waiting],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        lines = [line.partition("\t") for line in done.stdout.splitlines()]
        results |= {name: result for name, _, result in lines if name in waiting}
        if done.returncode:
            crashed = next(module for module in waiting if module not in results)
            results[crashed] = f"its import ended the process with status {done.returncode}"
    return results


def check_places() -> Iterator[Finding]:
    """Whether files can be written: temporary ones, and here."""
    for name, place in (("temporary files", tempfile.gettempdir()), ("this folder", os.getcwd())):  # noqa: PTH109
        try:
            with tempfile.TemporaryFile(dir=place) as file:
                file.write(bytes(1 << 16))
        except OSError as error:
            yield Finding(
                name, "warn", f"{place}: {error.strerror}", "write elsewhere: -o FOLDER, or set TMPDIR"
            )
            continue
        free = shutil.disk_usage(place).free / 1e9
        enough = free > 1
        remedy = "" if enough else "an hour of 48 kHz stereo takes 0.7 GB: free some space"
        yield Finding(name, "ok" if enough else "warn", f"{place} is writable, {free:.1f} GB free", remedy)


def check_recordings() -> Iterator[Finding]:
    """Recordings of `audio-enh live` that a crash has left unfinished."""
    from audio_enh.streaming.live.leftovers import leftovers

    for leftover in leftovers():
        yield Finding(
            "recording", "warn", str(leftover), f"audio-enh live --recover makes it {leftover.target}"
        )


def check_checkpoints() -> Iterator[Finding]:
    """Load every installed checkpoint and enhance a moment of noise on the CPU."""
    import numpy as np

    from audio_enh.inference.catalog import DEFAULT_MODEL, available

    checkpoints = available()
    if DEFAULT_MODEL not in [checkpoint.name for checkpoint in checkpoints]:
        remedy = "reinstall audio-enh, or name a checkpoint with --model"
        yield Finding("checkpoint", "warn", f"the default one, {DEFAULT_MODEL}, is not installed", remedy)
    for checkpoint in checkpoints:
        name = f"checkpoint {checkpoint.name}"
        try:
            enhancer = audio_enh.load(checkpoint.name, device="cpu")
            noise = 0.1 * np.random.default_rng(0).standard_normal(enhancer.sample_rate // 4)
            out = enhancer.enhance(noise, enhancer.sample_rate)
        except UserError as error:
            status: Literal["fail", "warn"] = "fail" if checkpoint.name == DEFAULT_MODEL else "warn"
            yield Finding(name, status, _one_line(error), "reinstall audio-enh")
            continue
        if out.shape != noise.shape:
            yield Finding(name, "fail", f"{noise.shape} became {out.shape}", "reinstall audio-enh")
        else:
            yield Finding(name, "ok", "loads and runs")


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
