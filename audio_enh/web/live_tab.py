"""The live tab: the browser's microphone through a causal model and back."""

from __future__ import annotations

import html
import json

import gradio as gr

from audio_enh.web.server import Server


def build(server: Server) -> None:
    """Lay the tab out, inside of a ``gr.Blocks``; ``static/live.js`` does the rest with `LiveSocket`."""
    names = [model.name for model in server.models if model.causal]
    if not names:
        gr.Markdown("None of the models here can run live: that takes a causal one, such as causal-unet-16k.")
        return
    gr.HTML(f'<enh-live models="{html.escape(json.dumps(names), quote=True)}"></enh-live>')
