"""`GET /segments/{model_type}/export`: all customers with their segment, as one file."""

from __future__ import annotations

import base64
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import IO

from django.conf import settings
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from access.api import ApiView
from access.choices import Choice
from access.negotiation import WhateverIsAccepted
from access.schema import documented
from access.scopes import Scope
from audit import trail
from modelregistry.activation import active_version
from modelregistry.models import ModelVersion
from segments.export import AUDIT_ACTION, Asked, export_segments
from segments.models import NOISE_KEY
from segments.serializers import NOISE, SegmentQuery
from segments.views import known_segment

MEDIA_TYPES: Mapping[str, str] = {
    "csv": "text/csv; charset=utf-8; header=present",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
BLOCK_BYTES = 256 * 1024

PROBLEMS = {
    key: value
    for key, value in documented(None, 404).items()
    if key not in (200, (406, "application/problem+json"))
}


class ExportQuery(SegmentQuery):
    format = Choice(choices=list(MEDIA_TYPES), required=False, default="csv")


class ExportsBusy(APIException):
    status_code = 503
    default_code = "exports-busy"
    default_detail = "As many exports as this server takes at once are under way; try again."
    wait = 10
    """Seconds, told as Retry-After."""


slots = threading.BoundedSemaphore(max(1, settings.API_THREADS // 4))
"""Each export holds a thread to its end: most of them must stay free for everybody else."""


class Download:
    """The blocks of a file. Closing it, read or not, frees its slot; so does forgetting it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.close = weakref.finalize(self, _end, file)

    def __iter__(self) -> Iterator[bytes]:
        while block := self._file.read(BLOCK_BYTES):
            yield block


def _end(file: IO[bytes]) -> None:
    file.close()
    slots.release()


class ExportView(ApiView):
    scope = Scope.SEGMENTS_READ
    audit_action = AUDIT_ACTION
    query_serializer_class = ExportQuery
    content_negotiation_class = WhateverIsAccepted

    @extend_schema(
        summary="Export all customers with their segment",
        description=(
            "One file of the version that serves when it begins; its name and X-Model-Version say "
            "which. The columns are customer_id, segment, segment_name, distance, status and "
            "assigned_at, in the order of customer_id. In CSV a ' stands before text that a "
            "spreadsheet could take for a formula, and before text that begins with a ' itself: "
            "without one ' at its beginning each text is as it is stored. Repr-Digest is the "
            "SHA-256 of the file, and the trail keeps it. A few exports run at "
            "once; the next ones get a 503 with Retry-After."
        ),
        parameters=[ExportQuery],
        responses={
            (200, "text/csv"): OpenApiTypes.STR,
            (200, MEDIA_TYPES["ndjson"]): OpenApiTypes.STR,
            (200, MEDIA_TYPES["parquet"]): OpenApiTypes.BINARY,
            **PROBLEMS,
        },
        operation_id="segments_export",
    )
    def get(self, request: Request, model_type: str) -> StreamingHttpResponse:
        self.audit_target = ("model_type", model_type)
        asked = self.asked(model_type)
        if not slots.acquire(blocking=False):
            raise ExportsBusy
        try:
            exported = export_segments(asked, directory=settings.DATA_DIR, by=self.actor)
        except BaseException:
            slots.release()
            raise
        digest = base64.b64encode(exported.sha256).decode()
        headers = {
            "Content-Length": str(exported.n_bytes),
            "Repr-Digest": f"sha-256=:{digest}:",
            **headers_of(exported.version, asked),
        }
        return StreamingHttpResponse(Download(exported.content), headers=headers)

    def head(self, request: Request, model_type: str) -> StreamingHttpResponse:
        """What `get` would answer, but for what only the finished file tells."""
        asked = self.asked(model_type)
        version = active_version(model_type)
        trail.record(
            AUDIT_ACTION,
            by=self.actor,
            target=("model_version", str(version)),
            status_code=200,
            n_items=0,
            details={"method": "HEAD", "path": request.path},
        )
        return StreamingHttpResponse((), headers=headers_of(version, asked))

    def asked(self, model_type: str) -> Asked:
        return Asked(model_type, self.query["format"], known_segment(self.query, model_type))


def headers_of(version: ModelVersion, asked: Asked) -> dict[str, str]:
    parts = ["segments", version.model_type, str(version.number)]
    if asked.segment is not None:
        parts.append(NOISE if asked.segment == NOISE_KEY else f"segment-{asked.segment}")
    name = f"{'-'.join(parts)}.{asked.format}"
    return {
        "Content-Type": MEDIA_TYPES[asked.format],
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Model-Version": str(version),
    }
