"""`/monitor/alerts`: what is wrong, what became of it, and what staff make of it over the API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from access.scopes import Scope
from monitoring.models import Alert, AlertEvent, AlertKind, AlertState, Channel, Notification
from monitoring.views_alerts import AlertApiView
from tests.expectations import errors_of, one_entry, problem_of
from tests.factories import make_client

pytestmark = pytest.mark.django_db

AT = datetime(2026, 11, 1, 6, tzinfo=UTC)
TOMORROW = (timezone.now() + timedelta(days=1)).isoformat()
JSON = "application/json"
ACTS = ["acknowledge", "silence", "unsilence", "resolve"]
ADDRESS = "very-secret@example.com"
# The key, the page, the audit entry.
N_QUERIES_OF_A_PAGE = 3
# Besides, for one alert: its events and its deliveries.
N_QUERIES_OF_AN_ALERT = N_QUERIES_OF_A_PAGE + 2


def make_alert(key: str, **fields: Any) -> Alert:
    state = fields.setdefault("state", AlertState.FIRING)
    if state == AlertState.RESOLVED:
        fields.setdefault("resolved_at", AT)
    return Alert.objects.create(
        key=key,
        kind=fields.pop("kind", AlertKind.DRIFT),
        title=f"Drift: {key}",
        summary="Customers are older.",
        advice="Retrain, or find out why.",
        raised_at=AT,
        last_seen_at=AT,
        **fields,
    )


def make_notification(alert: Alert, **fields: Any) -> Notification:
    notification = Notification.objects.create(
        channel=Channel.MAIL,
        message_id=f"<{alert.pk}.{Notification.objects.count()}@example.com>",
        recipient=ADDRESS,
        subject="Drift",
        text="very-secret",
        created_at=AT,
        next_attempt_at=AT,
        **fields,
    )
    notification.alerts.add(alert)
    return notification


def post(client: Client, alert_id: int, act: str, body: Any = None) -> Any:
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body)
    return client.generic("POST", f"/monitor/alerts/{alert_id}/{act}", content, content_type=JSON)


def sent_with(act: str, **fields: Any) -> dict[str, Any]:
    """A good body of an act, changed."""
    return ({"until": TOMORROW} if act == "silence" else {}) | fields


def ids(body: dict[str, Any]) -> list[int]:
    return [row["id"] for row in body["results"]]


@pytest.fixture
def alerts() -> Sequence[Alert]:
    """Firing, pending, resolved, and one of a model type that fires."""
    return [
        make_alert("drift age"),
        make_alert("drift orders", state=AlertState.PENDING),
        make_alert("drift old", state=AlertState.RESOLVED, resolution="It is over."),
        make_alert("missing", kind=AlertKind.MISSING_DATA, model_type="kmeans"),
    ]


# -- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("", [3, 1, 0]),
        ("?state=unresolved", [3, 1, 0]),
        ("?state=pending", [1]),
        ("?state=firing", [3, 0]),
        ("?state=resolved", [2]),
        ("?state=all", [3, 2, 1, 0]),
        ("?kind=missing_data", [3]),
        ("?state=all&kind=drift", [2, 1, 0]),
        ("?model_type=kmeans", [3]),
        ("?model_type=dbscan", []),
    ],
)
def test_alerts_come_latest_raised_first_and_filters_narrow(
    alerts: Sequence[Alert], api: Client, query: str, kept: list[int]
) -> None:
    with one_entry(action="alerts.listed", n_items=len(kept), outcome="succeeded"):
        body = api.get(f"/monitor/alerts{query}").json()

    assert ids(body) == [alerts[n].pk for n in kept]


def test_paging_reaches_every_alert_once_while_others_are_raised_and_seen(
    alerts: Sequence[Alert], api: Client
) -> None:
    seen: list[int] = []
    url = "/monitor/alerts?limit=1&state=all"
    while url:
        page = api.get(url).json()
        seen += ids(page)
        url = page["next"]
        make_alert(f"drift {len(seen)}")
        Alert.objects.filter(pk=seen[-1]).update(last_seen_at=timezone.now())

    assert seen == [alert.pk for alert in reversed(alerts)]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("limit", "0"), ("limit", "1001"), ("limit", "abc"), ("cursor", "nonsense"),
        ("cursor", "cD1hYmM="), ("cursor", "\0"), ("state", "open"), ("state", ""),
        ("state", "very-secret"), ("kind", "fire"), ("kind", "\0"), ("model_type", "lda"),
        ("model_type", ""), ("kinds", "very-secret"), ("since", "2026-01-01"),
    ],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_refused_and_not_echoed(
    api: Client, parameter: str, value: str
) -> None:
    with one_entry(action="alerts.listed", outcome="refused", status_code=400):
        response = api.get("/monitor/alerts", {parameter: value})

    body = problem_of(response, status=400, code="invalid-parameter")
    assert {pointer for pointer, _ in errors_of(body)} == {f"#/{parameter}"}
    assert "very-secret" not in response.text


def test_one_alert_tells_its_life_and_its_deliveries_without_addresses(
    api: Client, alerts: Sequence[Alert]
) -> None:
    alert = alerts[0]
    Alert.objects.filter(pk=alert.pk).update(
        subjects=["age"], facts=[["Share under 40", "61 % before, 20 % now"]], fired_at=AT
    )
    AlertEvent.objects.create(alert=alert, kind="raised", at=AT, by="worker")
    AlertEvent.objects.create(
        alert=alert, kind="silenced", at=AT + timedelta(hours=1), by="anna", note="Known."
    )
    sent = make_notification(alert, state="sent", n_attempts=2, sent_at=AT, error="")
    queued = make_notification(alert, n_attempts=1, error="The server does not answer.")
    make_notification(alerts[1])

    with one_entry(action="alert.read", target_type="alert", target_id=str(alert.pk)):
        response = api.get(f"/monitor/alerts/{alert.pk}")

    body = response.json()
    assert (body["title"], body["state"], body["version"]) == ("Drift: drift age", "firing", None)
    assert (body["subjects"], body["fired_at"]) == (["age"], "2026-11-01T06:00:00Z")
    assert body["facts"] == [["Share under 40", "61 % before, 20 % now"]]
    assert [(event["kind"], event["by"], event["note"]) for event in body["events"]] == [
        ("raised", "worker", ""), ("silenced", "anna", "Known."),
    ]  # fmt: skip
    assert body["deliveries"] == [
        {
            "id": row.pk, "channel": "mail", "state": row.state, "n_attempts": row.n_attempts,
            "created_at": "2026-11-01T06:00:00Z", "next_attempt_at": "2026-11-01T06:00:00Z",
            "sent_at": sent_at, "error": row.error,
        }
        for row, sent_at in ((queued, None), (sent, "2026-11-01T06:00:00Z"))
    ]  # fmt: skip
    assert "very-secret" not in response.text


def test_the_queries_do_not_grow_with_what_is_shown(
    alerts: Sequence[Alert], django_assert_num_queries: Any
) -> None:
    client = make_client(scopes=[Scope.DRIFT_READ])
    for number in range(3):
        AlertEvent.objects.create(alert=alerts[0], kind="raised", at=AT, by=str(number))
        make_notification(alerts[0])

    for alert in alerts[:2]:
        with django_assert_num_queries(N_QUERIES_OF_AN_ALERT):
            client.get(f"/monitor/alerts/{alert.pk}")
    for limit in (1, 4):
        with django_assert_num_queries(N_QUERIES_OF_A_PAGE):
            client.get(f"/monitor/alerts?state=all&limit={limit}")


# -- acting -------------------------------------------------------------------------------------


def test_acknowledging_keeps_who_when_and_why(api: Client, alerts: Sequence[Alert]) -> None:
    with one_entry(
        action="alert.acknowledged", target_id=str(alerts[0].pk), actor_kind="api_key"
    ) as entries:
        response = post(api, alerts[0].pk, "acknowledge", {"note": "  Spring campaign "})

    body = response.json()
    assert response.status_code == 200
    assert (body["state"], body["acknowledged_by"]) == ("firing", "API_KEY of the environment")
    assert body["acknowledged_at"] is not None
    assert [(e["kind"], e["note"]) for e in body["events"]] == [("acknowledged", "Spring campaign")]
    assert json.loads(entries[0].details)["note"] == "Spring campaign"
    assert entries[0].request_id == response.headers["X-Request-ID"]


def test_a_silence_ends_when_it_was_told_to(api: Client, alerts: Sequence[Alert]) -> None:
    until = (timezone.now() + timedelta(hours=8)).replace(microsecond=0)
    there = until.astimezone(tz=datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)

    with one_entry(action="alert.silenced", target_id=str(alerts[0].pk)):
        body = post(api, alerts[0].pk, "silence", {"until": there.isoformat()}).json()

    assert datetime.fromisoformat(body["silenced_until"]) == until
    with one_entry(action="alert.unsilenced", target_id=str(alerts[0].pk)):
        body = post(api, alerts[0].pk, "unsilence").json()
    assert (body["silenced_until"], body["silenced_by"]) == (None, "")


def test_resolving_ends_an_alert_with_the_note_as_its_resolution(
    api: Client, alerts: Sequence[Alert]
) -> None:
    with one_entry(action="alert.resolved", target_id=str(alerts[1].pk)):
        body = post(api, alerts[1].pk, "resolve", {"note": "Retrained."}).json()

    assert (body["state"], body["resolution"]) == ("resolved", "Retrained.")
    assert alerts[1].pk not in ids(api.get("/monitor/alerts").json())


@pytest.mark.parametrize("act", ACTS)
def test_a_resolved_alert_takes_no_more_acts(
    api: Client, alerts: Sequence[Alert], act: str
) -> None:
    before = Alert.objects.values().get(pk=alerts[2].pk)

    with one_entry(outcome="refused", status_code=409):
        response = post(api, alerts[2].pk, act, sent_with(act))

    problem_of(response, status=409, code="alert-conflict")
    assert Alert.objects.values().get(pk=alerts[2].pk) == before
    assert not AlertEvent.objects.exists()


@pytest.mark.parametrize("act", ["acknowledge", "unsilence", "resolve"])
def test_of_two_who_do_the_same_the_second_gets_a_409(
    api: Client, alerts: Sequence[Alert], act: str
) -> None:
    post(api, alerts[0].pk, "silence", {"until": TOMORROW})

    first, second = (post(api, alerts[0].pk, act) for _ in range(2))

    assert first.status_code == 200
    problem_of(second, status=409, code="alert-conflict")


BAD_BODIES = [
    (b"[]", "invalid-parameter", None),
    (b'"very-secret"', "invalid-parameter", None),
    (b"null", "invalid-parameter", None),
    (b"{", "malformed-json", None),
    (b'{"note": "a", "note": "b"}', "duplicate-key", None),
    (b"[" * 100_000, "malformed-json", None),
    ({"note": 7}, "invalid-parameter", "#/note"),
    ({"note": True}, "invalid-parameter", "#/note"),
    ({"note": None}, "invalid-parameter", "#/note"),
    ({"note": ["very-secret"]}, "invalid-parameter", "#/note"),
    ({"note": "very-secret\0"}, "invalid-parameter", "#/note"),
    ({"note": "very-secret" * 46}, "invalid-parameter", "#/note"),
    ({"very-secret-field": 1}, "invalid-parameter", "#/very-secret-field"),
    ({"by": "very-secret"}, "invalid-parameter", "#/by"),
]


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(("sent", "code", "pointer"), BAD_BODIES)
def test_a_bad_body_changes_nothing_and_its_values_are_not_echoed(
    api: Client, alerts: Sequence[Alert], act: str, sent: Any, code: str, pointer: str | None
) -> None:
    before = Alert.objects.values().get(pk=alerts[0].pk)
    body = sent_with(act, **sent) if isinstance(sent, dict) else sent

    with one_entry(outcome="refused", status_code=400, target_id=str(alerts[0].pk)) as entries:
        response = post(api, alerts[0].pk, act, body)

    answer = problem_of(response, status=400, code=code)
    if pointer:
        assert {place for place, _ in errors_of(answer)} == {pointer}
    if pointer != "#/very-secret-field":
        assert "very-secret" not in response.text + entries[0].details
    assert Alert.objects.values().get(pk=alerts[0].pk) == before


@pytest.mark.parametrize(
    "until",
    [
        None, "", 1_900_000_000, 1.5, True, [], {}, "tomorrow", "2027-02-31T00:00:00Z",
        "2027-01-01", "20270101T000000Z", "2027-W01-1T00:00Z", "2027-01-01 00:00:00Z",
        "2027-01-01T00:00:00", "2027-01-01T00:00:00+25:00", "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59", "2001-01-01T00:00:00Z", "9000-01-01T00:00:00Z",
        "\u0662\u0660\u0662\u0667-01-01T00:00:00Z", "2027-01-01T00:00:00Z\0", "9" * 100_000,
    ],
)  # fmt: skip
def test_a_silence_needs_a_moment_to_come_and_its_zone(
    api: Client, alerts: Sequence[Alert], until: Any
) -> None:
    with one_entry(action="alert.silenced", outcome="refused", status_code=400):
        response = post(api, alerts[0].pk, "silence", {"until": until})

    answer = problem_of(response, status=400, code="invalid-parameter")
    assert {pointer for pointer, _ in errors_of(answer)} == {"#/until"}
    assert not Alert.objects.filter(silenced_until__isnull=False).exists()


def test_a_silence_without_an_end_is_refused(api: Client, alerts: Sequence[Alert]) -> None:
    answer = problem_of(post(api, alerts[0].pk, "silence"), status=400, code="invalid-parameter")

    assert errors_of(answer) == [("#/until", "required")]


@pytest.mark.parametrize("act", ["", *ACTS])
@pytest.mark.parametrize("alert_id", [10**9, 2**63, 10**40])
def test_an_unknown_alert_is_a_404(api: Client, act: str, alert_id: int) -> None:
    with one_entry(target_type="alert", target_id=str(alert_id), status_code=404):
        if act:
            response = post(api, alert_id, act, sent_with(act))
        else:
            response = api.get(f"/monitor/alerts/{alert_id}")

    problem_of(response, status=404, code="not-found")


@pytest.mark.parametrize("act", ACTS)
def test_an_alert_that_goes_meanwhile_is_a_404(
    api: Client, alerts: Sequence[Alert], act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = alerts[0].pk
    monkeypatch.setattr(AlertApiView, "found", lambda *_: Alert.objects.filter(pk=gone).delete())

    problem_of(post(api, gone, act, sent_with(act)), status=404, code="not-found")


@pytest.mark.parametrize("act", ACTS)
def test_any_body_but_json_is_a_415(api: Client, alerts: Sequence[Alert], act: str) -> None:
    path = f"/monitor/alerts/{alerts[0].pk}/{act}"

    response = api.generic("POST", path, b"note=hello", content_type="text/plain")

    problem_of(response, status=415, code="unsupported-media-type")
