"""Live sound over a WebSocket: blocks of samples come in, as many go back, enhanced.

The browser connects to ``/audio-enh/live?model=NAME&rate=48000&block=480``. The server tells the delay as JSON;
then each binary message of float32 samples (whole blocks of one channel) is answered by one of the same length. Text
messages hold JSON that sets ``strength``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from starlette.websockets import WebSocket, WebSocketDisconnect

from audio_enh.errors import UserError
from audio_enh.streaming import LiveStream

#: Seconds of sound that may wait; beyond, the model is left out until the stream has caught up.
BACKLOG = 0.2
#: Messages that are read ahead; more wait in the network.
READ_AHEAD = 500
MAX_SECONDS = 1.0
#: Seconds without a message, after which a connection is closed.
SILENCE = 30.0
#: WebSocket status codes: the request is refused, the server is full.
REFUSED, FULL = 1008, 1013


class LiveSocket:
    """Endpoint of live streams.

    Args:
        models: the causal models that may be chosen, and what `LiveStream` takes for them.
        limit: streams at a time.
    """

    def __init__(self, models: Mapping[str, str], limit: int) -> None:
        self._models = models
        self._limit = limit
        self._open = 0

    async def serve(self, socket: WebSocket) -> None:
        """Serve one connection."""
        await socket.accept()
        if not (_is_same_origin(socket) and _may_enter(socket)):
            return await socket.close(REFUSED, "log in first")
        if self._open >= self._limit:
            return await socket.close(FULL, f"{self._limit} live streams run already: try again later")
        self._open += 1
        # A thread of its own for each: the state of a stream is for one thread.
        executor = ThreadPoolExecutor(1)
        try:
            loop = asyncio.get_running_loop()
            stream = await loop.run_in_executor(executor, self._make_stream, socket.query_params)
            await _Connection(socket, stream, executor).serve()
        except UserError as error:
            await socket.close(REFUSED, str(error)[:120])
        except WebSocketDisconnect:
            pass
        finally:
            self._open -= 1
            executor.shutdown(wait=False)

    def _make_stream(self, query: Mapping[str, str]) -> LiveStream:
        model = self._models.get(query.get("model", ""))
        if model is None:
            raise UserError("there is no such model for live sound")
        try:
            rate, block = int(query["rate"]), int(query["block"])
        except (KeyError, ValueError):
            raise UserError("rate and block must be whole numbers") from None
        if not (8000 <= rate <= 192000 and 1 <= block <= rate):
            raise UserError("rate or block is out of range")
        return LiveStream(model, sample_rate=rate, block_length=block)


class _Connection:
    """One stream and its socket."""

    def __init__(self, socket: WebSocket, stream: LiveStream, executor: ThreadPoolExecutor) -> None:
        self._socket, self._stream, self._executor = socket, stream, executor
        self._blocks: asyncio.Queue[NDArray[np.float32]] = asyncio.Queue(READ_AHEAD)
        self._waiting = 0  # samples

    async def serve(self) -> None:
        """Until either side ends it."""
        stream = self._stream
        milliseconds = 1000 / stream.sample_rate
        await self._socket.send_text(
            json.dumps(
                {
                    "latency": stream.latency_samples,
                    "parts": {name: part * milliseconds for name, part in stream.latency._asdict().items()},
                    "backend": stream.backend.name,
                }
            )
        )
        work = asyncio.create_task(self._work())
        try:
            while True:
                message = await asyncio.wait_for(self._socket.receive(), SILENCE)
                if message["type"] == "websocket.disconnect" or work.done():
                    break
                if (data := message.get("bytes")) is not None:
                    block = self._read(data)
                    self._waiting += len(block)
                    await self._blocks.put(block)
                elif (text := message.get("text")) is not None:
                    self._set(text)
        except asyncio.TimeoutError:
            await self._socket.close(1000, "nothing was heard for a while")
        finally:
            work.cancel()

    def _read(self, data: bytes) -> NDArray[np.float32]:
        unit = 4 * (self._stream.block_length or 1)
        if not data or len(data) % unit or len(data) > 4 * MAX_SECONDS * self._stream.sample_rate:
            raise UserError(f"a message holds whole blocks of {unit // 4} samples")
        return np.frombuffer(data, "<f4")

    def _set(self, text: str) -> None:
        try:
            self._stream.strength = float(json.loads(text)["strength"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UserError('settings are JSON such as {"strength": 0.7}') from None

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            block = await self._blocks.get()
            keeps_up = self._waiting - len(block) <= BACKLOG * self._stream.sample_rate
            out = await loop.run_in_executor(self._executor, self._process, block, keeps_up)
            self._waiting -= len(block)
            await self._socket.send_bytes(out.tobytes())

    def _process(self, block: NDArray[np.float32], run_model: bool) -> NDArray[np.float32]:
        return self._stream.process(block, run_model=run_model)


def _is_same_origin(socket: WebSocket) -> bool:
    """Whether the page that connects is ours: browsers let any page connect here, and tell which it was."""
    origin = socket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == socket.headers.get("host")


def _may_enter(socket: WebSocket) -> bool:
    """Whether the visitor has logged in, where that is asked for."""
    app: Any = socket.app
    if getattr(app, "auth", None) is None:
        return True
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(app.tokens.get(socket.cookies.get(name)) is not None for name in names)
