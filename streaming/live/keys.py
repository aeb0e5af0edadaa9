"""Single keys from the terminal, without waiting for Enter."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from types import TracebackType

UP, DOWN = "up", "down"
_SEQUENCES = {"\x1b[A": UP, "\x1b[B": DOWN, "\x1bOA": UP, "\x1bOB": DOWN}


class Keys:
    """While entered, the terminal gives keys one by one and does not show them; without a terminal there are none."""

    def __init__(self) -> None:
        self._restore: object = None
        self._terminal = sys.stdin is not None and sys.stdin.isatty()

    def __enter__(self) -> Keys:
        if self._terminal and sys.platform != "win32":
            import termios

            fileno = sys.stdin.fileno()
            self._restore = termios.tcgetattr(fileno)
            mode = termios.tcgetattr(fileno)
            mode[3] &= ~(termios.ICANON | termios.ECHO)
            # A process that plays cannot be put aside: Ctrl-Z would leave the terminal as it is now.
            mode[6][termios.VSUSP] = b"\0"
            termios.tcsetattr(fileno, termios.TCSADRAIN, mode)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._restore is not None and sys.platform != "win32":
            import termios

            with contextlib.suppress(termios.error):  # the terminal has gone
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._restore)  # type: ignore[arg-type]

    def wait(self, timeout: float) -> list[str]:
        """The keys of the next ``timeout`` seconds, or those up to the first: characters, or ``up``, ``down``."""
        if not self._terminal:
            time.sleep(timeout)
            return []
        if sys.platform == "win32":
            return self._wait_windows(timeout)
        import select

        if not select.select([sys.stdin], [], [], timeout)[0]:
            return []
        text = os.read(sys.stdin.fileno(), 64).decode(errors="ignore")
        if not text:  # the terminal has gone
            self._terminal = False
        return parse(text)

    def _wait_windows(self, timeout: float) -> list[str]:
        import msvcrt

        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if msvcrt.kbhit():  # type: ignore[attr-defined]
                key = msvcrt.getwch()  # type: ignore[attr-defined]
                if key in ("\0", "\xe0"):
                    return [{"H": UP, "P": DOWN}.get(msvcrt.getwch(), "")]  # type: ignore[attr-defined]
                return [key]
            time.sleep(0.02)
        return []


def parse(text: str) -> list[str]:
    """Keys of what a terminal sent; sequences that are not known are left out."""
    keys = []
    while text:
        known = next((sequence for sequence in _SEQUENCES if text.startswith(sequence)), None)
        if known is not None:
            keys.append(_SEQUENCES[known])
            text = text[len(known) :]
        elif text[0] == "\x1b":
            # The rest of an unknown one: up to its final letter.
            end = next((i for i, c in enumerate(text[1:], 1) if c.isalpha() or c == "~"), len(text) - 1)
            text = text[end + 1 :]
        else:
            keys.append(text[0])
            text = text[1:]
    return keys
