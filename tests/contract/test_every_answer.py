"""Each documented status of each operation is produced, and each answer fits its schema.

Complete by construction: an operation without an example, or a status that nothing here can
produce, fails. Addresses and header fields that are too long are refused by the server before any
view: see tests/system/test_long_requests.py.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.db import OperationalError, transaction
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from access import idempotency
from access.api import ApiView
from access.authentication import BOOTSTRAP_ID
from access.scopes import ALL_SCOPES
from modelregistry.models import ActiveModel, JobState, TrainingJob
from monitoring import health
from monitoring.models import Alert, AlertKind, AlertState, DriftReport
from segments import views_customers
from segments.erasure import ErasureConflict
from tests.contract.answers import assert_documented, operations
from tests.factories import TrainedModels, make_key, make_records, make_version

QUEUED_JOB, FAILED_JOB = 9_000_001, 9_000_002
REPORT, ALERT, SILENCED_ALERT = 9_000_003, 9_000_004, 9_000_005
BY_THE_SERVER = {"414", "431"}
REASON = {"reason": "tests"}


@dataclass(frozen=True)
class Call:
    """One request; `headers` beside the key, `extra` of the WSGI environment."""

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return b"" if self.body is None else json.dumps(self.body).encode()

    def by(self, key: str | None) -> HttpResponse:
        client = Client(raise_request_exception=False)
        sent = dict(self.headers) | ({"X-API-Key": key} if key else {})
        return client.generic(  # type: ignore[return-value]
            self.method,
            self.path,
            self.content,
            content_type=self.extra.get("CONTENT_TYPE", "application/json"),
            headers=sent,
            **self.extra,
        )


GET, POST = "GET", "POST"
VERSION = "/models/kmeans/versions/1"
EXAMPLES: Mapping[str, Call] = {
    "service": Call(GET, "/"),
    "healthz": Call(GET, "/healthz"),
    "readyz": Call(GET, "/readyz"),
    "auth_token": Call(POST, "/auth/token", {"scopes": ["predict"]}),
    "models": Call(GET, "/models"),
    "model_status": Call(GET, "/model/status/kmeans"),
    "model_version": Call(GET, VERSION),
    "compare_model_versions": Call(GET, f"{VERSION}/compare"),
    "activate_model_version": Call(POST, f"{VERSION}/activate", REASON),
    "roll_back_model": Call(POST, "/models/kmeans/rollback", REASON),
    "train": Call(POST, "/models/dbscan/train", {"parameters": {"eps": 1.5}, "note": "spring"}),
    "job": Call(GET, f"/jobs/{FAILED_JOB}"),
    "cancel_job": Call(POST, f"/jobs/{QUEUED_JOB}/cancel"),
    "retry_job": Call(POST, f"/jobs/{FAILED_JOB}/retry"),
    "predict": Call(POST, "/predict/dbscan?explain=true", make_records(n_customers=3)),
    "store_customers": Call(POST, "/customers", make_records(n_customers=3)),
    "read_customer": Call(GET, "/customers/C-000001"),
    "erase_customer": Call("DELETE", "/customers/C-000001"),
    "segments": Call(GET, "/segments/dbscan?limit=2"),
    "segment_profiles": Call(GET, "/segments/kmeans/profiles"),
    "segment_changes": Call(GET, "/segments/kmeans/changes"),
    "segments_export": Call(GET, "/segments/kmeans/export?format=csv"),
    "monitor_drift": Call(POST, "/monitor/drift", make_records(n_customers=60)),
    "drift_reports": Call(GET, "/monitor/drift"),
    "drift_report": Call(GET, f"/monitor/drift/{REPORT}"),
    "quality": Call(GET, "/monitor/quality/kmeans"),
    "alerts": Call(GET, "/monitor/alerts?state=all"),
    "alert": Call(GET, f"/monitor/alerts/{ALERT}"),
    "acknowledge_alert": Call(POST, f"/monitor/alerts/{ALERT}/acknowledge", {"note": "seen"}),
    "silence_alert": Call(
        POST,
        f"/monitor/alerts/{ALERT}/silence",
        {"until": (timezone.now() + timedelta(hours=1)).isoformat()},
    ),
    "unsilence_alert": Call(POST, f"/monitor/alerts/{SILENCED_ALERT}/unsilence"),
    "resolve_alert": Call(POST, f"/monitor/alerts/{ALERT}/resolve"),
    "metrics": Call(GET, "/metrics"),
    "audit_logs": Call(GET, "/audit/logs"),
}
"""A call of each operation that succeeds."""

Produce = Callable[..., HttpResponse]
"""Answers, given the call and a MonkeyPatch."""


def refused_for_a_parameter(call: Call, *_: object) -> HttpResponse:
    mark = "&" if "?" in call.path else "?"
    return replace(call, path=f"{call.path}{mark}no_such_parameter=1").by(settings.API_KEY)


def with_a_key_in_the_url(call: Call, *_: object) -> HttpResponse:
    return replace(call, path=f"{call.path}?api_key=1").by(None)


def without_a_key(call: Call, *_: object) -> HttpResponse:
    return call.by(None)


def without_the_scope(call: Call, *_: object) -> HttpResponse:
    return call.by(make_key(scopes=[])[1])


def of_nothing(call: Call, *_: object) -> HttpResponse:
    """The same of what was never there: another model type, or another id."""
    path = call.path.replace("kmeans", "kmedoids").replace("dbscan", "optics")
    path = path.replace("C-000001", "nobody")
    for known in (QUEUED_JOB, FAILED_JOB, REPORT, ALERT, SILENCED_ALERT):
        path = path.replace(str(known), "9999999")
    return replace(call, path=path).by(settings.API_KEY)


def of_no_version(call: Call, *_: object) -> HttpResponse:
    return replace(call, path=call.path.replace("versions/1", "versions/99")).by(settings.API_KEY)


def with_headers(**headers: str) -> Produce:
    def produce(call: Call, *_: object) -> HttpResponse:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(call, headers={**call.headers, **sent}).by(settings.API_KEY)

    return produce


def with_environment(**extra: Any) -> Produce:
    def produce(call: Call, *_: object) -> HttpResponse:
        return replace(call, extra=extra).by(settings.API_KEY)

    return produce


def as_text(call: Call, *_: object) -> HttpResponse:
    sent = replace(call, body=call.body or {}, extra={"CONTENT_TYPE": "text/plain"})
    return sent.by(settings.API_KEY)


def with_a_claimed_key(*, is_same: bool) -> Produce:
    """An Idempotency-Key whose first request, the same or another one, is not answered yet."""

    def produce(call: Call, *_: object) -> HttpResponse:
        path, _, query = call.path.partition("?")
        content = call.content if is_same else b"other"
        idempotency.claim(
            idempotency.digest_of(settings.SECRET_KEY, BOOTSTRAP_ID, call.method, path, "first"),
            fingerprint=idempotency.digest_of(query, content),
            request_id="first-request",
            at=timezone.now(),
        )
        return with_headers(Idempotency_Key="first")(call)

    return produce


def once_too_often(call: Call, *_: object) -> HttpResponse:
    key = make_key(scopes=sorted(ALL_SCOPES), rate="1/d")[1]
    call.by(key)
    return call.by(key)


def failing(error: Exception) -> Produce:
    def produce(call: Call, monkeypatch: pytest.MonkeyPatch) -> HttpResponse:
        def fail(*arguments: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(ApiView, "checked_query", fail)
            return call.by(settings.API_KEY)

    return produce


def from_a_page_of_another_version(call: Call, *_: object) -> HttpResponse:
    now = timezone.now().isoformat()
    cursor = b64encode(urlencode({"p": f"0 {now} {now} C-000001"}).encode()).decode()
    query = urlencode({"cursor": cursor})
    return replace(call, path=f"{call.path}?{query}").by(settings.API_KEY)


def with_nothing_active(call: Call, *_: object) -> HttpResponse:
    ActiveModel.objects.update(active=None, previous=None)
    return call.by(settings.API_KEY)


def with_a_full_disk(call: Call, monkeypatch: pytest.MonkeyPatch) -> HttpResponse:
    with monkeypatch.context() as patch:
        patch.setattr(health, "MIN_FREE_SHARE", 2.0)
        return call.by(None)


def overtaken(call: Call, monkeypatch: pytest.MonkeyPatch) -> HttpResponse:
    def lose(*arguments: object, **named: object) -> None:
        raise ErasureConflict

    with monkeypatch.context() as patch:
        patch.setattr(views_customers, "erase", lose)
        return call.by(settings.API_KEY)


PRODUCED: Mapping[str, Produce] = {
    "400": refused_for_a_parameter,
    "401": without_a_key,
    "403": without_the_scope,
    "404": of_nothing,
    "406": with_headers(Accept="text/html"),
    "409": with_a_claimed_key(is_same=True),
    "411": with_environment(HTTP_TRANSFER_ENCODING="chunked"),
    "413": with_environment(CONTENT_LENGTH=str(settings.MAX_BODY_BYTES + 1)),
    "415": as_text,
    "422": with_a_claimed_key(is_same=False),
    "429": once_too_often,
    "500": failing(RuntimeError("tests")),
    "503": failing(OperationalError("database is locked")),
}
"""How to make any operation answer each status but its success."""
IN_ITS_OWN_WAY: Mapping[tuple[str, str], Produce] = {
    ("compare_model_versions", "409"): with_nothing_active,
    ("erase_customer", "409"): overtaken,
    ("segment_changes", "409"): from_a_page_of_another_version,
    **{(name, "400"): with_a_key_in_the_url for name in ("service", "healthz", "readyz")},
    ("readyz", "503"): with_a_full_disk,
}
AND_ALSO: Mapping[tuple[str, str], Produce] = {
    ("activate_model_version", "404"): of_no_version,
    ("compare_model_versions", "404"): of_no_version,
    ("model_version", "404"): of_no_version,
    ("model_status", "503"): with_nothing_active,
    ("predict", "503"): with_nothing_active,
    ("segments", "503"): with_nothing_active,
    ("roll_back_model", "409"): with_nothing_active,
    ("monitor_drift", "503"): with_nothing_active,
}
"""Other ways to the same status, with an answer of another kind."""


@pytest.fixture(scope="module")
def stored(trained_once: TrainedModels, django_db_blocker: Any) -> None:
    """Something behind each id, and a second version that serves, so that the first can again."""
    now = timezone.now()
    with django_db_blocker.unblock():
        make_version(active=True)
        for pk, state in ((QUEUED_JOB, JobState.QUEUED), (FAILED_JOB, JobState.FAILED)):
            TrainingJob.objects.create(pk=pk, model_type="kmeans", state=state, queued_by="tests")
        DriftReport.objects.create(
            pk=REPORT, version=trained_once.kmeans, model_type="kmeans", verdict="ok",
            source="stored", n_reference=0, n_seen=0, n_current=0, threshold=0.05,
            report={"findings": []}, created_at=now,
        )  # fmt: skip
        for pk, until in ((ALERT, None), (SILENCED_ALERT, now + timedelta(days=1))):
            Alert.objects.create(
                pk=pk, kind=AlertKind.MISSING_DATA, key=str(pk), state=AlertState.FIRING,
                raised_at=now, last_seen_at=now, silenced_until=until,
            )  # fmt: skip


def test_every_operation_has_an_example_and_every_status_a_way_to_it() -> None:
    documented = {
        (operation["operationId"], status)
        for _, _, operation in operations()
        for status in operation["responses"]
    }

    assert {name for name, _ in documented} == EXAMPLES.keys()
    ways = PRODUCED.keys() | BY_THE_SERVER | {"200", "201", "202"}
    assert {each for each in documented if each[1] not in ways} <= IN_ITS_OWN_WAY.keys()
    assert AND_ALSO.keys() <= documented


@contextmanager
def rolled_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def produced(name: str, status: str) -> list[Produce]:
    if status.startswith("2"):
        return [lambda call, *_: call.by(settings.API_KEY)]
    own = IN_ITS_OWN_WAY.get((name, status), PRODUCED.get(status))
    also = AND_ALSO.get((name, status))
    return [way for way in (own, also) if way is not None]


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_documented_status_is_answered_in_its_documented_form(
    trained: TrainedModels, stored: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    [(operation, path)] = [(o, path) for _, path, o in operations() if o["operationId"] == name]
    call = EXAMPLES[name]

    for status in operation["responses"].keys() - BY_THE_SERVER:
        for produce in produced(name, status):
            with rolled_back():
                response = produce(call, monkeypatch)

            assert str(response.status_code) == status, (path, response)
            content = getattr(response, "content", b"")  # an export is a stream
            assert_documented(operation, response.status_code, response.headers, content)


@pytest.mark.parametrize(
    ("status", "changed"),
    [
        (200, {"surprise": 1}),
        (200, {"n_stored": "1"}),
        (200, {"predictions": None}),
        (204, {}),
    ],
)
def test_an_undocumented_answer_is_noticed(status: int, changed: dict[str, Any]) -> None:
    [predict] = [o for _, _, o in operations() if o["operationId"] == "predict"]
    body = {"model_type": "kmeans", "version": 1, "n_stored": 1, "predictions": []}
    headers = {"Content-Type": "application/json", "X-Request-ID": "0123456789"}

    assert_documented(predict, 200, headers, json.dumps(body).encode())
    with pytest.raises(AssertionError):
        assert_documented(predict, status, headers, json.dumps(body | changed).encode())
