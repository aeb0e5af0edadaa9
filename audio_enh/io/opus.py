"""Ogg Opus: libsndfile first, ffmpeg where it gives up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audio_enh.errors import AudioFileError
from audio_enh.io.ffmpeg import FFmpegSource
from audio_enh.io.info import AudioInfo
from audio_enh.io.integrity import Integrity
from audio_enh.io.libsndfile import SoundFileSource


class OpusSource:
    """Samples of an Opus file, in order.

    libsndfile 1.2.2 stops within some sound files ("malformed") or ends them a few milliseconds early. From
    there on ffmpeg decodes, which has to be installed; if it fails too, the file is damaged indeed.
    """

    def __init__(self, info: AudioInfo, integrity: Integrity) -> None:
        self.info = info
        self._source: SoundFileSource | FFmpegSource = SoundFileSource(info, integrity)
        self._position = 0

    @property
    def length_is_estimate(self) -> bool:
        """Whether ffmpeg's end counts instead of the length libsndfile read from the header.

        A file that was cut is found by its missing last page, before any decoding.
        """
        return isinstance(self._source, FFmpegSource)

    def read(self, frames: int) -> NDArray[np.float32]:
        """Up to ``frames`` frames, ``(n, channels)``; 0 frames at the end."""
        try:
            block = self._source.read(frames)
            early = len(block) < frames and self._position + len(block) < (self.info.frames or 0)
        except AudioFileError:
            if isinstance(self._source, FFmpegSource):
                raise
            block, early = np.zeros((0, self.info.channels), np.float32), True
        self._position += len(block)
        if early and isinstance(self._source, SoundFileSource):
            self._take_over()
            rest = self._source.read(frames - len(block))
            self._position += len(rest)
            block = np.concatenate([block, rest])
        if not len(block) and frames and (found := getattr(self._source, "warnings", ())):
            raise AudioFileError(f"{self.info.name} is damaged: {found[0]}")  # not libsndfile's fault
        return block

    def _take_over(self) -> None:
        self._source.close()
        self._source = FFmpegSource(self.info)
        left = self._position
        while left and (skipped := len(self._source.read(min(left, 1 << 16)))):
            left -= skipped

    def close(self) -> None:
        self._source.close()
