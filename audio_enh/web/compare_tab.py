"""The compare tab: a blind listening test of two models, or of pairs of files that somebody made."""

from __future__ import annotations

import html
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from audio_enh.errors import UserError
from audio_enh.eval.pairing import match_rule, pair_folders
from audio_enh.io.containers import AUDIO_EXTENSIONS
from audio_enh.web import pages, tasks
from audio_enh.web.abx import ListeningTest, Pair, describe
from audio_enh.web.file_tab import SAMPLES
from audio_enh.web.jobs import Job
from audio_enh.web.server import Server, Superseded
from audio_enh.web.visitors import Visitor

ORIGINAL = "(the recording itself)"
MAX_FILES = 50
MAX_REPEATS = 20


@dataclass
class Running:
    """A test in a visitor's page; ``began`` is when the current trial was shown, None until it is."""

    test: ListeningTest
    folder: Path
    began: float | None = None


def build(server: Server) -> None:
    """Lay the tab out and say what its buttons do; inside of a ``gr.Blocks``."""
    names = [model.name for model in server.models]
    running = gr.State(None)
    with gr.Column() as setup:
        gr.Markdown(
            "A blind test: you hear A, B and X, which is one of the two, and say which. At the end you see how well "
            "you could tell them apart, and may save your answers as a table."
        )
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                sources = gr.File(
                    label="Recordings",
                    file_count="multiple",
                    file_types=sorted(AUDIO_EXTENSIONS),
                    height=150,
                    elem_id="compare-source",
                )
                bundled = gr.Button("Take those that come with the program", size="sm")
                systems = [*names, ORIGINAL]
                first = gr.Dropdown(systems, value=names[0], label="First model")
                second = gr.Dropdown(systems, value=systems[1], label="Second model")
            with gr.Column(min_width=320):
                repeats = gr.Slider(
                    1,
                    MAX_REPEATS,
                    value=5,
                    step=1,
                    label="Trials per recording",
                    info="Five or more in all show something.",
                )
                listener = gr.Textbox(
                    label="Your name", info="For the table; may be left empty.", max_lines=1
                )
                start = gr.Button("Start the test", variant="primary")
        pairs_start = None
        if server.pairs is not None:
            folders = sorted(path.name for path in server.pairs.iterdir() if path.is_dir())
            gr.Markdown("Or the pairs that are prepared here:")
            with gr.Row():
                left = gr.Dropdown(folders, value=folders[0], label="First")
                right = gr.Dropdown(folders, value=folders[-1], label="Second")
                pairs_start = gr.Button("Start the test of these pairs", variant="primary")
    status = gr.HTML("", elem_id="compare-status")
    with gr.Column(visible=False) as testing:
        player = gr.HTML("", elem_id="compare-player")
        with gr.Row():
            is_a = gr.Button("X is A", variant="primary")
            is_b = gr.Button("X is B", variant="primary")
        stop = gr.Button("End the test here", size="sm")
    with gr.Row():
        table = gr.DownloadButton("Download the answers as CSV", visible=False, size="sm")
        again = gr.Button("Another test", visible=False, size="sm")

    async def prepare(
        request: gr.Request, sources: list[str] | None, first: str, second: str, repeats: float, listener: str
    ) -> AsyncIterator[dict[Any, Any]]:
        try:
            visitor = server.visitor(request)
            if not sources:
                raise UserError("choose one recording or several first")
            if len(sources) > MAX_FILES:
                raise UserError(f"choose {MAX_FILES} recordings at most")
            if first == second:
                raise UserError("choose two different models")
            chosen = tuple(
                None if name == ORIGINAL else server.names[server.model(name).name]
                for name in (first, second)
            )
            folder = visitor.fresh("compare")
            work = tasks.CompareRequest([Path(name) for name in sources], folder, chosen, server.device)
            yield {setup: gr.update(visible=False), status: "", table: gr.update(visible=False)}
            async for told in server.follow(visitor, "compare", tasks.compare, work, server.limits):
                if not isinstance(told, Job):
                    yield {status: told}
                    continue
                pairs = [Pair(name, files) for name, files in told.result]
            async for update in begin(visitor, folder, (first, second), pairs, repeats, listener):
                yield update
        except Superseded:
            return
        except UserError as error:
            yield {status: pages.failure(str(error)), setup: gr.update(visible=True)}

    async def prepared(
        request: gr.Request, left: str, right: str, repeats: float, listener: str
    ) -> AsyncIterator[dict[Any, Any]]:
        try:
            visitor = server.visitor(request)
            assert server.pairs is not None
            if left not in folders or right not in folders:
                raise UserError("there is no such folder of pairs")
            groups = pair_folders({"a": server.pairs / left, "b": server.pairs / right}, match_rule("path"))
            pairs = [Pair(group.key, (group.paths["a"], group.paths["b"])) for group in groups]
            yield {setup: gr.update(visible=False), status: "", table: gr.update(visible=False)}
            async for update in begin(
                visitor, visitor.fresh("compare"), (left, right), pairs, repeats, listener
            ):
                yield update
        except Superseded:
            return
        except UserError as error:
            text = str(error).replace(f"{server.pairs}/", "")
            yield {status: pages.failure(text), setup: gr.update(visible=True)}

    async def begin(
        visitor: Visitor,
        folder: Path,
        systems: tuple[str, str],
        pairs: list[Pair],
        repeats: float,
        listener: str,
    ) -> AsyncIterator[dict[Any, Any]]:
        state = Running(ListeningTest.draw(systems, pairs, int(repeats), listener.strip()[:60]), folder)
        yield {running: state}
        async for update in show(visitor, state):
            yield update

    async def show(visitor: Visitor, state: Running) -> AsyncIterator[dict[Any, Any]]:
        """The current trial, or what came of the test."""
        trial = state.test.current
        if trial is None:
            yield finish(state)
            return
        number = len(state.test.answers) + 1
        folder = state.folder / f"trial-{number}"
        folder.mkdir(exist_ok=True)
        files = [trial.pair.files[system] for system in trial.order]
        waiting = {is_a: gr.update(interactive=False), is_b: gr.update(interactive=False)}
        yield waiting
        async for told in server.follow(visitor, "compare", tasks.prepare_trial, files, folder):
            if isinstance(told, Job):
                config = {**told.result, "fixed": True}
        state.began = time.monotonic()
        yield {
            testing: gr.update(visible=True),
            player: pages.player(config, folder),
            status: f'<div role="status">Trial {number} of {len(state.test.trials)}</div>',
            is_a: gr.update(interactive=True),
            is_b: gr.update(interactive=True),
        }

    def finish(state: Running) -> dict[Any, Any]:
        over = {
            testing: gr.update(visible=False),
            player: "",
            setup: gr.update(visible=False),
            again: gr.update(visible=True),
        }
        if not state.test.answers:
            return {**over, setup: gr.update(visible=True), again: gr.update(visible=False), status: ""}
        path = state.folder / file_name(state.test)
        state.test.write_csv(path)
        first, second = (html.escape(name) for name in state.test.systems)
        told = f"<h3>{first} against {second}</h3><p>{html.escape(describe(state.test.result()))}</p>"
        return {
            **over,
            status: f'<div role="status">{told}</div>',
            table: gr.update(visible=True, value=str(path)),
        }

    async def answered(
        letter: Any, state: Running | None, request: gr.Request
    ) -> AsyncIterator[dict[Any, Any]]:
        if state is None:
            yield {status: pages.failure("this test is over: start another one")}
            return
        if state.began is None:  # a second click, before the next trial is there
            return
        try:
            seconds, state.began = time.monotonic() - state.began, None
            state.test.answer(letter, seconds)
            if server.answers is not None:  # after every answer: nothing is lost when the page is closed
                state.test.write_csv(server.answers / f"{state.folder.name}-{file_name(state.test)}")
            async for update in show(server.visitor(request), state):
                yield {**update, running: state}
        except Superseded:
            return
        except UserError as error:
            yield {status: pages.failure(str(error)), setup: gr.update(visible=True)}

    async def said_a(state: Running | None, request: gr.Request) -> AsyncIterator[dict[Any, Any]]:
        async for update in answered("A", state, request):
            yield update

    async def said_b(state: Running | None, request: gr.Request) -> AsyncIterator[dict[Any, Any]]:
        async for update in answered("B", state, request):
            yield update

    def ended(state: Running | None) -> dict[Any, Any]:
        return {status: ""} if state is None else finish(state)

    def restart() -> dict[Any, Any]:
        return {
            setup: gr.update(visible=True),
            again: gr.update(visible=False),
            table: gr.update(visible=False),
            status: "",
            running: None,
        }

    outputs = [setup, running, status, testing, player, is_a, is_b, table, again]
    private: dict[str, Any] = {
        "api_visibility": "private",
        "show_progress": "hidden",
        "concurrency_limit": None,
    }
    noisy = [str(server.samples / "noisy" / f"{name}.flac") for name in SAMPLES]
    bundled.click(lambda: noisy, None, sources, **private)
    start.click(prepare, [sources, first, second, repeats, listener], outputs, **private)
    if pairs_start is not None:
        pairs_start.click(prepared, [left, right, repeats, listener], outputs, **private)
    is_a.click(said_a, running, outputs, **private)
    is_b.click(said_b, running, outputs, **private)
    stop.click(ended, running, outputs, **private)
    again.click(restart, None, outputs, **private)


def file_name(test: ListeningTest) -> str:
    """Of a test's table: who listened, as far as it suits a file's name."""
    who = re.sub(r"[^\w-]+", "-", test.listener).strip("-")
    return f"abx{'-' + who if who else ''}.csv"
