"""What all tabs of one server share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from audio_enh.errors import UserError
from audio_enh.web import pages
from audio_enh.web.jobs import Job, JobQueue, Task
from audio_enh.web.limits import Limits
from audio_enh.web.tasks import ModelInfo
from audio_enh.web.visitors import Visitor, Visitors

#: Seconds between two looks at a job.
TICK = 0.2


class Superseded(Exception):
    """A visitor asked the same tab for something else meanwhile: nothing of this is to be shown any more."""


@dataclass(frozen=True)
class Server:
    """One running page.

    Attributes:
        models: that visitors may choose from, the first one unless they do.
        names: of each of them, what :func:`audio_enh.load` takes.
        device: where they compute.
        jobs: the queue of all visitors.
        visitors: who is there.
        limits: what they may ask for.
        samples: the folder of bundled recordings.
        pairs: a folder with a folder of recordings for each system, for listening tests.
        answers: where the answers of listening tests are kept.
        latest: the last job of each visitor and tab, for cancelling.
    """

    models: Sequence[ModelInfo]
    names: dict[str, str]
    device: str
    jobs: JobQueue
    visitors: Visitors
    limits: Limits
    samples: Path
    pairs: Path | None = None
    answers: Path | None = None
    latest: dict[tuple[str, str], Job] = field(default_factory=dict)

    def visitor(self, request: gr.Request) -> Visitor:
        """Who asks."""
        if not request.session_hash:
            raise UserError("this page is used from a browser")
        return self.visitors.visit(request.session_hash)

    def model(self, name: str) -> ModelInfo:
        """What is known of a model that a visitor chose."""
        for model in self.models:
            if model.name == name:
                return model
        raise UserError(f"there is no model {name} here")

    def leave(self, request: gr.Request) -> None:
        """Called when a page is closed: end what it asked for and remove what was made for it."""
        name = request.session_hash or ""
        self.jobs.cancel_of(name)
        self.visitors.leave(name)
        for key in [key for key in self.latest if key[0] == name]:
            del self.latest[key]

    def cancel(self, tab: str, request: gr.Request) -> None:
        """Cancel what a visitor's tab is doing."""
        job = self.latest.get((request.session_hash or "", tab))
        if job is not None:
            self.jobs.cancel(job)

    async def follow(
        self, visitor: Visitor, tab: str, task: Task, *arguments: Any, after: Job | None = None
    ) -> AsyncIterator[str | Job]:
        """Queue a task; gives what the page shows of its progress, and at the end the job.

        What the tab was doing before is cancelled.

        Args:
            after: the job whose result this goes on with.

        Raises:
            UserError: it was not taken, failed, or was cancelled.
            Superseded: the tab does something else by now.
        """
        key = (visitor.name, tab)
        former = self.latest.get(key)
        if after is not None and former is not after:
            raise Superseded
        if former is not None and not former.over.is_set():
            self.jobs.cancel(former)
        job = self.latest[key] = self.jobs.submit(visitor.name, task, *arguments)
        try:
            while not job.finished:
                yield pages.progress(job, self.jobs.ahead(job))
                await asyncio.sleep(TICK)
        finally:
            if not job.over.is_set():  # the page was closed
                self.jobs.cancel(job)
        if self.latest.get(key) is not job:
            raise Superseded
        if job.state == "cancelled":
            raise UserError("cancelled")
        if job.state == "failed":
            # Where things are on this machine is nobody's business.
            text = job.error.replace(f"{visitor.folder}/", "")
            for source in arguments:
                for path in (
                    value for value in getattr(source, "__dict__", {}).values() if isinstance(value, Path)
                ):
                    text = text.replace(str(path), path.name)
            raise UserError(text)
        yield job
