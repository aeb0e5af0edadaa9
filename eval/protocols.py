"""Standard test sets: how they are laid out, and what the unprocessed input must score on them.

A set that is incomplete, mixed up or resampled badly does not give the noisy scores that the literature
agrees on. They are measured first, so that a broken pipeline is noticed before a model is judged with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_enh.errors import UserError

from .metadata import Metadata
from .pairing import Group, match_rule, pair_folders
from .report.tables import BY_NAME, number
from .rows import NOISY
from .statistics import Summary


@dataclass(frozen=True)
class Protocol:
    """A test set.

    Attributes:
        name: on the command line.
        title: what it is, and where people get it.
        folders: pairs of clean and noisy folder below the root, the first pair that exists is taken.
        files: number of pairs.
        match: see ``match_rule``.
        key: expression that every key must match.
        sample_rate: in Hz; files of a higher rate are resampled to it.
        baseline: metric to the noisy input's mean and the tolerance.
        describe: what is known of each file, from the root and the pairs.
    """

    name: str
    title: str
    folders: tuple[tuple[str, str], ...]
    files: int
    match: str
    key: str
    sample_rate: int
    baseline: Mapping[str, tuple[float, float]]
    describe: Callable[[Path, Sequence[Group]], Metadata]


def load_protocol(name: str) -> Protocol:
    """Raises:
    UserError: unknown name.
    """
    for protocol in PROTOCOLS:
        if protocol.name == name:
            return protocol
    raise UserError(f"unknown protocol {name!r}; known are {', '.join(each.name for each in PROTOCOLS)}")


def find_set(protocol: Protocol, root: Path) -> dict[str, Path]:
    """The set's clean and noisy folder.

    Raises:
        UserError: not below this root.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; {protocol.name} is {protocol.title}")
    for clean, noisy in protocol.folders:
        if (root / clean).is_dir() and (root / noisy).is_dir():
            return {"clean": root / clean, NOISY: root / noisy}
    places = " or ".join(f"{clean} and {noisy}" for clean, noisy in protocol.folders)
    raise UserError(f"{root} has no folders {places}; {protocol.name} is {protocol.title}")


def check_set(protocol: Protocol, groups: Sequence[Group]) -> None:
    """Raises:
    UserError: the number of pairs or a name is not the set's.
    """
    if len(groups) != protocol.files:
        raise UserError(f"{protocol.name} has {protocol.files} pairs, here are {len(groups)}")
    wrong = [group.key for group in groups if not re.fullmatch(protocol.key, group.key)]
    if wrong:
        raise UserError(f"not files of {protocol.name}: {', '.join(wrong[:5])} ({len(wrong)} in all)")


def pair_set(
    protocol: Protocol, root: Path, enhanced: Mapping[str, Path]
) -> tuple[dict[str, Path], list[Group]]:
    """Folders and checked pairs of a set, with the systems' files.

    Args:
        enhanced: system to folder.
    """
    folders = {**find_set(protocol, root), **enhanced}
    groups = pair_folders(folders, match_rule(protocol.match))
    check_set(protocol, groups)
    return folders, groups


def check_baseline(protocol: Protocol, noisy: Mapping[str, Summary]) -> dict[str, float]:
    """Compare the noisy input's means with the literature's.

    Args:
        noisy: metric to summary.

    Returns:
        The means.

    Raises:
        UserError: one is off by more than the tolerance, or files lack a score.
    """
    means = {}
    problems = []
    for name, (expected, tolerance) in protocol.baseline.items():
        metric = BY_NAME[name]
        stat = noisy.get(name)
        if stat is None or stat.count != protocol.files:
            problems.append(
                f"{metric.label} on {0 if stat is None else stat.count} of {protocol.files} files"
            )
            continue
        means[name] = stat.mean
        if abs(stat.mean - expected) > tolerance:
            problems.append(
                f"{metric.label} {number(stat.mean, metric)} instead of {number(expected, metric)}"
            )
    if problems:
        raise UserError(
            f"the noisy input does not score what it must on {protocol.name}: {'; '.join(problems)};"
            " no scores are given: look for wrong files, a wrong resampler or a wrong level"
        )
    return means


def _describe_vbdmd(root: Path, groups: Sequence[Group]) -> Metadata:
    """Speaker from the name; noise and SNR from ``log_testset.txt`` (``p232_001 bus 2.5``) where it is."""
    known: dict[str, dict[str, str]] = {group.key: {"speaker": group.key.split("_")[0]} for group in groups}
    for log in (root / "log_testset.txt", root / "logfiles" / "log_testset.txt"):
        if log.is_file():
            for line in log.read_text(encoding="utf-8").splitlines():
                name, noise, snr_db = (*line.split(), "", "", "")[:3]
                if name in known:
                    known[name] |= {"noise": noise, "snr": snr_db}
            break
    return known


def _describe_dns2020(root: Path, groups: Sequence[Group]) -> Metadata:
    """SNR from the noisy file's name (``clnsp1_train_69005_1_snr15_tl-21_fileid_158``)."""
    known: dict[str, dict[str, str]] = {}
    for group in groups:
        found = re.search(r"_snr(-?\d+)_", group.paths[NOISY].name)
        known[group.key] = {"snr": found.group(1)} if found else {}
    return known


PROTOCOLS = (
    Protocol(
        name="vbdmd",
        title=(
            "the VoiceBank-DEMAND test set (Valentini-Botinhao 2017, CC BY 4.0):"
            " https://datashare.ed.ac.uk/handle/10283/2791"
        ),
        folders=(
            ("clean_testset_wav_16k", "noisy_testset_wav_16k"),
            ("clean_testset_wav", "noisy_testset_wav"),
            ("clean", "noisy"),
        ),
        files=824,
        match="stem",
        key=r"p(232|257)_\d{3}",
        sample_rate=16000,
        baseline={"pesq_wb": (1.97, 0.015), "stoi": (0.921, 0.002), "si_sdr": (8.45, 0.1)},
        describe=_describe_vbdmd,
    ),
    Protocol(
        name="dns2020",
        title=(
            "the synthetic test set without reverberation of the DNS challenge, Interspeech 2020:"
            " https://github.com/microsoft/DNS-Challenge, branch interspeech2020/master,"
            " datasets/test_set/synthetic/no_reverb"
        ),
        folders=(
            ("clean", NOISY),
            ("no_reverb/clean", "no_reverb/noisy"),
            ("synthetic/no_reverb/clean", "synthetic/no_reverb/noisy"),
            ("test_set/synthetic/no_reverb/clean", "test_set/synthetic/no_reverb/noisy"),
        ),
        files=150,
        match=r"fileid_(\d+)",
        key=r"\d+",
        sample_rate=16000,
        baseline={
            "pesq_wb": (1.58, 0.015),
            "pesq_nb": (2.45, 0.02),
            "stoi": (0.915, 0.002),
            "si_sdr": (9.07, 0.1),
        },
        describe=_describe_dns2020,
    ),
)
