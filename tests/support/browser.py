"""A real browser: headless Chromium, driven over a pipe (Chrome DevTools Protocol)."""

import asyncio
import functools
import http.server
import json
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The machine's proxy is for the world outside.
    "--no-proxy-server",
    "--remote-debugging-pipe",
)
_TIMEOUT_S = 30
_MESSAGE_BYTES_MAX = 2**24
# Chromium reads commands from descriptor 3 and writes answers to 4.
# Other shells than bash know no descriptors above 9.
_WITH_PIPES = 'exec "$0" "$@" 3<&{0} 4>&{1}'


@dataclass
class Page:
    """A page that is open."""

    _commands: asyncio.WriteTransport
    _answers: asyncio.StreamReader
    _session: str | None = None
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    async def evaluate(self, expression: str) -> Any:
        """Give the value of a JavaScript expression in the page."""
        answer = await self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; what happens meanwhile is passed over."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        async with asyncio.timeout(_TIMEOUT_S):
            while True:
                answer = json.loads((await self._answers.readuntil(b"\0"))[:-1])
                if answer.get("id") == number:
                    result: dict[str, Any] = answer["result"]
                    return result

    async def attach(self, url: str) -> None:
        """Open a page; later commands are about it."""
        target = await self.command("Target.createTarget", url=url)
        attached = await self.command(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = attached["sessionId"]


@asynccontextmanager
async def page_at(url: str, profile: Path) -> AsyncIterator[Page]:
    """Have a page open for a while, in a browser of its own with a new profile."""
    assert CHROMIUM is not None
    loop = asyncio.get_running_loop()
    commands_out, commands_in = os.pipe()
    answers_out, answers_in = os.pipe()
    browser = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        _WITH_PIPES.format(commands_out, answers_in),
        CHROMIUM,
        *_FLAGS,
        f"--user-data-dir={profile}",
        pass_fds=(commands_out, answers_in),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    os.close(commands_out)
    os.close(answers_in)
    answers = asyncio.StreamReader(limit=_MESSAGE_BYTES_MAX)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(answers), os.fdopen(answers_out, "rb")
    )
    commands, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(commands_in, "wb"))
    try:
        page = Page(commands, answers)
        await page.attach(url)
        yield page
    finally:
        commands.close()
        browser.terminate()
        await browser.wait()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Have an origin that serves the files of a folder for a while."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
