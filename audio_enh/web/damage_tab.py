"""The damage tab: a clean recording is damaged, and a model repairs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from audio_enh.distortions import DISTORTIONS, Recordings, find_distortion
from audio_enh.errors import UserError
from audio_enh.io.containers import AUDIO_EXTENSIONS
from audio_enh.options import EnhanceOptions
from audio_enh.web import pages, tasks
from audio_enh.web.file_tab import SAMPLES, whole_number
from audio_enh.web.jobs import Job
from audio_enh.web.server import Server, Superseded

ROWS = 4
NONE = "(none)"
#: What the page shows at first: something that everybody knows.
START = (("background_noise", 0.5), ("clipping", 0.5))


def build(server: Server) -> None:
    """Lay the tab out and say what its buttons do; inside of a ``gr.Blocks``."""
    recordings = Recordings()
    usable = [kind for kind in DISTORTIONS if kind.unavailable(recordings) is None]
    choices = [(NONE, NONE), *((kind.name().replace("_", " "), kind.name()) for kind in usable)]
    names = [model.name for model in server.models]
    repairing = [name for name in names if "universe" in name] + names
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=320):
            source = gr.File(
                label="Clean recording",
                file_types=sorted(AUDIO_EXTENSIONS),
                height=150,
                elem_id="damage-source",
            )
            gr.Markdown("Or one of these:")
            with gr.Row():
                samples = [gr.Button(f"{name} (clean)", size="sm", min_width=90) for name in SAMPLES[1:4]]
            kinds, severities = [], []
            for number in range(ROWS):
                chosen, severity = START[number] if number < len(START) else (NONE, 0.5)
                with gr.Row():
                    kinds.append(
                        gr.Dropdown(choices, value=chosen, label=f"Damage {number + 1}", min_width=180)
                    )
                    severities.append(
                        gr.Slider(0, 1, value=severity, step=0.05, label="Severity", min_width=120)
                    )
            draw = gr.Button("Draw some at random", size="sm")
            seed = gr.Number(label="Seed", info="The same one gives the same damage.", precision=0, value=0)
            model = gr.Dropdown(names, value=repairing[0], label="Repaired by")
            with gr.Row():
                start = gr.Button("Damage and repair", variant="primary")
                cancel = gr.Button("Cancel", variant="stop", visible=False)
        with gr.Column(scale=2, min_width=320):
            status = gr.HTML("", elem_id="damage-status")
            result = gr.HTML("", elem_id="damage-result")
            scores = gr.HTML("", elem_id="damage-scores")
            with gr.Row():
                downloads = [
                    gr.DownloadButton(f"Download the {kind} recording", visible=False, size="sm")
                    for kind in ("damaged", "repaired")
                ]

    async def run(
        request: gr.Request, source: str | None, model: str, seed: float | None, *chain: Any
    ) -> AsyncIterator[dict[Any, Any]]:
        idle = {start: gr.update(visible=True), cancel: gr.update(visible=False)}
        cleared = {result: "", scores: "", **{button: gr.update(visible=False) for button in downloads}}
        try:
            if source is None:
                raise UserError("choose a recording first")
            steps = read_chain(chain[:ROWS], chain[ROWS:])
            visitor = server.visitor(request)
            name = server.names[server.model(model).name]
            options = EnhanceOptions().changed(seed=whole_number(seed, "Seed", 0, 2**31 - 1))
            folder = visitor.fresh("damage")
            work = tasks.DamageRequest(Path(source), folder, steps, name, server.device, options)
            yield {**cleared, status: "", start: gr.update(visible=False), cancel: gr.update(visible=True)}
            async for told in server.follow(visitor, "damage", tasks.damage, work, server.limits):
                if isinstance(told, Job):
                    repaired, (done, applied) = told, told.result
                else:
                    yield {status: told}
            buttons = {
                button: gr.update(visible=True, value=str(path))
                for button, path in zip(downloads, done.downloads, strict=True)
            }
            summary = "What was done, as audio-enh distort --chain takes it: " + ", ".join(applied)
            yield {
                status: pages.notes([summary, *done.notes]),
                result: pages.player({**done.preview, "start": 1}, folder),
                **buttons,
            }
        except Superseded:
            return
        except UserError as error:
            yield {**idle, **cleared, status: pages.failure(str(error))}
            return
        damaged, output = done.downloads
        judged = tasks.EnhanceRequest(damaged, folder, name, server.device, options, Path(source))
        try:
            async for told in server.follow(
                visitor, "damage", tasks.measure, judged, output, done.loudest, after=repaired
            ):
                if isinstance(told, Job):
                    table = pages.score_table(told.result.rows, ("Damaged", "Repaired"))
                    yield {**idle, scores: table + pages.notes(told.result.notes)}
                else:
                    yield {scores: told}
        except Superseded:
            return
        except UserError as error:
            yield {**idle, scores: pages.failure(f"no scores: {error}")}

    def stop(request: gr.Request) -> None:
        server.cancel("damage", request)

    def random_chain() -> list[Any]:
        """One to three kinds, of moderate severities."""
        rng = np.random.default_rng()
        number = int(rng.integers(1, ROWS))
        drawn = [usable[n].name() for n in rng.choice(len(usable), number, replace=False)]
        values = [round(float(rng.uniform(0.2, 0.9)) * 20) / 20 for _ in range(ROWS)]
        return [*drawn, *[NONE] * (ROWS - number), *values]

    outputs = [start, cancel, status, result, scores, *downloads]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    inputs = [source, model, seed, *kinds, *severities]
    start.click(run, inputs, outputs, concurrency_limit=None, **private)
    cancel.click(stop, None, None, queue=False, **private)
    draw.click(random_chain, None, [*kinds, *severities], queue=False, **private)
    for name, button in zip(SAMPLES[1:4], samples, strict=True):
        path = str(server.samples / "clean" / f"{name}.flac")
        button.click(lambda path=path: path, None, source, queue=False, **private)


def read_chain(names: tuple[Any, ...], severities: tuple[Any, ...]) -> tuple[tuple[str, float], ...]:
    """What a visitor chose, without the rows that were left empty.

    Raises:
        UserError: nothing was chosen, or something that there is not.
    """
    chain = []
    for name, severity in zip(names, severities, strict=True):
        if name in (None, NONE):
            continue
        if not 0 <= float(severity) <= 1:
            raise UserError("a severity is a number from 0 to 1")
        chain.append((find_distortion(str(name)).name(), float(severity)))
    if not chain:
        raise UserError("choose some damage first")
    return tuple(chain)
