"""Asking the system to let the audio threads go first, where it can be asked."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Literal

Priority = Literal["real-time", "raised", "normal"]

# Above ordinary programs, below the sound server (PulseAudio takes 5, PipeWire up to 88 by default).
_REAL_TIME = 4
_NICE = -11


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
