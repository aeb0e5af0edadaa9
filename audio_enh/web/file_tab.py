"""The file tab: a recording in, the enhanced one beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from audio_enh.errors import UserError
from audio_enh.io.containers import AUDIO_EXTENSIONS
from audio_enh.options import EnhanceOptions
from audio_enh.web import pages, tasks
from audio_enh.web.jobs import Job
from audio_enh.web.limits import MAX_DRAWS, MAX_STEPS
from audio_enh.web.server import Server, Superseded

SAMPLES = ("rain", "helicopter", "waves", "chainsaw", "dog")
DOWNLOADS = 3


def whole_number(value: float | None, name: str, least: int, most: int) -> int | None:
    """A number from the page, None where it was left empty."""
    if value is None:
        return None
    if value != int(value) or not least <= value <= most:
        raise UserError(f"{name} must be a whole number from {least} to {most}")
    return int(value)


def build(server: Server) -> None:
    """Lay the tab out and say what its buttons do; inside of a ``gr.Blocks``."""
    first = server.models[0]
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=320):
            source = gr.File(
                label="Recording or video",
                file_types=sorted(AUDIO_EXTENSIONS),
                height=150,
                elem_id="file-source",
            )
            with gr.Accordion("Record with the microphone", open=False):
                recorded = gr.Audio(
                    label="Microphone", sources=["microphone"], type="filepath", elem_id="file-microphone"
                )
            gr.Markdown("Or one of these, speech in noise:")
            with gr.Row():
                samples = [gr.Button(name, size="sm", min_width=90) for name in SAMPLES]
            model = gr.Dropdown(
                [each.name for each in server.models], value=first.name, label="Model", elem_id="file-model"
            )
            strength = gr.Slider(
                0, 1, value=1, step=0.05, label="Strength", info="Less leaves some of the original in."
            )
            with gr.Group(visible=first.generative) as generative:
                steps = gr.Number(
                    label="Steps",
                    info="Empty: as the model likes it.",
                    precision=0,
                    minimum=0,
                    maximum=MAX_STEPS,
                    value=None,
                )
                seed = gr.Number(
                    label="Seed", info="The same one gives the same result.", precision=0, value=0
                )
                draws = gr.Slider(
                    1, MAX_DRAWS, value=1, step=1, label="Draws", info="From 2 on, shows where they disagree."
                )
            with gr.Accordion("Compare with a clean recording", open=False):
                reference = gr.File(
                    label="Clean recording of the same speech, for PESQ, ESTOI and SI-SDR",
                    file_types=sorted(AUDIO_EXTENSIONS),
                    height=120,
                    elem_id="file-reference",
                )
            with gr.Row():
                start = gr.Button("Enhance", variant="primary", elem_id="file-start")
                cancel = gr.Button("Cancel", variant="stop", visible=False, elem_id="file-cancel")
        with gr.Column(scale=2, min_width=320):
            status = gr.HTML("", elem_id="file-status")
            result = gr.HTML("", elem_id="file-result")
            scores = gr.HTML("", elem_id="file-scores")
            with gr.Row():
                downloads = [gr.DownloadButton(visible=False, size="sm") for _ in range(DOWNLOADS)]

    async def run(
        request: gr.Request,
        source: str | None,
        recorded: str | None,
        reference: str | None,
        model: str,
        strength: float,
        steps: float | None,
        seed: float | None,
        draws: float,
    ) -> AsyncIterator[dict[Any, Any]]:
        idle = {start: gr.update(visible=True), cancel: gr.update(visible=False)}
        cleared = {result: "", scores: "", **{button: gr.update(visible=False) for button in downloads}}
        try:
            chosen = source or recorded
            if chosen is None:
                raise UserError("choose a recording first, or record one")
            visitor = server.visitor(request)
            info = server.model(model)
            options = EnhanceOptions(float(strength))
            if info.generative:
                options = options.changed(
                    steps=whole_number(steps, "Steps", 0, MAX_STEPS),
                    seed=whole_number(seed, "Seed", 0, 2**31 - 1),
                    draws=whole_number(draws, "Draws", 1, MAX_DRAWS) or 1,
                )
            clean = None if reference is None else Path(reference)
            folder = visitor.fresh("file")
            name = server.names[info.name]
            work = tasks.EnhanceRequest(Path(chosen), folder, name, server.device, options, clean)
            busy = {start: gr.update(visible=False), cancel: gr.update(visible=True)}
            yield {**busy, **cleared, status: ""}
            async for told in server.follow(visitor, "file", tasks.enhance, work, server.limits):
                if isinstance(told, Job):
                    enhanced, done = told, told.result
                else:
                    yield {status: told}
            yield shown(done, work)
        except Superseded:
            return
        except UserError as error:
            yield {**idle, **cleared, status: pages.failure(str(error))}
            return
        # The result can be heard while it is scored.
        arguments = (work, done.downloads[0], done.loudest)
        try:
            async for told in server.follow(visitor, "file", tasks.measure, *arguments, after=enhanced):
                if isinstance(told, Job):
                    table = pages.score_table(told.result.rows, ("Original", "Enhanced"))
                    yield {**idle, scores: table + pages.notes(told.result.notes)}
                else:
                    yield {scores: told}
        except Superseded:
            return
        except UserError as error:
            yield {**idle, scores: pages.failure(f"no scores: {error}")}

    def stop(request: gr.Request) -> None:
        server.cancel("file", request)

    def shown(done: tasks.EnhanceResult, work: tasks.EnhanceRequest) -> dict[Any, Any]:
        speed = done.seconds / done.elapsed if done.elapsed else 0
        summary = (
            f"{done.seconds:.1f} s of sound in {done.elapsed:.1f} s ({speed:.0f} times as fast as it plays)"
        )
        config = {**done.preview, "removed": True, "uncertainty": done.uncertainty}
        buttons = {}
        for number, button in enumerate(downloads):
            path = done.downloads[number] if number < len(done.downloads) else None
            label = "" if path is None else f"Download {path.suffix[1:].upper()}"
            buttons[button] = gr.update(visible=path is not None, value=path and str(path), label=label)
        return {
            status: f'<div role="status">{summary}</div>' + pages.notes(done.notes),
            result: pages.player(config, work.folder),
            **buttons,
        }

    inputs = [source, recorded, reference, model, strength, steps, seed, draws]
    outputs = [start, cancel, status, result, scores, *downloads]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    running: dict[str, Any] = {**private, "concurrency_limit": None}
    start.click(run, inputs, outputs, **running)
    cancel.click(stop, None, None, queue=False, **private)
    model.change(
        lambda name: gr.update(visible=server.model(name).generative),
        model,
        generative,
        queue=False,
        **private,
    )
    for name, button in zip(SAMPLES, samples, strict=True):
        noisy, clean = (str(server.samples / kind / f"{name}.flac") for kind in ("noisy", "clean"))
        chosen = button.click(
            lambda noisy=noisy, clean=clean: (noisy, None, clean),
            None,
            [source, recorded, reference],
            queue=False,
            **private,
        )
        chosen.then(run, inputs, outputs, **running)
