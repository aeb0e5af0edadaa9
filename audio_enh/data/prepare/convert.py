"""Files of a collection to mono FLAC at one rate, with a manifest; can be stopped and gone on with."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from audio_enh.data.packed import manifest_rows
from audio_enh.data.prepare.archives import unpack_archives
from audio_enh.data.prepare.corpora import Corpus, Entry
from audio_enh.errors import AudioFileError, UserError
from audio_enh.io import AtomicTarget, read_audio, write_audio

log = logging.getLogger(__name__)

MANIFEST = "manifest.csv"
COLUMNS = ("path", "clean", "kind", "split", "source", "speaker", "seconds")


@dataclass(frozen=True)
class Report:
    """What came of it.

    Attributes:
        manifest: the file that recipes read.
        seconds: duration by kind and split.
        files: number by kind and split.
        skipped: broken files that were left out, with the reason.
    """

    manifest: Path
    seconds: dict[tuple[str, str], float]
    files: dict[tuple[str, str], int]
    skipped: list[str]


def prepare(
    name: str,
    find: Callable[[Path], list[Entry]],
    source: Path,
    out: Path,
    *,
    corpus: Corpus | None = None,
    sample_rate: int = 16000,
    jobs: int = 0,
    allow_incomplete: bool = False,
    skip_broken: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Check, resample and split a collection.

    Audio goes to ``out/name/...flac`` (16 bit; room responses 24 bit), the table to ``out/manifest.csv``. Rows
    of other collections in that table stay, so that one folder can gather speech from here and noise from
    there. Each file is written whole or not at all, and what is there already and newer than its source is
    not done again.

    Args:
        name: of the collection: its folder and the manifest's column ``source``.
        find: gives the entries below ``source``.
        source: folder with the audio, or with the archives as downloaded.
        out: made if missing.
        corpus: the public collection it is, for its archives and numbers of files.
        sample_rate: in Hz; a file of a lower rate is an error.
        jobs: threads; 0: as many as there are processors.
        allow_incomplete: take what is there when files of a public collection are missing.
        skip_broken: leave out what cannot be read instead of stopping.
        progress: called with the number of files done and the number of all.

    Raises:
        UserError: files are missing or broken; nothing is written into the manifest then.
    """
    if not source.is_dir():
        raise UserError(
            f"no folder '{source}'" + (f": get {corpus.title} from {corpus.home}" if corpus else "")
        )
    folder = out / name
    unpacked = unpack_archives(source, corpus.archives, folder / "unpacked") if corpus else []
    entries = find(folder / "unpacked" if unpacked else source)
    if corpus and not allow_incomplete:
        _check_complete(entries, corpus, source)
    names = [(entry.kind, entry.name) for entry in entries]
    if len(set(names)) != len(names):
        double = next(n for n in names if names.count(n) > 1)[1]
        raise UserError(f"two files of '{source}' would both become '{double}': rename one")

    rows: list[dict[str, str]] = []
    broken: list[str] = []
    pool = ThreadPoolExecutor(jobs or os.cpu_count())  # soundfile and soxr release the interpreter lock
    try:
        results = pool.map(lambda entry: _attempt(entry, folder, name, sample_rate), entries)
        for done, result in enumerate(results, 1):
            if isinstance(result, str):
                broken.append(result)
            else:
                rows += result
            if progress is not None:
                progress(done, len(entries))
    finally:
        pool.shutdown(cancel_futures=True)  # when stopped, what has begun is finished and no more
    if broken and not skip_broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise UserError(f"{broken[0]}{more}: mend or remove it, or skip broken files; the others are done")
    if not rows:
        raise UserError(f"no usable file in '{source}': {broken[0]}")
    _write_manifest(out / MANIFEST, name, rows)

    report = Report(out / MANIFEST, {}, {}, broken)
    for row in rows:
        key = row["kind"], row["split"]
        report.seconds[key] = report.seconds.get(key, 0.0) + float(row["seconds"])
        report.files[key] = report.files.get(key, 0) + 1
    return report


def _check_complete(entries: Sequence[Entry], corpus: Corpus, source: Path) -> None:
    for (kind, split), expected in corpus.expected.items():
        count = sum(entry.kind == kind and entry.split == split for entry in entries)
        if count != expected:
            raise UserError(
                f"'{source}' has {count} {split} {kind}s of {corpus.title}, not {expected}: fetch the rest from"
                f" {corpus.home}, or allow an incomplete copy"
            )


def _attempt(entry: Entry, folder: Path, name: str, sample_rate: int) -> list[dict[str, str]] | str:
    """The manifest rows of an entry, or what is wrong with it."""
    try:
        return _convert_entry(entry, folder, name, sample_rate)
    except AudioFileError as error:
        return str(error)


def _convert_entry(entry: Entry, folder: Path, name: str, sample_rate: int) -> list[dict[str, str]]:
    common = {"split": entry.split, "source": name, "speaker": entry.speaker}
    if entry.clean is None:
        path = folder / f"{entry.name}.flac"
        samples = _convert(entry.source, path, sample_rate, entry.kind)
        row = {"path": _relative(path, folder), "clean": "", "kind": entry.kind, **common}
        return [{**row, "seconds": f"{samples / sample_rate:.3f}"}]
    noisy, clean = folder / "noisy" / f"{entry.name}.flac", folder / "clean" / f"{entry.name}.flac"
    lengths = [
        _convert(entry.source, noisy, sample_rate, "pair"),
        _convert(entry.clean, clean, sample_rate, "pair"),
    ]
    if lengths[0] != lengths[1]:
        raise AudioFileError(
            f"'{entry.source}' and its clean file are not equally long ({lengths[0]} and {lengths[1]} samples at"
            f" {sample_rate} Hz)"
        )
    seconds = f"{lengths[0] / sample_rate:.3f}"
    pair = {"path": _relative(noisy, folder), "clean": _relative(clean, folder), "kind": "pair", **common}
    # The clean side also is speech to mix with other noise.
    speech = {"path": _relative(clean, folder), "clean": "", "kind": "speech", **common}
    return [{**pair, "seconds": seconds}, {**speech, "seconds": seconds}]


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder.parent).as_posix()


def _convert(source: Path, target: Path, sample_rate: int, kind: str) -> int:
    """Write ``target`` unless it is there; the number of its samples."""
    if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
        info = soundfile.info(str(target))
        if info.samplerate == sample_rate:
            return int(info.frames)
    audio, rate = read_audio(source)
    if rate < sample_rate:
        raise AudioFileError(f"'{source}' has {rate} Hz, less than the {sample_rate} Hz wanted")
    # Channels of a room response are other places: their mean would be a comb filter.
    mono = audio[0] if kind == "rir" else audio.mean(axis=0)
    if mono.size == 0:
        raise AudioFileError(f"'{source}' is empty")
    if not np.isfinite(mono).all():
        raise AudioFileError(f"'{source}' contains NaN or infinite samples")
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    peak = float(np.abs(mono).max())
    if peak >= 1 and kind != "pair":  # resampling overshoots a little; pairs must keep their common level
        mono = mono * (0.999 / peak)
    write_audio(target, mono, sample_rate, subtype="PCM_24" if kind == "rir" else "PCM_16")
    return len(mono)


def _write_manifest(path: Path, name: str, rows: list[dict[str, str]]) -> None:
    """Replace the collection's rows, keep those of others."""
    others = (
        [row for row in manifest_rows(path, columns=COLUMNS) if row["source"] != name]
        if path.exists()
        else []
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows([*others, *rows])
    target = AtomicTarget(path)
    target.temporary.write_text(text.getvalue(), encoding="utf-8")
    target.commit()
