"""An application whose answers have as many bytes as their path says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    content = b"x" * int(environ["PATH_INFO"].strip("/") or 0)
    start_response("200 OK", [("Content-Length", str(len(content)))])
    return [content]
