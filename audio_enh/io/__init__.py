"""Reading and writing audio: any format, any length, nothing half-written."""

from audio_enh.io.atomic import AtomicTarget, terminate_as_interrupt
from audio_enh.io.containers import AUDIO_EXTENSIONS
from audio_enh.io.discover import FoundAudio, LeftOut, find_audio, plan_outputs
from audio_enh.io.info import AudioInfo
from audio_enh.io.reader import AudioReader, count_tracks, probe, read_audio
from audio_enh.io.samples import count_nonfinite, replace_nonfinite
from audio_enh.io.writer import AudioWriter, write_audio

__all__ = [
    "AUDIO_EXTENSIONS",
    "AtomicTarget",
    "AudioInfo",
    "AudioReader",
    "AudioWriter",
    "FoundAudio",
    "LeftOut",
    "count_nonfinite",
    "count_tracks",
    "find_audio",
    "plan_outputs",
    "probe",
    "read_audio",
    "replace_nonfinite",
    "terminate_as_interrupt",
    "write_audio",
]
