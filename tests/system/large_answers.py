"""An application whose answers have as many bytes as their path says; `/file` is this file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/file":
        start_response("200 OK", [])
        whole: Iterable[bytes] = environ["wsgi.file_wrapper"](open(__file__, "rb"))  # noqa: SIM115
        return whole
    content = b"x" * int(environ["PATH_INFO"].strip("/") or 0)
    start_response("200 OK", [("Content-Length", str(len(content)))])
    return [content]
