"""Whatever is done with keys, tokens and passwords, no copy of a secret part is left anywhere."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from access.key_format import key_id_of
from tests.smtp_sink import smtp_sink
from tests.system.databases import database_url, databases
from tests.system.server import Installation, ask, make_installation, running

PREPARE = """
import json
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from tests.factories import make_key
names = ("crm", "rotated", "exposed")
print(json.dumps({name: make_key(scopes=["models:read"])[1] for name in names}))
"""
CHANGE_AND_MAIL = """
import io, json, sys
import django; django.setup()
from datetime import timedelta
from django.conf import settings
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone
from audit.trail import Actor
from monitoring.channels import Channels
from monitoring.outbox import deliver, queue_digest
from tests.monitoring.alert_rows import make_alert

rotated, exposed, *ports = sys.argv[1:]
shown = io.StringIO()
call_command("rotate_api_key", rotated, stdout=shown)
call_command("revoke_api_key", exposed, stdout=io.StringIO())
channels = Channels.of(settings)
with transaction.atomic():
    make_alert()
    queue_digest(at=timezone.now(), channels=channels)
for hours, port in enumerate(ports):
    settings.EMAIL_PORT = int(port)
    deliver(channels=channels, at=lambda: timezone.now() + timedelta(hours=hours),
            within=timedelta(seconds=20), by=Actor.system("tests"))
print(json.dumps(shown.getvalue().splitlines()[-1]))
"""


@pytest.fixture(params=databases("sqlite"))
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    with database_url(request.param) as url:
        yield make_installation(
            tmp_path,
            DATABASE_URL=url,
            API_WORKERS="1",
            ALERT_EMAIL="team@example.com",
            SMTP_SERVER="127.0.0.1",
            SMTP_TLS="false",
            SMTP_USERNAME="alerts@example.com",
            SMTP_PASSWORD=secrets.token_urlsafe(24),
        )


def everything_stored(installation: Installation) -> bytes:
    """Every file of the installation, its SQLite database among them, or all rows on PostgreSQL."""
    files = [path.read_bytes() for path in installation.directory.rglob("*") if path.is_file()]
    if url := installation.variables["DATABASE_URL"]:
        with psycopg.connect(url) as connection:
            tables = connection.execute(
                "SELECT quote_ident(table_name) FROM information_schema.tables"
                " WHERE table_schema = 'public'"
            ).fetchall()
            for (table,) in tables:
                rows = connection.execute(f"SELECT t::text FROM {table} t")  # type: ignore[arg-type]
                files += [text.encode() for (text,) in rows]
    return b"\n".join(files)


def test_no_secret_is_left_in_database_logs_mails_or_answers(installation: Installation) -> None:
    keys: dict[str, str] = json.loads(installation.python("-c", PREPARE))
    answers: list[bytes] = []
    port, crm = installation.port, keys["crm"]

    def call(path: str, *, method: str = "GET", key: str = "", bearer: str = "") -> int:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        answer = ask(port, method, path, key=key, headers=headers)
        answers.append(answer.content + repr(answer.headers).encode())
        return answer.status

    with running(installation, path="/healthz"):
        token = ask(port, "POST", "/auth/token", key=crm).body["access_token"]
        all_scopes = ask(port, "POST", "/auth/token", key=installation.api_key)
        admin_token = all_scopes.body["access_token"]
        statuses = [
            call("/models", key=crm),
            call("/models", bearer=token),
            call("/models", key=crm[:-1] + "!"),
            call("/models", key=crm[:20]),
            call("/models", key=f"{crm} {crm}"),
            call("/models", bearer=token[:-2]),
            call("/models", bearer=crm),
            call(f"/models?api_key={keys['exposed']}"),
            call(f"/models?limit={token}"),
            call(f"/models?x={installation.api_key}", key=crm),
            call(f"/docs?{keys['exposed']}"),
            call(f"/no/such/{crm}", key=crm),
            call(f"/predict/{token}", method="POST", key=crm),
            call("/auth/token", method="POST", bearer=token),
            call("/audit/logs", key=crm),
        ]
        with smtp_sink("refuse-login") as unfriendly, smtp_sink("take-login") as friendly:
            printed = installation.python(
                "-c", CHANGE_AND_MAIL, str(key_id_of(keys["rotated"])),
                str(key_id_of(keys["exposed"])), str(unfriendly.port), str(friendly.port),
            )  # fmt: skip
        successor = json.loads(printed)
        installation.rows("UPDATE access_apikey SET scopes = ? WHERE name = ?", "5", "tests")
        crash = [call("/models", key=crm), call("/models", bearer=token)]
        after = [call("/models", key=keys["exposed"])]
        export = ask(
            port,
            "GET",
            "/audit/logs?limit=1000",
            headers={"Authorization": f"Bearer {admin_token}"},
        )

    assert statuses == [200, 200, *[401] * 5, *[400] * 6, 403, 403]
    assert (crash, after) == ([500, 500], [401])
    assert "Traceback" in installation.log()
    assert export.status == 200 and len(export.body["results"]) > len(statuses)
    assert unfriendly.n_connections and friendly.mails
    left = b"\n".join(
        [everything_stored(installation), export.content, *answers]
        + [mail.as_bytes() for mail in friendly.mails]
    )
    assert str(key_id_of(crm)).encode() in left, "what is searched holds what it should"
    hidden = {
        **{f"the key {name}": key[13:] for name, key in {**keys, "successor": successor}.items()},
        **{f"half of {name}": key[13:38] for name, key in keys.items()},
        "the token": token,
        "its signature": token.rpartition(".")[2],
        "the token of API_KEY": admin_token.rpartition(".")[2],
        **{
            name: installation.variables[name]
            for name in ("API_KEY", "JWT_SECRET_KEY", "SECRET_KEY", "SMTP_PASSWORD")
        },
    }
    found = {name: left.find(secret.encode()) for name, secret in hidden.items()}
    shown = {name: left[place - 40 : place] for name, place in found.items() if place >= 0}
    assert shown == {}, "what stands before it"
