"""`config/api_config.json`: logging, rate limits and batch limits; never secrets.

Unknown keys and values out of range stop the start with the path of the offending key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from django.core.exceptions import ImproperlyConfigured

from access.rates import RATE

Rate = Annotated[str, msgspec.Meta(pattern=RATE.pattern)]


class Logging(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class RateLimits(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    default: Rate = "60/m"


class Limits(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`max_records` customers and `max_body_bytes` bytes in one request; fewer are explained."""

    max_records: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    max_explained_records: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1_000
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1_000, le=1_000_000_000)] = 20_000_000


class ApiConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    logging: Logging = Logging()
    rate_limits: RateLimits = RateLimits()
    limits: Limits = Limits()


def load_api_config(path: Path) -> ApiConfig:
    """The file's settings, or the defaults when there is no file."""
    if not path.is_file():
        return ApiConfig()
    try:
        return msgspec.json.decode(path.read_bytes(), type=ApiConfig)
    except msgspec.MsgspecError as error:
        raise ImproperlyConfigured(f"{path}: {error}") from error


def given_in(path: Path) -> frozenset[str]:
    """The settings that the file names, as `section.name`; nothing when there is no file."""
    if not path.is_file():
        return frozenset()
    sections: dict[str, dict[str, Any]] = msgspec.json.decode(path.read_bytes())
    return frozenset(f"{section}.{name}" for section, values in sections.items() for name in values)
