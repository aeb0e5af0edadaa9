"""The view in a real terminal of 80 columns and 24 lines, and its keys."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import pytest

from .conftest import SCRIPT


class Terminal:
    """The command in a terminal; what it wrote so far, without colours."""

    def __init__(self, env: dict[str, str], cwd: os.PathLike, *arguments: str):
        self._fd, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(other)
        self._other = other
        self.process = subprocess.Popen(
            [str(SCRIPT), "live", *arguments], env={**env, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
            stdin=other, stdout=other, stderr=other, cwd=cwd, start_new_session=True,
        )  # fmt: skip
        self.text = ""

    def wait_for(self, part: str, timeout: float = 15) -> None:
        """Read until it says so, from here on."""
        self.text = ""
        until = time.monotonic() + timeout
        while part not in self.text:
            assert time.monotonic() < until, f"no {part!r} in {self.text[-2000:]!r}"
            if select.select([self._fd], [], [], 0.1)[0]:
                written = os.read(self._fd, 65536).decode(errors="replace")
                self.text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written)

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def settings(self) -> list:
        return termios.tcgetattr(self._other)


@pytest.fixture
def terminal(server, tmp_path):
    server.add_sink("feed")
    server.add_sink("ears")
    started = Terminal(server.env, tmp_path, "-i", "feed.monitor", "-o", "ears")
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()


def test_keys_do_what_they_say(terminal, tmp_path):
    terminal.wait_for("strength 100 %")
    for keys, shown in (("b", "BYPASSED"), ("b\x1b[B\x1b[B", "strength 80 %"), ("+", "strength 90 %"), ("m", "MUTED"),
                        ("m?", "mute: nothing is heard"), ("?", "device out")):  # fmt: skip
        terminal.press(keys)
        terminal.wait_for(shown)
    for _ in range(10):
        terminal.press("r")
        terminal.wait_for("REC")
        time.sleep(2)
        terminal.press("r")
        terminal.wait_for("recorded")
        # A null sink stops for seconds when someone connects; on a busy machine that can be now.
        if "nothing was recorded" not in terminal.text:
            break
    terminal.press("q")
    assert terminal.process.wait(10) == 0
    assert terminal.settings() == terminal.before
    (recording,) = tmp_path.glob("live-*.wav")
    assert recording.stat().st_size > 9600  # a tenth of a second: what a pause of the sink may leave


def test_ctrl_c_leaves_the_terminal_as_it_was(terminal):
    terminal.wait_for("latency")
    terminal.process.send_signal(2)
    terminal.wait_for("stopped by Ctrl-C")
    assert terminal.process.wait(10) == 130
    assert terminal.settings() == terminal.before
