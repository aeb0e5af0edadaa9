"""Asking the system to let the audio threads go first, and lost ones last, where it can be asked."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Literal

Priority = Literal["real-time", "raised", "normal"]

# Above ordinary programs, below the sound server (PulseAudio takes 5, PipeWire up to 88 by default).
_REAL_TIME = 4
_NICE = -11


# Between PortAudio and the sound server, libpulse carries the samples on a thread of its own.
_CARRIERS = ("threaded-ml",)


def carriers() -> list[int]:
    """Threads of this process that carry sound to and from a sound server, by the system's number."""
    found = []
    for task in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if (task / "comm").read_text().strip() in _CARRIERS:
                found.append(int(task.name))
    return found


def raise_priority(thread: int) -> Priority:
    """Give a thread of this process real-time priority, or a better one; what it got.

    On Linux that takes a right (``rtprio`` or ``nice`` in ``/etc/security/limits.d``); without it nothing changes.
    macOS and Windows give PortAudio's threads theirs by themselves.

    Args:
        thread: its number by the system, as `threading.get_native_id` gives it.
    """
    if not sys.platform.startswith("linux"):
        return "normal"
    with contextlib.suppress(OSError):
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(thread, policy, os.sched_param(_REAL_TIME))
        return "real-time"
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, _NICE)
        return "raised"
    return "normal"


def lower_priority(thread: int) -> None:
    """Let a thread of this process run only when nothing else wants the processor; on Linux.

    Args:
        thread: its number by the system.
    """
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):  # ended meanwhile
            os.sched_setscheduler(thread, os.SCHED_IDLE | os.SCHED_RESET_ON_FORK, os.sched_param(0))
