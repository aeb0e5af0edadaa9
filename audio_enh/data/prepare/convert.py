"""Files of a collection to FLAC at one rate, with a manifest; can be stopped and gone on with."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from audio_enh.data.prepare.archives import unpack_archives
from audio_enh.data.prepare.corpora import Corpus
from audio_enh.data.prepare.entries import Entry, Listing
from audio_enh.errors import AudioFileError, UserError
from audio_enh.io import AtomicTarget, read_audio
from audio_enh.sources.channels import to_mono
from audio_enh.sources.folders import manifest_rows
from audio_enh.sources.packing import Source, room_channels

log = logging.getLogger(__name__)

MANIFEST = "manifest.csv"
COLUMNS = ("path", "clean", "kind", "split", "source", "speaker", "seconds", "group")
# Where each kind of a collection came from; below the collection's folder.
ORIGINS = "origins.json"
# Changes with what is done to a file, so that files of earlier versions are made anew.
_CONVERSION = 2
# FLAC's limit.
_MOST_CHANNELS = 8
# Files whose peak is below this (-36 dB) get 24 bits: 16 would leave them too few.
_FAINT = 2.0**-6


@dataclass(frozen=True)
class Report:
    """What came of it.

    Attributes:
        manifest: the file that recipes read.
        seconds: duration by kind and split.
        files: number by kind and split.
        skipped: broken files that were left out, with the reason.
        notes: what a user should know of the choice of files and of what was done to them.
    """

    manifest: Path
    seconds: dict[tuple[str, str], float]
    files: dict[tuple[str, str], int]
    skipped: list[str]
    notes: list[str]


def prepare(
    name: str,
    find: Callable[[Path], Listing],
    source: Path,
    out: Path,
    *,
    corpus: Corpus | None = None,
    kind: str = "",
    sample_rate: int = 16000,
    jobs: int = 0,
    allow_incomplete: bool = False,
    skip_broken: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Check, resample and split a collection.

    Audio goes to ``out/name/...flac``, the table to ``out/manifest.csv``. Rows of other collections in that table
    stay, and those of other kinds of this one, so that one folder can gather speech from here and noise from
    there. Each file is written whole or not at all, with a mark of its source: what is there already and was made
    from the same file of the same size and time is not done again. Speech and noise become mono, with 16 bits (24
    where they are faint); room responses keep up to eight channels, with 24 bits. Levels are kept, but for what is
    above full scale, which is turned down, both sides of a pair alike.

    Args:
        name: of the collection: its folder and the manifest's column ``source``.
        find: gives the entries below ``source``.
        source: folder with the audio, or with the archives as downloaded.
        out: made if missing.
        corpus: the public collection it is, for its archives and numbers of files.
        kind: of a folder of one's own, what it holds; empty if one folder holds all kinds of the collection.
        sample_rate: in Hz; a file of a lower rate is an error.
        jobs: threads; 0: as many as there are processors.
        allow_incomplete: take what is there when files of a public collection are missing.
        skip_broken: leave out what cannot be read instead of stopping.
        progress: called with the number of files done and the number of all.

    Raises:
        UserError: files are missing or broken, or the rows would replace those of another source; nothing is
            written into the manifest then.
    """
    if not source.is_dir():
        raise UserError(
            f"no folder '{source}'" + (f": get {corpus.title} from {corpus.home}" if corpus else "")
        )
    folder = out / name
    _refuse_other_origin(out, name, kind, source)
    unpacked = unpack_archives(source, corpus.archives, folder / "unpacked") if corpus else []
    listing = find(folder / "unpacked" if unpacked else source)
    entries = listing.entries
    if corpus and not allow_incomplete:
        _check_complete(entries, corpus, source)
    _refuse_equal_names(entries, source)

    rows: list[dict[str, str]] = []
    broken: list[str] = []
    cancelled: list[str] = []
    pool = ThreadPoolExecutor(jobs or os.cpu_count())  # soundfile and soxr release the interpreter lock
    try:
        results = pool.map(lambda entry: _attempt(entry, folder, name, sample_rate), entries)
        for done, (entry, result) in enumerate(zip(entries, results, strict=True), 1):
            if isinstance(result, str):
                broken.append(result)
            else:
                rows += result[0]
                cancelled += [str(entry.source)] if result[1] else []
            if progress is not None:
                progress(done, len(entries))
    finally:
        pool.shutdown(cancel_futures=True)  # when stopped, what has begun is finished and no more
    if broken and not skip_broken:
        for reason in broken:
            log.warning("%s", reason)
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise UserError(f"{broken[0]}{more}: mend or remove it, or skip broken files; the others are done")
    if not rows:
        raise UserError(f"no usable file in '{source}': {broken[0]}")
    _write_manifest(out / MANIFEST, name, kind, rows)
    _note_origin(folder, kind, source)

    notes = list(listing.notes)
    if cancelled:
        notes.append(
            f"the channels of {len(cancelled)} files cancel out, the loudest stands for each: {cancelled[0]}"
            + (" and others" if len(cancelled) > 1 else "")
        )
    report = Report(out / MANIFEST, {}, {}, broken, notes)
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


def _refuse_equal_names(entries: Sequence[Entry], source: Path) -> None:
    taken: dict[tuple[str, str], Path] = {}
    for entry in entries:
        # macOS and Windows do not tell A.flac from a.flac.
        key = entry.kind, entry.name.casefold()
        if key in taken:
            raise UserError(
                f"'{taken[key]}' and '{entry.source}' would both become '{entry.name}': rename one of '{source}'"
            )
        taken[key] = entry.source


def _refuse_other_origin(out: Path, name: str, kind: str, source: Path) -> None:
    """Rows of this name and kind must not silently give way to those of another folder."""
    known = _origins(out / name).get(kind)
    if known is not None and Path(known) != source.resolve() and (out / MANIFEST).exists():
        what = f"{kind} of '{name}'" if kind else f"'{name}'"
        other = "give it another --name, or another output folder" if kind else "give another output folder"
        raise UserError(
            f"{what} in '{out}' was made from '{known}', whose rows those of '{source}' would replace: {other}"
            f" (if it was moved, remove '{out / name / ORIGINS}')"
        )


def _origins(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / ORIGINS).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _note_origin(folder: Path, kind: str, source: Path) -> None:
    target = AtomicTarget(folder / ORIGINS)
    text = json.dumps({**_origins(folder), kind: str(source.resolve())}, indent=1)
    target.temporary.write_text(text, encoding="utf-8")
    target.commit()


Rows = tuple[list[dict[str, str]], bool]


def _attempt(entry: Entry, folder: Path, name: str, sample_rate: int) -> Rows | str:
    """The manifest rows of an entry and whether its channels cancelled out, or what is wrong with it."""
    try:
        return _convert_entry(entry, folder, name, sample_rate)
    except AudioFileError as error:
        return str(error)


def _convert_entry(entry: Entry, folder: Path, name: str, sample_rate: int) -> Rows:
    common = {"split": entry.split, "source": name, "speaker": entry.speaker, "group": entry.group}
    if entry.clean is None:
        path = folder / f"{entry.name}.flac"
        samples, cancelled = _convert([entry.source], [path], sample_rate, entry.kind == "rir")
        row = {"path": _relative(path, folder), "clean": "", "kind": entry.kind, **common}
        return [{**row, "seconds": f"{samples / sample_rate:.3f}"}], cancelled
    noisy, clean = folder / "noisy" / f"{entry.name}.flac", folder / "clean" / f"{entry.name}.flac"
    samples, cancelled = _convert([entry.source, entry.clean], [noisy, clean], sample_rate, False)
    seconds = f"{samples / sample_rate:.3f}"
    pair = {"path": _relative(noisy, folder), "clean": _relative(clean, folder), "kind": "pair", **common}
    # The clean side also is speech to mix with other noise.
    speech = {"path": _relative(clean, folder), "clean": "", "kind": "speech", **common}
    return [{**pair, "seconds": seconds}, {**speech, "seconds": seconds}], cancelled


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder.parent).as_posix()


def _convert(
    sources: Sequence[Path], targets: Sequence[Path], sample_rate: int, room: bool
) -> tuple[int, bool]:
    """Write ``targets`` unless they are there, made from these sources as they are now.

    Returns:
        The number of samples of each, and whether the channels of one cancel out.
    """
    mark = _mark(sources, sample_rate, room)
    done = [_samples_marked(target, mark) for target in targets]
    if None not in done:
        return int(done[0] or 0), any(_says_cancelled(target) for target in targets)
    audio, cancelled = [], False
    for source in sources:
        one, gone = _read(source, sample_rate, room)
        audio.append(one)
        cancelled |= gone
    lengths = [each.shape[1] for each in audio]
    if len(set(lengths)) > 1:
        raise AudioFileError(
            f"'{sources[0]}' and its clean file are not equally long ({lengths[0]} and {lengths[1]} samples at"
            f" {sample_rate} Hz)"
        )
    # Resampling overshoots a little, and float files go beyond full scale. Pairs keep their common level.
    peak = max(float(np.abs(each).max(initial=0.0)) for each in audio)
    gain = min(1.0, 0.999 / peak) if peak >= 1 else 1.0
    for each, target in zip(audio, targets, strict=True):
        _write(target, each * gain, sample_rate, room or peak < _FAINT, f"{mark}{' cancelled' * cancelled}")
    return lengths[0], cancelled


def _read(source: Path, sample_rate: int, room: bool) -> tuple[np.ndarray, bool]:
    """``(channels, samples)`` at the rate wanted, and whether the mean of the file's channels cancelled out."""
    cancelled = False
    if room:
        audio, rate = room_channels(source)
        if len(audio) > _MOST_CHANNELS:
            audio = audio[np.linspace(0, len(audio) - 1, _MOST_CHANNELS).round().astype(int)]
    else:
        audio, rate = read_audio(source)
        if audio.size == 0:
            raise AudioFileError(f"'{source}' is empty")
        if not np.isfinite(audio).all():
            raise AudioFileError(f"'{source}' contains NaN or infinite samples")
        mono, cancelled = to_mono(audio)
        audio = mono[None]
    if rate < sample_rate:
        raise AudioFileError(f"'{source}' has {rate} Hz, less than the {sample_rate} Hz wanted")
    if rate != sample_rate:
        audio = np.stack([soxr.resample(channel, rate, sample_rate) for channel in audio])
    return audio, cancelled


def _mark(sources: Sequence[Path], sample_rate: int, room: bool) -> str:
    """What a converted file says of where it is from: another file, size, time or conversion gives another mark."""
    files = [astuple(Source.of(source.resolve())) for source in sources]
    text = json.dumps([_CONVERSION, sample_rate, room, files])
    return f"audio_enh {hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _samples_marked(target: Path, mark: str) -> int | None:
    try:
        with soundfile.SoundFile(target) as file:
            return int(file.frames) if file.comment.startswith(mark) else None
    except (OSError, soundfile.SoundFileError):
        return None


def _says_cancelled(target: Path) -> bool:
    """Whether a converted file says that the channels of its source cancelled out."""
    with soundfile.SoundFile(target) as file:
        return file.comment.endswith(" cancelled")


def _write(path: Path, audio: np.ndarray, sample_rate: int, wide: bool, mark: str) -> None:
    target = AtomicTarget(path)
    try:
        subtype = "PCM_24" if wide else "PCM_16"
        with soundfile.SoundFile(
            target.temporary, "w", sample_rate, len(audio), subtype, format="FLAC"
        ) as file:
            file.comment = mark
            file.write(audio.T)
    except BaseException:
        target.discard()
        raise
    target.commit()


def _write_manifest(path: Path, name: str, kind: str, rows: list[dict[str, str]]) -> None:
    """Replace the rows of this collection and kind, keep all others."""
    # Files of a kind lie in folders of their own; of a pair both sides are marked by noisy and clean.
    places = (
        [f"{name}/noisy/", f"{name}/clean/"]
        if kind == "pairs"
        else [f"{name}/{kind}/" if kind else f"{name}/"]
    )
    others = [
        {"group": "", **row}
        for row in (manifest_rows(path, columns=COLUMNS[:-1]) if path.exists() else ())
        if not row["path"].startswith(tuple(places))
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows([*others, *rows])
    target = AtomicTarget(path)
    target.temporary.write_text(text.getvalue(), encoding="utf-8")
    target.commit()
