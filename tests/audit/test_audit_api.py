"""`GET /audit/logs`: the trail, newest first, by cursor; reading it is an entry of its own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from access.scopes import Scope
from audit import search, trail
from audit.models import AuditEntry
from audit.trail import Actor
from tests.expectations import errors_of, one_entry, problem_of
from tests.factories import make_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def entries() -> list[AuditEntry]:
    """Ten acts of two actors."""
    return [
        trail.record(
            "tests.counted" if number % 2 else "tests.acted",
            by=Actor.system("even" if number % 2 == 0 else "odd"),
            target=("number", number), n_items=number, details={"number": number},
        )
        for number in range(10)
    ]  # fmt: skip


def test_entries_come_newest_first_and_in_full(api: Client, entries: list[AuditEntry]) -> None:
    body = api.get("/audit/logs?limit=3").json()

    assert [row["id"] for row in body["results"]] == [entry.pk for entry in entries[:-4:-1]]
    newest = body["results"][0]
    assert newest["actor_kind"] == "system"
    assert (newest["actor_id"], newest["action"]) == ("odd", "tests.counted")
    assert (newest["target_type"], newest["target_id"]) == ("number", "9")
    assert (newest["n_items"], newest["details"]) == (9, {"number": 9})


def test_paging_reaches_every_entry_once_though_reading_adds_more(
    api: Client, entries: list[AuditEntry]
) -> None:
    seen: list[int] = []
    url = "/audit/logs?limit=4"
    while url:
        page = api.get(url).json()
        seen += [row["id"] for row in page["results"]]
        url = page["next"]

    assert len(seen) == len(set(seen))
    assert seen == sorted(seen, reverse=True)
    assert {entry.pk for entry in entries} <= set(seen)


def test_reading_is_recorded_once_with_its_count(api: Client, entries: list[AuditEntry]) -> None:
    with one_entry(
        action="audit.read", actor_id="bootstrap", n_items=10, outcome="succeeded"
    ) as written:
        response = api.get("/audit/logs")

    assert len(response.json()["results"]) == 10
    assert written[0].request_id == response.headers["X-Request-ID"]
    assert written[0].pk not in [row["id"] for row in response.json()["results"]]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({"actor": "even"}, [8, 6, 4, 2, 0]),
        ({"action": "tests.counted"}, [9, 7, 5, 3, 1]),
        ({"actor": "even", "action": "tests.counted"}, []),
        ({"actor": "' OR 1=1 --"}, []),
        ({"actor": "nobody"}, []),
        ({"actor_kind": "system", "target": "4"}, [4]),
        ({"actor_kind": "user"}, []),
        ({"target_type": "number", "action": "tests.acted"}, [8, 6, 4, 2, 0]),
        ({"target_type": "segment", "target": "4"}, []),
        ({"outcome": "refused"}, []),
        ({"outcome": "succeeded", "actor": "odd"}, [9, 7, 5, 3, 1]),
        ({"request_id": "none-of-these"}, []),
        ({"q": "COUNTED"}, [9, 7, 5, 3, 1]),
        ({"q": "eve", "action": "tests.counted"}, []),
        ({"q": "7"}, [7]),
    ],
)
def test_filters_narrow(
    api: Client, entries: list[AuditEntry], query: dict[str, str], numbers: list[int]
) -> None:
    rows = api.get("/audit/logs", query).json()["results"]

    assert [row["n_items"] for row in rows] == numbers


def test_since_is_inclusive_and_until_exclusive(api: Client, entries: list[AuditEntry]) -> None:
    since, until = entries[3].at, entries[6].at

    rows = api.get("/audit/logs", {"since": since.isoformat(), "until": until.isoformat()}).json()[
        "results"
    ]

    assert [row["n_items"] for row in rows] == [5, 4, 3]


def test_a_filter_stays_on_the_next_page(api: Client, entries: list[AuditEntry]) -> None:
    first = api.get("/audit/logs?limit=2&actor=even").json()

    second = api.get(first["next"]).json()

    assert [row["n_items"] for row in second["results"]] == [4, 2]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("limit", "0"), ("limit", "1001"), ("limit", "abc"), ("cursor", "nonsense"),
        ("cursor", "cD1hYmM="), ("cursor", "\0"), ("since", "yesterday"), ("since", "2026-02-31"),
        ("until", "9999999999"), ("actor", "\0"), ("actor", "x" * 151), ("action", "x" * 81),
        ("order_by", "id"), ("actor_kind", "robot"), ("outcome", "ok"), ("target", ""),
        ("target_type", "x" * 41), ("request_id", "x" * 65), ("q", "\0"), ("q", "x" * 201),
    ],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_refused(api: Client, parameter: str, value: str) -> None:
    with one_entry(action="audit.read", outcome="refused", status_code=400):
        response = api.get("/audit/logs", {parameter: value})

    body = problem_of(response, status=400, code="invalid-parameter")
    assert {pointer for pointer, _ in errors_of(body)} == {f"#/{parameter}"}


def test_a_cursor_of_other_filters_is_refused(api: Client, entries: list[AuditEntry]) -> None:
    link = api.get("/audit/logs?limit=2&actor=even").json()["next"]

    response = api.get(link.replace("actor=even", "actor=odd"))

    body = problem_of(response, status=400, code="invalid-parameter")
    assert errors_of(body) == [("#/cursor", "invalid-cursor")]
    assert len(api.get(link.replace("limit=2", "limit=1")).json()["results"]) == 1


def test_a_phrase_that_says_too_little_is_refused(
    api: Client, entries: list[AuditEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_NAMES", 1)

    body = problem_of(api.get("/audit/logs?q=tests"), status=400, code="invalid-parameter")

    assert errors_of(body) == [("#/q", "too-many-names")]


def test_previous_leads_back(api: Client, entries: list[AuditEntry]) -> None:
    first = api.get("/audit/logs?limit=2&actor=even").json()
    second = api.get(first["next"]).json()

    assert api.get(second["previous"]).json()["results"] == first["results"]
    assert first["previous"] is None


def test_pages_cost_the_same_at_any_depth(api: Client, entries: list[AuditEntry]) -> None:
    """By the number of statements; benchmarks/audit_reading.py has the times."""
    url, counts = "/audit/logs?limit=2&q=even", []
    while url:
        with CaptureQueriesContext(connection) as queries:
            url = api.get(url).json()["next"]
        counts.append(len(queries))

    assert len(counts) == 3 and len(set(counts)) == 1


def test_damaged_details_do_not_hide_the_others(api: Client, entries: list[AuditEntry]) -> None:
    AuditEntry(at=timezone.now(), actor_kind="system", action="x", details="{", outcome="").insert()

    rows = api.get("/audit/logs").json()["results"]

    assert rows[0]["details"] == {"unreadable": "{"}
    assert len(rows) == 11


def test_an_entry_for_each_kind_of_call(api: Client) -> None:
    _, secret = make_key(scopes=[Scope.PREDICT])
    calls: list[tuple[Any, str, int]] = [
        (api, "/audit/logs", 200),
        (api, "/audit/logs?limit=0", 400),
        (Client(), "/audit/logs", 401),
        (Client(headers={"X-API-Key": "nonsense"}), "/audit/logs", 401),
        (Client(headers={"X-API-Key": secret}), "/audit/logs", 403),
    ]

    for client, url, status in calls:
        outcome = "succeeded" if status == 200 else "refused"
        with one_entry(action="audit.read", status_code=status, outcome=outcome) as written:
            response = client.get(url, headers={"X-Request-ID": f"request-{status}-{len(url)}"})
        assert response.status_code == status
        assert written[0].request_id == f"request-{status}-{len(url)}"
        assert written[0].address == written[0].peer_address == "127.0.0.1"
        assert '"path":"/audit/logs"' in written[0].details
        assert settings.API_KEY not in written[0].details


def test_a_moment_without_a_zone_is_utc(api: Client, entries: list[AuditEntry]) -> None:
    tomorrow = (timezone.now() + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S")

    assert api.get("/audit/logs", {"since": tomorrow}).json()["results"] == []
