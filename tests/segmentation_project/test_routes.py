"""Every route with every kind of credential; the table is complete by construction."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from access.key_format import SECRET_LENGTH, key_id_of, key_text
from access.keys import revoke
from access.scopes import Scope
from audit.models import AuditEntry
from modelregistry.models import ActiveModel, JobState, ModelType, TrainingJob
from monitoring.models import Alert, AlertKind, AlertState, DriftReport
from segments.models import Assignment, Customer
from tests.expectations import one_entry, problem_of
from tests.factories import BY, TrainedModels, make_key, make_records, make_version

PUBLIC = "public"
ADMIN = "admin"
ANY_KEY = "any key"
RATE = "100000/h"
METHODS = ("GET", "POST", "DELETE")


@dataclass(frozen=True)
class Route:
    """`access` is the scope needed, PUBLIC, ANY_KEY, or ADMIN for all that lies below the admin."""

    method: str
    paths: tuple[str, ...]
    access: str
    action: str = ""
    sends: str = ""
    status: int = 200


QUEUED_JOB, FAILED_JOB = 9_000_001, 9_000_002
"""Ids of the jobs that the routes of jobs are asked about."""
CUSTOMER = "/customers/C-000001"
REPORT, ALERT, SILENCED_ALERT = 9_000_003, 9_000_004, 9_000_005


def each(path: str) -> tuple[str, ...]:
    return tuple(f"{path}/{model_type}" for model_type in ModelType.values)


def first_versions(rest: str) -> tuple[str, ...]:
    return tuple(f"{path}/versions/1{rest}" for path in each("/models"))


ROUTES = {
    "root": Route("GET", ("/",), PUBLIC),
    "healthz": Route("GET", ("/healthz",), PUBLIC),
    "readyz": Route("GET", ("/readyz",), PUBLIC),
    "schema": Route("GET", ("/schema",), PUBLIC),
    "docs": Route("GET", ("/docs",), PUBLIC),
    "client-guide": Route("GET", ("/docs/guide",), PUBLIC),
    "problem-types": Route("GET", ("/docs/problems",), PUBLIC),
    "redoc": Route("GET", ("/redoc",), PUBLIC),
    "auth-token": Route("POST", ("/auth/token",), ANY_KEY, "token.issued"),
    "models": Route("GET", ("/models",), Scope.MODELS_READ, "models.read"),
    "predict": Route("POST", each("/predict"), Scope.PREDICT, "segments.predicted", "record"),
    "model-status": Route("GET", each("/model/status"), Scope.MODELS_READ, "model.status_read"),
    "monitor-drift GET": Route("GET", ("/monitor/drift",), Scope.DRIFT_READ, "drift.listed"),
    "monitor-drift POST": Route("POST", ("/monitor/drift",), Scope.DRIFT_RUN, "drift.checked"),
    "drift-report": Route("GET", (f"/monitor/drift/{REPORT}",), Scope.DRIFT_READ, "drift.read"),
    "alerts": Route("GET", ("/monitor/alerts",), Scope.DRIFT_READ, "alerts.listed"),
    "alert": Route("GET", (f"/monitor/alerts/{ALERT}",), Scope.DRIFT_READ, "alert.read"),
    "alert-acknowledge": Route(
        "POST",
        (f"/monitor/alerts/{ALERT}/acknowledge",),
        Scope.ALERTS_WRITE,
        "alert.acknowledged",
    ),
    "alert-silence": Route(
        "POST",
        (f"/monitor/alerts/{ALERT}/silence",),
        Scope.ALERTS_WRITE,
        "alert.silenced",
        "until",
    ),
    "alert-unsilence": Route(
        "POST",
        (f"/monitor/alerts/{SILENCED_ALERT}/unsilence",),
        Scope.ALERTS_WRITE,
        "alert.unsilenced",
    ),
    "alert-resolve": Route(
        "POST", (f"/monitor/alerts/{ALERT}/resolve",), Scope.ALERTS_WRITE, "alert.resolved"
    ),
    "quality": Route("GET", each("/monitor/quality"), Scope.MODELS_READ, "quality.read"),
    "customers": Route(
        "POST", ("/customers",), Scope.CUSTOMERS_WRITE, "customers.stored", "record"
    ),
    "customer GET": Route("GET", (CUSTOMER,), Scope.CUSTOMERS_READ, "customer.read"),
    "customer DELETE": Route("DELETE", (CUSTOMER,), Scope.CUSTOMERS_ERASE, "customer.erased"),
    "segments": Route("GET", each("/segments"), Scope.SEGMENTS_READ, "segments.listed"),
    "segment-profiles": Route(
        "GET",
        tuple(f"{path}/profiles" for path in each("/segments")),
        Scope.SEGMENTS_READ,
        "segments.profiles_read",
    ),
    "segment-changes": Route(
        "GET",
        tuple(f"{path}/changes" for path in each("/segments")),
        Scope.SEGMENTS_READ,
        "segments.changes_read",
    ),
    "segments-export": Route(
        "GET",
        tuple(f"{path}/export" for path in each("/segments")),
        Scope.SEGMENTS_READ,
        "segments.exported",
    ),
    "train": Route(
        "POST",
        tuple(f"{path}/train" for path in each("/models")),
        Scope.MODELS_TRAIN,
        "training.queued",
        status=202,
    ),
    "model-version": Route("GET", first_versions(""), Scope.MODELS_READ, "model_version.read"),
    "model-version-compare": Route(
        "GET", first_versions("/compare"), Scope.MODELS_READ, "model_version.compared"
    ),
    "model-version-activate": Route(
        "POST",
        first_versions("/activate"),
        Scope.MODELS_ACTIVATE,
        "model_version.activated",
        "reason",
    ),
    "model-rollback": Route(
        "POST",
        tuple(f"{path}/rollback" for path in each("/models")),
        Scope.MODELS_ACTIVATE,
        "model_version.rolled_back_to",
        "reason",
    ),
    "job": Route("GET", (f"/jobs/{QUEUED_JOB}",), Scope.MODELS_READ, "training.read"),
    "job-cancel": Route(
        "POST",
        (f"/jobs/{QUEUED_JOB}/cancel",),
        Scope.MODELS_TRAIN,
        "training.cancelled",
        status=202,
    ),
    "job-retry": Route(
        "POST",
        (f"/jobs/{FAILED_JOB}/retry",),
        Scope.MODELS_TRAIN,
        "training.retried",
        status=202,
    ),
    "metrics": Route("GET", ("/metrics",), Scope.METRICS, "metrics.read"),
    "audit-logs": Route("GET", ("/audit/logs",), Scope.AUDIT_READ, "audit.read"),
    "admin/": Route("GET", ("/admin/",), ADMIN),
}
API_ROUTES = {name: route for name, route in ROUTES.items() if route.action}


def routed_names() -> Iterator[str]:
    """Every pattern of the URLconf by its name, and every included one by its prefix.

    A view that takes several methods has a name for each.
    """
    for pattern in get_resolver().url_patterns:
        if isinstance(pattern, URLResolver):
            yield str(pattern.pattern)
            continue
        assert isinstance(pattern, URLPattern)
        name = pattern.name or str(pattern.pattern)
        view = getattr(pattern.callback, "cls", None)
        methods = [method for method in METHODS if hasattr(view, method.lower())]
        yield from [f"{name} {method}" for method in methods] if len(methods) > 1 else [name]


def call(client: Client, route: Route, path: str, **more: Any) -> Any:
    bodies = {
        "record": make_records(n_customers=1),
        "reason": {"reason": "tests"},
        "until": {"until": (timezone.now() + timedelta(hours=1)).isoformat()},
    }
    if route.sends:
        return client.post(path, bodies[route.sends], content_type="application/json", **more)
    return client.generic(route.method, path, **more)


def api_paths(*, scoped: bool = False) -> list[Any]:
    return [
        pytest.param(route, path, id=f"{route.method} {path}")
        for route in API_ROUTES.values()
        if not scoped or route.access != ANY_KEY
        for path in route.paths
    ]


@pytest.fixture(scope="module", autouse=True)
def jobs(trained_once: TrainedModels, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock():
        for pk, state in ((QUEUED_JOB, JobState.QUEUED), (FAILED_JOB, JobState.FAILED)):
            TrainingJob.objects.create(pk=pk, model_type="kmeans", state=state, queued_by="tests")


@pytest.fixture(scope="module", autouse=True)
def alerts(trained_once: TrainedModels, django_db_blocker: Any) -> None:
    now = timezone.now()
    with django_db_blocker.unblock():
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


@pytest.fixture(scope="module")
def second_versions(trained_once: TrainedModels, django_db_blocker: Any) -> None:
    """They serve, so the first ones can be activated again, and rolled back to."""
    with django_db_blocker.unblock():
        for model_type in ModelType.values:
            make_version(model_type=model_type, active=True)


@pytest.fixture(scope="module")
def keys(trained_once: TrainedModels, django_db_blocker: Any) -> dict[str, str]:
    """A key for each way of not getting in, and one for each single scope."""
    with django_db_blocker.unblock():
        everything = {"scopes": Scope.values, "rate": RATE}
        revoked, revoked_secret = make_key(**everything)
        revoke(revoked, by=BY)
        yesterday = timezone.now() - timedelta(days=1)
        _, wrong = make_key(**everything)
        return {
            "unknown": key_text("AbCdEf12", "x" * SECRET_LENGTH),
            "wrong": key_text(str(key_id_of(wrong)), "x" * SECRET_LENGTH),
            "revoked": revoked_secret,
            "expired": make_key(**everything, expires_at=yesterday)[1],
            "without scopes": make_key(scopes=[], rate=RATE)[1],
            **{scope: make_key(scopes=[scope], rate=RATE)[1] for scope in Scope.values},
        }


def stored() -> tuple[Any, ...]:
    return (
        list(Customer.objects.values_list()),
        list(Assignment.objects.order_by("version_id", "customer_id").values_list()),
        DriftReport.objects.count(),
        list(Alert.objects.order_by("pk").values_list()),
        list(TrainingJob.objects.order_by("pk").values_list("pk", "state")),
        list(ActiveModel.objects.order_by("pk").values_list()),
    )


def test_the_table_holds_every_route_and_no_other() -> None:
    assert sorted(routed_names()) == sorted(ROUTES)


@pytest.mark.parametrize(("route", "path"), api_paths())
def test_no_key_is_a_401(trained: TrainedModels, route: Route, path: str) -> None:
    before = stored()

    with one_entry(
        action=route.action, actor_kind="anonymous", outcome="refused", status_code=401
    ) as entries:
        response = call(Client(), route, path)

    body = problem_of(response, status=401, code="no-key")
    assert response.headers["WWW-Authenticate"].startswith("Api-Key ")
    assert entries[0].request_id == body["request_id"]
    assert stored() == before


@pytest.mark.parametrize(("route", "path"), api_paths())
def test_every_invalid_key_gets_one_and_the_same_401(
    trained: TrainedModels, keys: dict[str, str], route: Route, path: str
) -> None:
    before = stored()
    answers = []

    for kind in ("unknown", "wrong", "revoked", "expired"):
        with one_entry(action=route.action, actor_kind="anonymous", status_code=401):
            response = call(Client(headers={"X-API-Key": keys[kind]}), route, path)
        body = problem_of(response, status=401, code="invalid-key")
        del body["request_id"]
        answers.append((body, response.headers["WWW-Authenticate"]))

    assert all(answer == answers[0] for answer in answers)
    assert stored() == before


@pytest.mark.parametrize(("route", "path"), api_paths(scoped=True))
def test_only_the_scope_of_the_route_opens_it(
    trained: TrainedModels, second_versions: None, keys: dict[str, str], route: Route, path: str
) -> None:
    before = stored()

    for kind in ["without scopes", *(scope for scope in Scope.values if scope != route.access)]:
        with one_entry(
            action=route.action, actor_kind="api_key", outcome="refused", status_code=403
        ):
            response = call(Client(headers={"X-API-Key": keys[kind]}), route, path)
        body = problem_of(response, status=403, code="scope-missing")
        assert route.access in body["detail"]

    assert stored() == before
    with one_entry(action=route.action, actor_kind="api_key", outcome="succeeded") as entries:
        response = call(Client(headers={"X-API-Key": keys[route.access]}), route, path)
    assert response.status_code == route.status, response.content
    assert entries[0].request_id == response.headers["X-Request-ID"]
    assert entries[0].actor_id == key_id_of(keys[route.access])


@pytest.mark.parametrize(("route", "path"), api_paths())
def test_every_answer_says_where_the_key_stands_and_is_not_cached(
    trained: TrainedModels, api: Client, route: Route, path: str
) -> None:
    for client in (api, Client()):
        response = call(client, route, path)

        for name in ("RateLimit-Policy", "RateLimit", "X-RateLimit-Limit", "X-RateLimit-Reset"):
            assert response.headers[name], name
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize(("route", "path"), api_paths())
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_no_route_takes_another_method(
    db: None, api: Client, route: Route, path: str, method: str
) -> None:
    here = [other for other in API_ROUTES.values() if path in other.paths]
    if method in {other.method for other in here}:
        return
    allowed = {
        "GET": "GET, HEAD",
        "POST": "POST",
        "GET POST": "GET, POST, HEAD",
        "DELETE GET": "GET, DELETE, HEAD",
    }

    with one_entry(outcome="refused", status_code=405) as entries:
        response = api.generic(method, path)

    problem_of(response, status=405, code="method-not-allowed")
    assert entries[0].action in {other.action for other in here}
    assert response.headers["Allow"] == allowed[" ".join(sorted(o.method for o in here))]


@pytest.mark.parametrize("name", [name for name, r in ROUTES.items() if r.access == PUBLIC])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_no_public_route_takes_another_method(db: None, name: str, method: str) -> None:
    for path in ROUTES[name].paths:
        for accept in ("*/*", "text/html"):
            response = Client(headers={"Accept": accept}).generic(method, path)

            problem_of(response, status=405, code="method-not-allowed")
            assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_a_page_of_the_api_loads_nothing_from_elsewhere(db: None, path: str) -> None:
    page = Client().get(path).text

    assert "/static/drf_spectacular_sidecar/" in page
    assert not re.findall(r"(?:https?:)?//(?!testserver)[a-z0-9-]+\.[a-z]", page)


@pytest.mark.parametrize(("route", "path"), api_paths())
def test_no_route_takes_an_unknown_parameter(
    trained: TrainedModels, api: Client, route: Route, path: str
) -> None:
    before = stored()

    with one_entry(action=route.action, outcome="refused", status_code=400):
        response = call(api, route, f"{path}?no_such_parameter=very-secret")

    body = problem_of(response, status=400, code="invalid-parameter")
    assert body["errors"][0]["pointer"] == "#/no_such_parameter"
    assert "very-secret" not in response.text
    assert stored() == before


@pytest.mark.parametrize("name", [name for name, r in ROUTES.items() if r.access == PUBLIC])
def test_a_public_route_needs_no_key_and_leaves_no_entry(trained: TrainedModels, name: str) -> None:
    before = AuditEntry.objects.count()

    for path in ROUTES[name].paths:
        assert Client().get(path).status_code == 200
        assert Client(headers={"Accept": "text/html"}).get(path).status_code == 200

    assert AuditEntry.objects.count() == before


def test_the_admin_sends_a_stranger_to_its_login(db: None, api: Client) -> None:
    for client in (Client(), api):
        response = client.get("/admin/audit/auditentry/")

        assert response.status_code == 302
        assert response.headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize(
    "sent", ["abcdefgh", "A.b_c-9" * 9, "01234567-89ab-cdef-0123-456789abcdef"]
)
def test_a_sound_request_id_is_kept(api: Client, db: None, sent: str) -> None:
    with one_entry(request_id=sent):
        response = api.get("/models", headers={"X-Request-ID": sent})

    assert response.headers["X-Request-ID"] == sent


@pytest.mark.parametrize(
    "sent",
    ["", "short", "x" * 65, "a b c d e f", "<script>alert(1)", "abcdefgh\n", "schl\u00fcssel"],
)
@pytest.mark.parametrize("path", ["/models", "/nothing", "/", "/docs"])
def test_an_unsound_request_id_is_replaced(api: Client, db: None, sent: str, path: str) -> None:
    response = api.get(path, HTTP_X_REQUEST_ID=sent)

    assert response.headers["X-Request-ID"] != sent
    assert len(response.headers["X-Request-ID"]) == 32
