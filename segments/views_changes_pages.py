"""Pages of changes: each cursor keeps what the first page was of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rest_framework.exceptions import APIException
from rest_framework.pagination import Cursor
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from access.pagination import KeysetPagination, invalid_cursor

POSITION = re.compile(r"([0-9]{1,18}) (\S{1,40}) (\S{1,40}) ([^\x00-\x1f]{0,200})")


class VersionChanged(APIException):
    status_code = 409
    default_code = "version-changed"
    default_detail = (
        "Another version was activated since the first page; start again without the cursor."
    )


@dataclass(frozen=True, slots=True)
class FirstPage:
    """`generation` counts the activations until then; the moments are those of `NetChanges`."""

    generation: int
    since: datetime
    as_of: datetime


class ChangesPagination(KeysetPagination):
    """Keyset over customers; `first` is the page that the cursor sent leads back to, if any.

    Raises ValidationError for a cursor that is not of such a list.
    """

    def __init__(self, request: Request) -> None:
        super().__init__("customer_id", POSITION)
        self.first: FirstPage | None = None
        self._sent = super().decode_cursor(request)
        if self._sent is None:
            return
        match = POSITION.fullmatch(str(self._sent.position))
        try:
            if match is None:
                raise ValueError("no position")
            since, as_of = map(datetime.fromisoformat, match.group(2, 3))
            if since.tzinfo is None or as_of.tzinfo is None or since > as_of:
                raise ValueError("no moments")
        except ValueError as error:
            raise invalid_cursor() from error
        self.first = FirstPage(int(match[1]), since, as_of)
        self._sent = at_position(self._sent, match[4] or None)

    def read(self, changes: Any, request: Request, *, first: FirstPage) -> list[Any]:
        """One page of the changes, whose links lead on from the same first page."""
        self.first = first
        found: list[Any] = self.paginate_queryset(changes, request) or []
        self.base_url = replace_query_param(str(self.base_url), "since", first.since.isoformat())
        return found

    def decode_cursor(self, request: Request) -> Cursor | None:
        return self._sent

    def encode_cursor(self, cursor: Cursor) -> str:
        assert self.first is not None
        first = self.first
        parts = (str(first.generation), first.since.isoformat(), first.as_of.isoformat())
        position = " ".join([*parts, str(cursor.position or "")])
        return super().encode_cursor(at_position(cursor, position))


def at_position(cursor: Cursor, position: str | None) -> Cursor:
    return cursor._replace(position=position)  # type: ignore[arg-type]  # the stubs know numbers only
