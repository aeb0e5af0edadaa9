"""Signals unwind the program, but never through C code."""

from __future__ import annotations

import io
import os
import signal
import threading

import numpy as np
import pytest
import soundfile

from audio_enh.cli._signals import Interruptible

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_raises_at_once_and_tells_its_name(name: str) -> None:
    with pytest.raises(KeyboardInterrupt, match=name), Interruptible():
        signal.raise_signal(getattr(signal, name))


def test_within_a_callback_of_libsndfile_it_waits(capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupted(io.BytesIO):
        def write(self, data) -> int:
            os.kill(os.getpid(), signal.SIGTERM)
            return super().write(data)

    file = Interrupted()
    steps = []
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), Interruptible() as interruptible:  # noqa: PT012
        with soundfile.SoundFile(file, "w", 16000, 1, "PCM_16", format="WAV") as sink:
            sink.write(np.full(50_000, 0.5))
            steps.append("written")
        interruptible.check()
        steps.append("not reached")
    assert steps == ["written"]
    assert capsys.readouterr().err == ""
    file.seek(0)
    assert len(soundfile.read(file)[0]) == 50_000


def test_what_was_kept_back_is_raised_at_the_end() -> None:
    class Interrupted(io.BytesIO):
        def write(self, data) -> int:
            os.kill(os.getpid(), signal.SIGINT)
            return super().write(data)

    with pytest.raises(KeyboardInterrupt, match="SIGINT"), Interruptible():
        soundfile.write(Interrupted(), np.zeros(10), 16000, format="WAV")


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Interruptible():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_other_threads_are_left_alone() -> None:
    faults: list[BaseException] = []

    def enter() -> None:
        try:
            with Interruptible():
                pass
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert faults == []
