"""The settings read what `.env.example` explains, all of it, and refuse nonsense by name."""

from __future__ import annotations

import ast
import json
import re
import runpy
import secrets
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

EXAMPLE = Path(settings.BASE_DIR) / ".env.example"
SETTINGS = Path(settings.BASE_DIR) / "segmentation_project" / "settings.py"


def read_variables() -> set[str]:
    """The names in the calls `env.kind("NAME", …)` of the settings."""
    calls = [node for node in ast.walk(ast.parse(SETTINGS.read_text())) if type(node) is ast.Call]
    return {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "env"
        and isinstance(call.args[0], ast.Constant)
    }


def explained_variables() -> dict[str, str]:
    """The variables of `.env.example` with their values; each stands below its comment."""
    lines = EXAMPLE.read_text().splitlines()
    found = {}
    for before, line in zip(lines, lines[1:], strict=False):
        match = re.fullmatch(r"([A-Z_]+)=(.*)", line)
        if match:
            assert before.startswith("# ") and not before.startswith("# --"), f"{line}: no comment"
            assert match[1] not in found, f"{match[1]} is explained twice"
            found[match[1]] = match[2]
    return found


def load_settings() -> dict[str, Any]:
    return runpy.run_path(str(SETTINGS))


def test_every_variable_read_is_explained_and_every_explained_one_is_read() -> None:
    assert read_variables() == set(explained_variables())


def test_the_values_of_the_example_are_the_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets = {"SECRET_KEY", "API_KEY", "JWT_SECRET_KEY"}
    places = {"API_CONFIG", "DATA_DIR", "MODEL_DIR", "LOG_DIR", "DB_PATH"}
    for name in read_variables() - secrets - places:
        monkeypatch.setenv(name, "")
    plain = load_settings()
    for name, value in explained_variables().items():
        if name not in secrets | places:
            monkeypatch.setenv(name, value)

    as_in_the_example = load_settings()

    comparable = (str, int, float, bool, list)
    assert {k: v for k, v in plain.items() if isinstance(v, comparable)} == {
        k: v for k, v in as_in_the_example.items() if isinstance(v, comparable)
    }
    for name in places:
        assert f'"{name}", "{explained_variables()[name]}"' in SETTINGS.read_text()


@pytest.mark.parametrize("name", ["SECRET_KEY", "API_KEY", "JWT_SECRET_KEY"])
def test_the_example_secrets_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, explained_variables()[name])

    with pytest.raises(ImproperlyConfigured, match=f"^{name} .*still has the value of .env"):
        load_settings()


NONSENSE = {
    "SECRET_KEY": "short",
    "API_KEY": "short",
    "JWT_SECRET_KEY": "short",
    "JWT_ALGORITHM": "none",
    "ACCESS_TOKEN_EXPIRE_MINUTES": "0",
    "API_PORT": "70000",
    "API_WORKERS": "many",
    "API_THREADS": "-1",
    "API_DEBUG": "perhaps",
    "CSRF_TRUSTED_ORIGINS": "segments.example.com",
    "TRUSTED_PROXY_COUNT": "-1",
    "HTTPS_ONLY": "2",
    "DATA_DIR": "/dev/null/data",
    "MODEL_DIR": "/dev/null/models",
    "LOG_DIR": "/dev/null/logs",
    "DB_PATH": "/dev/null/db/segments.db",
    "SQLITE_SYNCHRONOUS": "OFF",
    "DATABASE_URL": "mysql://root:very-secret@localhost/segments",
    "REDIS_URL": "http://:very-secret@localhost:6379",
    "RATE_LIMIT": "60 per minute",
    "BAD_KEY_LIMIT": "0/m",
    "LOGIN_FAILURES": "0",
    "LOGIN_LOCK_MINUTES": "soon",
    "REQUIRE_TOTP": "perhaps",
    "SESSION_HOURS": "0",
    "SMTP_PORT": "smtp",
    "SMTP_TLS": "starttls",
    "SMTP_FROM": "nobody at all",
    "ALERT_EMAIL": "somebody@example.com, nobody",
    "PUBLIC_URL": "segments.example.com",
    "WEBHOOK_URL": "https://somebody:very-secret@hooks.example.com/alerts",
    "WEBHOOK_SECRET": "very-secret",
    "DRIFT_THRESHOLD": "5",
    "MONITORING_INTERVAL": "0",
    "AUDIT_SEAL_SECONDS": "-1",
    "AUDIT_HEAD_MAIL": "daily",
    "CHANGES_KEPT_DAYS": "0",
    "GATE_MAX_MOVED_SHARE": "1.5",
    "GATE_MAX_NOISE_SHARE": "none",
    "GATE_MAX_SILHOUETTE_DROP": "-0.1",
    "GATE_DRIFT": "perhaps",
    "JOB_LOST_AFTER_SECONDS": "1",
}
ANY_TEXT = {"API_HOST", "ALLOWED_HOSTS", "API_CONFIG", "SMTP_SERVER", "SMTP_USERNAME",
            "SMTP_PASSWORD", "AUDIT_KEY_FILE", "AUDIT_PUBLIC_KEYS",
            "AUDIT_ANCHOR_FILE"}  # fmt: skip


def test_the_table_of_nonsense_is_complete() -> None:
    assert NONSENSE.keys() | ANY_TEXT == read_variables()


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_stops_the_start_with_the_name_of_the_variable(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "DB_PATH":
        monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv(name, NONSENSE[name])

    with pytest.raises(ImproperlyConfigured) as refusal:
        load_settings()

    assert str(refusal.value).startswith(f"{name} ")
    assert "very-secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    ["https://", "http:///path", "ftp://example.com", "https://example.com:port", "http://a b",
     "http://example.com:0", "http://exämple.com", "http://example.com\n.org", "//example.com",
     "http://example.com/#here"],
)  # fmt: skip
def test_what_is_no_web_address_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBLIC_URL", url)

    with pytest.raises(ImproperlyConfigured, match="^PUBLIC_URL "):
        load_settings()


def test_links_lead_to_this_machine_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "8123")

    assert load_settings()["PUBLIC_URL"] == "http://localhost:8123"


@pytest.mark.parametrize(
    ("algorithm", "length", "is_sound"),
    [("HS256", 31, False), ("HS256", 32, True), ("HS384", 47, False), ("HS384", 48, True),
     ("HS512", 63, False), ("HS512", 64, True)],
)  # fmt: skip
def test_the_secret_of_tokens_is_as_long_as_their_hash(
    algorithm: str, length: int, is_sound: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_ALGORITHM", algorithm)
    monkeypatch.setenv("JWT_SECRET_KEY", secrets.token_hex(64)[:length])

    if is_sound:
        assert len(load_settings()["JWT_SECRET_KEY"]) == length
    else:
        with pytest.raises(ImproperlyConfigured, match="^JWT_SECRET_KEY .* characters"):
            load_settings()


@pytest.mark.parametrize("secret", ["a" * 64, "ab" * 32, "1234567890" * 7, "aaaabbbbccccdddde" * 4])
@pytest.mark.parametrize("name", ["SECRET_KEY", "API_KEY", "JWT_SECRET_KEY"])
def test_a_secret_that_is_easily_guessed_is_refused(
    name: str, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, secret)

    with pytest.raises(ImproperlyConfigured, match=f"^{name} .* is easily guessed") as refusal:
        load_settings()

    assert secret not in str(refusal.value)


def test_a_webhook_needs_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_URL", "https://hooks.example.com/alerts?team=1")

    with pytest.raises(ImproperlyConfigured, match="^WEBHOOK_SECRET .* is not set"):
        load_settings()


@pytest.mark.parametrize(
    ("secret", "is_sound"),
    [("s" * 32, True), ("whsec_" + "A" * 32, True), ("whsec_" + "A" * 33, False),
     ("whsec_" + "-" * 32, False)],
)  # fmt: skip
def test_a_webhook_secret_may_be_one_of_the_convention(
    secret: str, is_sound: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", secret)

    if is_sound:
        assert load_settings()["WEBHOOK_SECRET"] == secret
    else:
        with pytest.raises(ImproperlyConfigured, match="^WEBHOOK_SECRET ") as refusal:
            load_settings()
        assert secret not in str(refusal.value)


def test_a_malformed_port_in_a_url_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:very-secret@localhost:port/segments")

    with pytest.raises(ImproperlyConfigured, match="^DATABASE_URL ") as refusal:
        load_settings()

    assert "very-secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "config",
    [
        {"logging": {"level": "LOUD"}},
        {"logging": {"levle": "INFO"}},
        {"rate_limits": {"default": "60/x"}},
        {"limits": {"max_records": 0}},
        {"limits": {"max_records": "many"}},
        {"limits": {"max_explained_records": 0}},
        {"limits": {"max_body_bytes": 1}},
        {"api_key": "secrets never live here"},
        [],
    ],
)
def test_a_wrong_config_file_stops_the_start(
    config: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "api_config.json"
    path.write_text(json.dumps(config))
    monkeypatch.setenv("API_CONFIG", str(path))

    with pytest.raises(ImproperlyConfigured, match=re.escape(str(path))):
        load_settings()


def test_the_config_file_sets_limits_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "api_config.json"
    path.write_text('{"rate_limits": {"default": "7/s"}, "limits": {"max_records": 5}}')
    monkeypatch.setenv("API_CONFIG", str(path))

    from_file = load_settings()
    monkeypatch.setenv("RATE_LIMIT", "9/h")
    from_environment = load_settings()

    assert (from_file["RATE_LIMIT"], from_file["MAX_RECORDS"]) == ("7/s", 5)
    assert (from_environment["RATE_LIMIT"], from_environment["MAX_RECORDS"]) == ("9/h", 5)


def test_the_example_of_the_config_file_holds_the_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = load_settings()
    example = Path(settings.BASE_DIR) / "config" / "api_config.example.json"
    monkeypatch.setenv("API_CONFIG", str(example))

    from_example = load_settings()

    assert from_example["api_config"] == plain["api_config"]


def test_postgresql_is_used_when_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:word@example.org:5433/segments")

    database = load_settings()["DATABASES"]["default"]

    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert (database["HOST"], database["PORT"], database["NAME"]) == (
        "example.org", 5433, "segments",
    )  # fmt: skip


def test_only_the_environment_reader_touches_the_environment() -> None:
    allowed = {"env.py"}
    readers = {
        path.name
        for app in (
            "segmentation_project",
            "access",
            "audit",
            "modelregistry",
            "segments",
            "monitoring",
            "ml",
        )  # fmt: skip
        for path in (Path(settings.BASE_DIR) / app).rglob("*.py")
        if re.search(r"os\.(environ(?!\.setdefault)|getenv)", path.read_text())
    }

    assert readers == allowed
