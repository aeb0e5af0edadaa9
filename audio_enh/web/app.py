"""The page and its server: tabs, theme, headers, start and end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from audio_enh.errors import DependencyError, UserError
from audio_enh.inference.catalog import FULL_BAND_MODEL, available, find_checkpoint
from audio_enh.web.jobs import JobQueue
from audio_enh.web.limits import Limits
from audio_enh.web.tasks import describe_models
from audio_enh.web.visitors import Visitors, temporary_root

#: Where the page's own scripts are.
STATIC = "audio-enh"
SCRIPTS = ("player", "live")
#: Nothing but this server is asked for anything, whatever a page holds. Gradio's own scripts need 'unsafe'.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob:; font-src 'self' data:; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """How a server is started.

    Attributes:
        models: names for :func:`audio_enh.load`, the first one is chosen unless a visitor chooses; those that are
            shipped, if none.
        device: where they compute.
        host, port: to listen at.
        users: names and passwords; anybody may come in if there are none.
        share: make a public address that leads here, through a server of Gradio's.
        workers: files that are worked on at a time.
        limits: what visitors may ask for.
        browser: open the page.
        pairs, answers: of listening tests, see :class:`audio_enh.web.server.Server`.
    """

    models: tuple[str, ...] = ()
    device: str = "auto"
    host: str = "127.0.0.1"
    port: int = 7860
    users: tuple[tuple[str, str], ...] = ()
    share: bool = False
    workers: int = 1
    limits: Limits = field(default_factory=Limits)
    browser: bool = False
    pairs: Path | None = None
    answers: Path | None = None


class Guard:
    """Middleware: adds headers, and refuses to fetch addresses for others, which Gradio would do."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_more(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        path = scope["path"].replace("//", "/")
        if "/file=http" in path or "/proxy=" in path:
            await send_more({"type": "http.response.start", "status": 404, "headers": []})
            return await send({"type": "http.response.body", "body": b""})
        return await self.app(scope, receive, send_more)


def serve(settings: Settings, ready: Callable[[str], None], wait: Callable[[], None]) -> None:
    """Run the server.

    Args:
        settings: see there.
        ready: told the address, once the page can be opened.
        wait: returns when the server is to end.

    Raises:
        UserError: an unknown model, a port that is taken, an address that is not this machine's.
        DependencyError: a package is not installed.
    """
    shipped = sorted(
        (checkpoint.name for checkpoint in available()), key=lambda name: name != FULL_BAND_MODEL
    )
    names = settings.models or tuple(shipped)  # what `enhance` takes comes first
    for name in names:
        find_checkpoint(name)  # a wrong one is told before anything is started
    if settings.pairs is not None and len(_folders(settings.pairs)) < 2:
        raise UserError(f"{settings.pairs} needs a folder of recordings for each of two systems or more")
    with ExitStack() as stack:
        root = stack.enter_context(temporary_root())
        jobs = stack.enter_context(JobQueue(settings.workers, settings.limits))
        described = jobs.submit("", describe_models, names, settings.device)
        _prepare_gradio(root)  # takes seconds, while torch is loaded in a worker
        from audio_enh.web.server import Server

        models = jobs.wait(described)
        results = root / "results"
        results.mkdir()
        samples = stack.enter_context(as_file(files("audio_enh") / "samples"))
        named = {model.name: name for model, name in zip(models, names, strict=True)}
        server = Server(
            models,
            named,
            settings.device,
            jobs,
            Visitors(results),
            settings.limits,
            samples,
            settings.pairs,
            settings.answers,
        )
        _launch(server, settings, stack, ready, wait)


def _prepare_gradio(root: Path) -> None:
    """Its switches are variables of the environment, read when it is imported."""
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(root / "uploads"),
        "GRADIO_SSR_MODE": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise DependencyError.missing("audio-enh web", "gradio", "web") from error


def build(server: Any) -> Any:
    """The page."""
    import gradio as gr

    from audio_enh.web import compare_tab, damage_tab, file_tab, live_tab

    with gr.Blocks(title="audio_enh", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.HTML("<h1>audio_enh</h1><p>Speech without the noise. Everything stays on this machine.</p>")
        with gr.Tabs():
            with gr.Tab("File"):
                file_tab.build(server)
            with gr.Tab("Live"):
                live_tab.build(server)
            with gr.Tab("Damage"):
                damage_tab.build(server)
            with gr.Tab("Compare"):
                compare_tab.build(server)
        page.unload(server.leave)
    return page


def _launch(
    server: Any, settings: Settings, stack: ExitStack, ready: Callable[[str], None], wait: Callable[[], None]
) -> None:
    import gradio as gr
    from starlette.middleware import Middleware
    from starlette.routing import Mount, WebSocketRoute
    from starlette.staticfiles import StaticFiles

    from audio_enh.web.live_socket import LiveSocket

    static = stack.enter_context(as_file(files("audio_enh.web") / "static"))
    causal = {model.name: server.names[model.name] for model in server.models if model.causal}
    page = build(server)
    stack.callback(page.close, verbose=False)
    try:
        _, local, share = page.queue(default_concurrency_limit=None, api_open=False).launch(
            server_name=settings.host,
            server_port=settings.port or _free_port(settings.host),
            auth=list(settings.users) or None,
            share=settings.share,
            inbrowser=settings.browser,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=round(settings.limits.megabytes * 1e6),
            allowed_paths=[str(server.visitors.root), str(server.samples)],
            footer_links=[],
            ssr_mode=False,
            enable_monitoring=False,
            theme=_theme(gr),
            css_paths=[static / "page.css"],
            head="".join(f'<script type="module" src="{STATIC}/{name}.js"></script>' for name in SCRIPTS),
            app_kwargs={
                "routes": [
                    WebSocketRoute(f"/{STATIC}/live", LiveSocket(causal, settings.limits.live).serve),
                    Mount(f"/{STATIC}", StaticFiles(directory=static)),
                ],
                "middleware": [Middleware(Guard)],
            },
        )
    except OSError as error:
        raise UserError(f"cannot listen at {settings.host}, port {settings.port}: {error}") from error
    ready(share or local)
    wait()


def _theme(gr: Any) -> Any:
    """Fonts of the system, as Gradio's own come from elsewhere, and colours that everybody can read."""
    theme = gr.themes.Default(
        primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    grey = {"light": "*neutral_600", "dark": "*neutral_300"}
    readable = {
        f"{name}{'_dark' if mode == 'dark' else ''}": colour
        for name in ("body_text_color_subdued", "block_info_text_color", "block_label_text_color")
        for mode, colour in grey.items()
    }
    for mode in ("", "_dark"):
        readable[f"button_primary_background_fill{mode}"] = "*primary_700"
        readable[f"button_primary_background_fill_hover{mode}"] = "*primary_800"
        readable[f"button_primary_text_color{mode}"] = "white"
        readable[f"button_cancel_background_fill{mode}"] = "#b91c1c"
        readable[f"button_cancel_text_color{mode}"] = "white"
    return theme.set(**readable)


def _folders(parent: Path) -> list[Path]:
    try:
        return [path for path in parent.iterdir() if path.is_dir()]
    except OSError as error:
        raise UserError(f"cannot read the folder {parent}: {error.strerror}") from error


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        taken.bind((host, 0))
        return int(taken.getsockname()[1])
