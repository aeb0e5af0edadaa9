"""A server as users start it, and Chromium as they would open it."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[2] / "audio_enh" / "samples"
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]
#: On a busy machine a page takes its time.
PATIENCE = 120_000

# Connections of the server to anywhere else than this machine are noted, and refused.
PROGRAM = """
import sys
def watch(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
        local = not isinstance(address, tuple) or address[0] in ("127.0.0.1", "::1", "localhost")
        if not local:
            print("OUTSIDE", address, flush=True)
            raise OSError("no network in this test")
    if event == "socket.getaddrinfo" and arguments[0] not in (None, "", "127.0.0.1", "::1", "localhost"):
        print("OUTSIDE", arguments[0], flush=True)
        raise OSError("no network in this test")
sys.addaudithook(watch)
from audio_enh.cli import main
if __name__ == "__main__":
    main()
"""


class Server:
    """A running ``audio-enh web`` on a free port; ``address`` is where, ``temporary`` where it may write."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        program = folder / "program.py"
        program.write_text(PROGRAM)
        self.temporary = folder / "temporary"
        self.temporary.mkdir(exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(self.temporary)}
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, str(program), "web", "--no-browser", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self.lines: list[str] = []
        self.address = ""
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.match(r"Open (http\S+)/ in", line):
                self.address = found[1]
                break
        assert self.address, "".join(self.lines)
        # Read on, or the server would stop when the pipe is full.
        threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True).start()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    pytest.importorskip("gradio")
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()
    said = "".join(running.lines)
    assert "OUTSIDE" not in said
    # Gradio prints a traceback when it refuses a path that was made up.
    assert said.count("Traceback") == said.count("\ngradio.exceptions.InvalidPathError"), said


@pytest.fixture(scope="session")
def microphone(tmp_path_factory):
    """What the browser's fake microphone hears: a noisy recording at 48 kHz."""
    import soundfile
    import soxr

    audio, rate = soundfile.read(SAMPLES / "noisy" / "rain.flac")
    path = tmp_path_factory.mktemp("microphone") / "rain.wav"
    soundfile.write(path, soxr.resample(audio, rate, 48000), 48000, subtype="PCM_16")
    return path


@pytest.fixture(scope="session")
def browser(microphone):
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as running:
        flags = [*FLAGS, f"--use-file-for-fake-audio-capture={microphone}"]
        opened = running.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        opened.close()


def give_file(page, place: str, path: Path) -> None:
    """Choose a file in the upload field of a component, and wait until the page shows its name.

    A page that is drawn may not listen yet: what is chosen then is chosen again.
    """
    field = page.locator(f"{place} input[type=file]")
    for _ in range(5):
        field.set_input_files(path)
        with contextlib.suppress(Exception):
            page.locator(place).get_by_text(path.stem).first.wait_for(timeout=PATIENCE / 5)
            return
    raise AssertionError(f"the page does not show {path.name}")


@contextlib.contextmanager
def open_page(browser, server, **options):
    """A page of a server; at the end nothing was wrong with it, and it asked nobody else."""
    options = {"viewport": {"width": 1280, "height": 900}, **options}
    context = browser.new_context(accept_downloads=True, **options)
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    opened.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on(
        "response", lambda answer: answer.status >= 400 and wrong.append(f"{answer.status} {answer.url}")
    )
    outside: list[str] = []
    local = (server.address, server.address.replace("http", "ws"), "data:", "blob:")
    opened.on("request", lambda request: request.url.startswith(local) or outside.append(request.url))
    try:
        opened.goto(server.address)
        opened.get_by_role("button", name="Enhance", exact=True).wait_for()
        yield opened
    finally:
        context.close()
    assert not outside
    assert not wrong


@pytest.fixture
def page(browser, server):
    with open_page(browser, server) as opened:
        yield opened
