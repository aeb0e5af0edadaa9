"""Safe by default: who gets in, what can be fetched, what stays behind."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from tests.web.conftest import Server, open_page


def fetch(address, data=None, headers=None):
    """Status, headers and body of an answer."""
    request = urllib.request.Request(address, data=data, headers=headers or {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_answers_forbid_the_browser_to_ask_others(server):
    status, headers, body = fetch(f"{server.address}/")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "http:" not in policy
    assert "*" not in policy
    assert b"fonts.googleapis" not in body
    assert b"cdnjs" not in body


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=http://127.0.0.1:1/",
        "/gradio_api/file=https://example.com/",
        "/gradio_api//file=https://example.com/",
        "/gradio_api/proxy=https://example.com/",
        "/audio-enh/../../../../etc/passwd",
        "/audio-enh/%2e%2e/%2e%2e/%2e%2e/app.py",
    ],
)
def test_neither_files_nor_addresses_are_fetched_for_others(server, path):
    status, _, body = fetch(server.address + path)
    assert status in (403, 404)
    assert b"root:" not in body


def test_paths_of_this_machine_are_no_recordings(server):
    """Who writes to the interface by hand names files of the server as if they had been uploaded."""
    status, _, body = fetch(f"{server.address}/config")
    config = json.loads(body)
    number = next(
        each["id"]
        for each in config["dependencies"]
        if any(target[1] == "click" for target in each["targets"]) and len(each["inputs"]) == 8
    )
    file = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    data = [file, None, None, "causal-unet-16k", 1, None, 0, 1]
    body = json.dumps({"data": data, "fn_index": number, "session_hash": "byhand"}).encode()
    status, _, answer = fetch(
        f"{server.address}/gradio_api/queue/join", body, {"Content-Type": "application/json"}
    )
    told = answer.decode()
    if status == 200:
        _, _, stream = fetch(f"{server.address}/gradio_api/queue/data?session_hash=byhand")
        told += stream.decode()
    assert "enh-player" not in told
    assert "root:" not in told


def test_nothing_of_a_visitor_stays_when_the_page_is_closed(browser, server):
    results = next(server.temporary.glob("audio-enh-web-*")) / "results"
    before = set(results.iterdir())
    with open_page(browser, server) as page:
        page.get_by_role("button", name="dog").click()
        page.locator("enh-player").wait_for()
        made = set(results.iterdir()) - before
        assert len(made) == 1
    (folder,) = made
    for _ in range(300):
        if not folder.exists():
            return
        time.sleep(0.2)
    pytest.fail("the files are still there")


def web(*arguments):
    return subprocess.run(
        [sys.executable, "-c", "from audio_enh.cli import main; main()", "web", "--no-browser", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "--auth USER:PASSWORD"),
        (["--share"], "--auth USER:PASSWORD"),
        (["--auth", "nobody"], "give USER:PASSWORD"),
        (["--auth", "ann:"], "neither of them empty"),
        (["--model", "nothing-16k"], "no checkpoint"),
        (["--pairs", "/nowhere"], "cannot read the folder"),
    ],
)
def test_a_mistake_is_told_in_a_line(arguments, words):
    done = web(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_with_auth_and_small_limits(browser, tmp_path):
    running = Server(
        tmp_path, "--auth", "ann:secret", "--max-size", "1", "--max-minutes", "0.1", "-m", "causal-unet-16k"
    )
    address = running.address
    try:
        _, _, body = fetch(f"{address}/config")
        assert b"Not authenticated" in body
        for path in ("/gradio_api/upload", "/gradio_api/queue/join"):
            assert fetch(address + path, b"{}", {"Content-Type": "application/json"})[0] == 401
        from tests.web.test_live import connect, refusal

        with connect(running) as socket:
            assert refusal(socket) == "log in first"
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto(address)
        page.get_by_label("username").fill("ann")
        page.get_by_label("password").fill("secret")
        page.get_by_role("button", name="Login").click()
        page.get_by_role("button", name="Enhance", exact=True).wait_for()
        # The recording has 6.3 s, the limit is 6.
        page.get_by_role("button", name="rain", exact=True).click()
        page.get_by_role("alert").get_by_text("longer than 0.1 minutes").wait_for()
        page.get_by_role("tab", name="Live").click()
        page.locator("enh-live").get_by_role("button", name="Start").click()
        page.wait_for_function("() => document.querySelector('enh-live').delay > 0")
        # More than a megabyte is not taken.
        big = tmp_path / "big.wav"
        big.write_bytes(b"\0" * 3_000_000)
        page.get_by_role("tab", name="File").click()
        with page.expect_response(lambda answer: "/upload" in answer.url) as answer:
            page.locator("#file-source button").first.click()
            page.locator("#file-source input[type=file]").set_input_files(big)
        assert answer.value.status == 413
        context.close()
    finally:
        assert running.stop() == 143
    assert not list(running.temporary.glob("audio-enh-web-*"))
