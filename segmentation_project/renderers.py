"""JSON out, by msgspec: `application/json`, and problem+json for errors. Never HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

PROBLEM_JSON = "application/problem+json"
ACCEPTED = {"*/*", "application/*", "application/json", PROBLEM_JSON}

_encoder = msgspec.json.Encoder(enc_hook=str, decimal_format="number")


def encode(data: Any) -> bytes:
    return _encoder.encode(data)


class JSONRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else encode(data)


class JSONOnly(DefaultContentNegotiation):
    """JSON for whoever takes JSON; an Accept that excludes it is a 406, itself in JSON."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        own, *others = renderers
        if not isinstance(own, JSONRenderer):  # the schema and its pages
            return self._select_page([own, *others], request, format_suffix)
        # An empty header states no wish.
        for entry in self.get_accept_list(request) or ["*/*"]:
            if entry.partition(";")[0].strip().lower() in ACCEPTED:
                return own, own.media_type
        raise NotAcceptable

    def _select_page(
        self, renderers: list[BaseRenderer], request: Request, format_suffix: str | None
    ) -> tuple[BaseRenderer, str]:
        """What suits best, or the page as it is: a browser shows it whatever it asked for."""
        try:
            chosen: tuple[BaseRenderer, str] = super().select_renderer(
                request, renderers, format_suffix
            )
        except NotAcceptable:
            return renderers[0], renderers[0].media_type
        return chosen
