"""A stand-in for the Hugging Face Hub on this machine, which remembers what it was asked."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

REPO = "someone/thermal"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Answer:
    """What is answered to a request.

    Attributes:
        status: of HTTP.
        body: sent to GET; HEAD tells its length.
        headers: beside those that every answer has.
        sent: bytes of the body after which the connection breaks; None: all.
        waits: whether the body never comes.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    sent: int | None = None
    waits: bool = False


@dataclass(frozen=True)
class Asked:
    """A request: its headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]


class StandInHub:
    """A server on the loopback; what it does not know is not found."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: dict[str, Answer] = {}
        self.said = ""  # of a refusal; else what a careless server might say
        self.released = threading.Event()  # ends what waits
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                hub.respond(self)

            do_HEAD = do_GET = do_POST = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def offer(self, name: str, body: bytes = b"", etag: str = "1" * 40, **changes: Any) -> str:
        """Have a file in the repository at the commit; `changes` are of its answer.

        Returns:
            Its path.
        """
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', **changes.pop("headers", {})}
        path = f"/{REPO}/resolve/{COMMIT}/{name}"
        self.answers[path] = replace(Answer(body=body, headers=headers), **changes)
        return path

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer a request; a refusal repeats the token, unless something else is said."""
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.asked.append(Asked(handler.command, handler.path, headers))
        answer = self.answers.get(handler.path, Answer(404))
        handler.send_response(answer.status)
        given = {"Content-Length": str(len(answer.body)), **answer.headers}
        if answer.status >= 400:
            given["X-Error-Message"] = self.said or f"no {headers.get('authorization')}"
        for name, value in given.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(answer.body[: answer.sent])
            handler.wfile.flush()
            if answer.waits:
                self.released.wait(60)
