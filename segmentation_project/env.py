"""Reading settings from the environment and `.env`, refusing what makes no sense.

A refusal names the variable, where it came from and what is allowed; it never shows the value.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from access.rates import RATE, RATE_FORM

ADDRESS = re.compile(r"[^@\s<>]+@[^@\s<>]+|[^@<>]+ <[^@\s<>]+@[^@\s<>]+>")
MIN_DISTINCT = 8
"""Different characters in a secret; 32 random hexadecimal digits have fewer once in millions."""
BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Environment:
    """The process environment over one `.env` file: the environment wins."""

    def __init__(self, env_file: Path) -> None:
        self.env_file = env_file
        self._read: dict[str, str] = {}
        self._shown: dict[str, Callable[[str], str]] = {}
        self._process = frozenset(os.environ)
        if env_file.is_file():
            environ.Env.read_env(str(env_file), overwrite=False)

    def text(self, name: str, default: str | None = None) -> str:
        value = os.environ.get(name, "").strip() or default
        self._read[name] = value or ""
        if value is None:
            raise self.refusal(name, "is not set; `make run` writes a .env with fresh secrets")
        return value

    def texts(self) -> dict[str, str]:
        """Every variable that was asked for, as it is set; empty where it is not."""
        return {name: os.environ.get(name, "").strip() for name in self._read}

    def in_force(self) -> dict[str, str]:
        """Every variable that was asked for, as people may read it; empty where it is nothing."""
        return {
            name: self._shown.get(name, str)(value) if value else ""
            for name, value in self._read.items()
        }

    def source(self, name: str) -> str:
        """Where the value of a variable came from."""
        if not os.environ.get(name, "").strip():
            return "default"
        return "environment" if name in self._process else self.env_file.name

    def password(self, name: str) -> str:
        """A secret that somebody else chose, or nothing."""
        self._shown[name] = length_only
        return self.text(name, "")

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        text = self.text(name, str(default))
        if not re.fullmatch(r"-?\d{1,12}", text) or not low <= int(text) <= high:
            raise self.refusal(name, f"must be a whole number from {low} to {high}")
        return int(text)

    def share(self, name: str, default: float) -> float:
        """A number strictly between 0 and 1."""
        try:
            value = float(self.text(name, str(default)))
        except ValueError:
            value = float("nan")
        if not 0 < value < 1:
            raise self.refusal(name, "must be a number between 0 and 1, both excluded")
        return value

    def limit(self, name: str, default: float) -> float | None:
        """A number from 0 to 1, or None for `off`."""
        text = self.text(name, str(default))
        if text == "off":
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not 0 <= value <= 1:
            raise self.refusal(name, "must be a number from 0 to 1, or off")
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        text = self.text(name, str(default).lower()).lower()
        if text not in BOOLEANS:
            raise self.refusal(name, "must be true or false")
        return BOOLEANS[text]

    def choice(self, name: str, default: str, allowed: Collection[str]) -> str:
        value = self.text(name, default)
        if value not in allowed:
            raise self.refusal(name, f"must be one of {', '.join(sorted(allowed))}")
        return value

    def rate(self, name: str, default: str) -> str:
        value = self.text(name, default)
        if not RATE.match(value):
            raise self.refusal(name, RATE_FORM)
        return value

    def names(self, name: str, default: str) -> list[str]:
        return [part.strip() for part in self.text(name, default).split(",") if part.strip()]

    def secret(self, name: str, *, min_length: int, example: str) -> str:
        self._shown[name] = length_only
        value = self.text(name)
        if value == example:
            raise self.refusal(name, "still has the value of .env.example; set one of your own")
        if len(value) < min_length:
            raise self.refusal(name, f"must have at least {min_length} characters")
        if len(set(value)) < MIN_DISTINCT or value in (value + value)[1:-1]:
            raise self.refusal(name, "is easily guessed; `openssl rand -hex 64` makes a good one")
        return value

    def path(self, name: str, default: str, *, base: Path) -> Path:
        return (base / self.text(name, default)).resolve()

    def directory(self, name: str, default: str, *, base: Path) -> Path:
        """A directory, made when it is not there."""
        path = self.path(name, default, base=base)
        self.make_directory(name, path)
        return path

    def make_directory(self, name: str, path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o750)
        except OSError as error:
            reason = f"names a directory that cannot be made: {error.strerror}"
            raise self.refusal(name, reason) from error

    def addresses(self, name: str, default: str) -> list[str]:
        """Mail addresses, separated by commas."""
        addresses = self.names(name, default)
        if not all(map(ADDRESS.fullmatch, addresses)):
            raise self.refusal(name, "must be mail addresses, separated by commas")
        return addresses

    def address(self, name: str, default: str) -> str:
        address = self.text(name, default)
        if not ADDRESS.fullmatch(address):
            raise self.refusal(name, "must be a mail address")
        return address

    def url(self, name: str, *schemes: str) -> str:
        """A URL of one of the schemes, or nothing."""
        self._shown[name] = without_login
        url = self.text(name, "")
        try:
            is_sound = not url or (urlsplit(url).scheme in schemes and urlsplit(url).port != 0)
        except ValueError:  # the message would show the value
            is_sound = False
        if not is_sound:
            raise self.refusal(name, f"must be a URL with {' or '.join(schemes)}://")
        return url

    def web_address(self, name: str, *, is_secret: bool = False) -> str:
        """An http or https URL without a login, or nothing; of a secret one the host is shown."""
        if is_secret:
            self._shown[name] = host_only
        url = self.text(name, "")
        try:
            parts = urlsplit(url)
            is_sound = bool(re.fullmatch(r"https?://[!-~]+", url) and parts.hostname)
            is_sound = is_sound and not ("@" in parts.netloc or parts.port == 0 or parts.fragment)
        except ValueError:  # the message would show the value
            is_sound = False
        if url and not is_sound:
            raise self.refusal(name, "must be a URL such as https://segments.example.com/path")
        return url

    def webhook_secret(self, name: str, *, is_needed: bool) -> str:
        """At least 32 characters, or `whsec_` and at least 24 bytes in base64; or nothing."""
        self._shown[name] = length_only
        secret = self.text(name, "")
        if not secret and is_needed:
            raise self.refusal(name, "is not set; messages to WEBHOOK_URL are signed with it")
        if secret and len(secret) < 32:
            raise self.refusal(name, "must have at least 32 characters")
        if secret.startswith("whsec_") and not is_base64(secret.removeprefix("whsec_")):
            raise self.refusal(name, "must have base64 after whsec_")
        return secret

    def origins(self, name: str) -> list[str]:
        origins = self.names(name, "")
        if not all(re.fullmatch(r"https?://[^/\s]+", origin) for origin in origins):
            raise self.refusal(name, "must be origins such as https://segments.example.com")
        return origins

    def refusal(self, name: str, reason: str) -> ImproperlyConfigured:
        source = "the environment" if name in self._process else self.env_file.name
        return ImproperlyConfigured(f"{name} (from {source}) {reason}.")


def length_only(secret: str) -> str:
    return f"set, {len(secret):,} characters"


def without_login(url: str) -> str:
    """A URL of a server without user, password and parameters, which may be secrets too."""
    parts = urlsplit(url)
    if "@" in url.replace(parts.netloc, "", 1):  # of a login that was not written as it should be
        return f"{parts.scheme}://\N{HORIZONTAL ELLIPSIS}"
    login = "\N{HORIZONTAL ELLIPSIS}@" if "@" in parts.netloc else ""
    rest = "?\N{HORIZONTAL ELLIPSIS}" if parts.query or parts.fragment else ""
    return f"{parts.scheme}://{login}{parts.netloc.rpartition('@')[2]}{parts.path}{rest}"


def host_only(url: str) -> str:
    """An address whose path may be the secret that lets in."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/\N{HORIZONTAL ELLIPSIS}"


def is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True
