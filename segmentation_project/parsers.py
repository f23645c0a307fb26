"""Strict JSON in: a stated length within the limit, UTF-8, no duplicate key, nothing inflated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import IO, Any

import msgspec
import numpy as np
from django.conf import settings
from rest_framework.exceptions import APIException, ParseError, UnsupportedMediaType
from rest_framework.parsers import BaseParser

LENGTH = re.compile(r"[0-9]{1,15}")
COLON = ord(":")
SPACED_COLONS = (b" :", b"\t:", b"\n:", b"\r:")
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
MAX_DEPTH_DETAIL = "The body is nested too deeply."


class LengthRequired(APIException):
    status_code = 411
    default_code = "length-required"
    default_detail = "Send the body with a Content-Length; a chunked body is not read."


class BodyTooLarge(APIException):
    status_code = 413
    default_code = "too-large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body may have at most {limit:,} bytes.")


class EncodedBody(UnsupportedMediaType):
    default_code = "unsupported-media-type"
    headers = {"Accept-Encoding": "identity"}

    def __init__(self) -> None:
        super().__init__("", "Send the body without Content-Encoding; nothing is inflated.")


class NotUtf8(UnsupportedMediaType):
    default_code = "unsupported-media-type"

    def __init__(self) -> None:
        super().__init__("", "The body must be UTF-8.")


class DuplicateKey(ParseError):
    default_code = "duplicate-key"
    default_detail = "An object of the body names the same key twice."


class StrictJSONParser(BaseParser):
    """Decodes the whole body once, with msgspec; NaN and infinite numbers are not JSON."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        meta = (parser_context or {})["request"].META
        check_encoding(meta)
        body = stream.read(int(meta["CONTENT_LENGTH"]))
        return decode(body)


def check_length(meta: Mapping[str, str]) -> None:
    """Refuse a body without a length, or one over the limit, before a byte of it is read."""
    if "HTTP_TRANSFER_ENCODING" in meta:
        raise LengthRequired
    length = meta.get("CONTENT_LENGTH") or "0"
    if not LENGTH.fullmatch(length) or int(length) > settings.MAX_BODY_BYTES:
        raise BodyTooLarge(settings.MAX_BODY_BYTES)


def check_encoding(meta: Mapping[str, str]) -> None:
    if meta.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise EncodedBody
    match = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", meta.get("CONTENT_TYPE", ""), re.I)
    if match and match[1].lower() not in {"utf-8", "utf8"}:
        raise NotUtf8


def decode(body: bytes) -> Any:
    """The JSON value in `body`, refusing what is malformed or names a key twice."""
    try:
        return _decode_once(body)
    except RecursionError as error:
        raise ParseError(MAX_DEPTH_DETAIL, code="malformed-json") from error


def _decode_once(body: bytes) -> Any:
    try:
        data = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ParseError(
            f"The body is not valid JSON: {_fault(body, error)}", "malformed-json"
        ) from error
    if not has_as_many_keys(body, count_keys(data)) and has_duplicate_key(body):
        raise DuplicateKey
    return data


def has_as_many_keys(body: bytes, n_keys: int) -> bool:
    """Whether valid JSON text names `n_keys` keys in all; the cheapest sure sign decides.

    A colon outside strings marks a key. Strings hold colons too, times of day for one, but a quote
    seldom stands before those, as it does before a key's own unless white space comes between.
    """
    # numpy counts single bytes several times faster than bytes.count.
    if np.count_nonzero(np.frombuffer(body, dtype=np.uint8) == COLON) == n_keys:
        return True
    if body.count(b'":') == n_keys and not any(space in body for space in SPACED_COLONS):
        return True
    return STRING.sub(b"", body).count(b":") == n_keys


def count_keys(data: Any) -> int:
    """Keys of the flat objects in a list. Deeper ones make the count differ, hence a full look."""
    if isinstance(data, list):
        return sum(len(record) for record in data if type(record) is dict)
    return len(data) if isinstance(data, dict) else 0


def has_duplicate_key(body: bytes) -> bool:
    """Whether any object in valid JSON text names a key twice, at any depth."""
    found = False

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        record = dict(pairs)
        found = found or len(record) != len(pairs)
        return record

    json.loads(body, object_pairs_hook=look)
    return found


def _fault(body: bytes, error: Exception) -> str:
    """What is wrong and where, as far as that is known, without quoting it."""
    if isinstance(error, UnicodeDecodeError):  # it counts from the beginning of one text
        try:
            body.decode()
        except UnicodeDecodeError as whole:
            return f"byte {whole.start} is not UTF-8"
        return "a text is not UTF-8"
    if "truncated" in str(error):  # so msgspec also says of a surrogate at the end of a text
        return "it, or an escape in it, ends too early"
    return str(error)
