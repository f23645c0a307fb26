"""Every address of the admin, asked for directly by each kind of person; complete by construction.

A new address fails `test_the_table_holds_every_address` until it has its line in `ADDRESSES`:
who may open it (GET) and who may act there (POST).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.urls import URLResolver, get_resolver
from django.utils import timezone

from access.roles import ROLES
from audit.models import AuditEntry
from modelregistry.models import JobState, TrainingJob
from monitoring.models import (
    Alert,
    AlertKind,
    AlertState,
    MonitoringPolicy,
    Notification,
    QualityPoint,
)
from segments.models import Customer, CustomerImport, ImportState, VersionSegment
from tests.factories import TrainedModels, make_key
from tests.monitoring.test_admin import make_report
from tests.staff import PASSWORD, client_of, entries_after, last_entry_id, make_user

Roles = frozenset[str]
VIEWER, ANALYST, OPERATOR, AUDITOR = (frozenset({name}) for name in ROLES)
VIEWERS, ANALYSTS = VIEWER | ANALYST | OPERATOR, ANALYST | OPERATOR
NOBODY: Roles = frozenset()
STAFF = VIEWERS | AUDITOR | {"no group"}
ALL = STAFF | {"no staff", "anonymous"}


@dataclass(frozen=True)
class Address:
    """Who may GET and POST; who may not gets `refusal`, and what is POSTed writes nothing."""

    get: Roles
    post: Roles
    refusal: int = 403


def of_model(
    model: str,
    view: Roles,
    *,
    add: Roles = NOBODY,
    change: Roles = NOBODY,
    delete: Roles = NOBODY,
    history: Roles | None = None,
) -> dict[str, Address]:
    """The pages that every model has; a timeline is for who sees the model and the trail."""
    seen = view & AUDITOR if history is None else history
    return {
        f"{model}/": Address(view, view),
        f"{model}/add/": Address(add, add),
        f"{model}/<path:object_id>/history/": Address(seen, seen),
        f"{model}/<path:object_id>/delete/": Address(delete, delete),
        f"{model}/<path:object_id>/change/": Address(view, change),
        f"{model}/<path:object_id>/": Address(STAFF, STAFF),  # leads to the page above
    }


def sub(model: str, rest: str, get: Roles, post: Roles | None = None) -> dict[str, Address]:
    return {f"{model}/{rest}": Address(get, get if post is None else post)}


KEY, USER, GROUP = "access/apikey", "auth/user", "auth/group"
ENTRY, CUSTOMER, SEGMENT = "audit/auditentry", "segments/customer", "segments/segment"
JOB, VERSION = "modelregistry/trainingjob", "modelregistry/modelversion"
ACTIVATION, ALERT = "modelregistry/activation", "monitoring/alert"
REPORT, POINT = "monitoring/driftreport", "monitoring/qualitypoint"
MESSAGE, POLICY = "monitoring/notification", "monitoring/monitoringpolicy"
IMPORT = "segments/customerimport"
OBJECT = "<path:object_id>"

ADDRESSES = {
    "": Address(STAFF, STAFF),
    "login/": Address(ALL, ALL),
    "login/code/": Address(ALL, ALL),  # without a password before it leads back
    "logout/": Address(ALL, ALL),
    "password_change/": Address(STAFF, STAFF),
    "password_change/done/": Address(STAFF, STAFF),
    "two-factor/": Address(STAFF, STAFF),
    "two-factor/set-up/": Address(STAFF, STAFF),
    "two-factor/confirm/": Address(STAFF, STAFF),
    "two-factor/codes/": Address(STAFF, STAFF),
    "two-factor/off/": Address(STAFF, STAFF),
    "search/": Address(STAFF, STAFF),
    "autocomplete/": Address(NOBODY, NOBODY),
    "jsi18n/": Address(STAFF, STAFF),
    "r/<path:content_type_id>/<path:object_id>/": Address(NOBODY, NOBODY, refusal=404),
    "^(?P<app_label>audit|auth|access|modelregistry|segments|monitoring)/$": Address(
        VIEWERS, VIEWERS, refusal=404
    ),
    "(?P<url>.*)$": Address(NOBODY, NOBODY, refusal=404),
    "jobs-under-way/": Address(VIEWERS | AUDITOR, VIEWERS | AUDITOR),
    "settings/": Address(OPERATOR | AUDITOR, NOBODY),
    **of_model(KEY, OPERATOR | AUDITOR, add=OPERATOR),
    **sub(KEY, f"{OBJECT}/revoke/", OPERATOR),
    **sub(KEY, f"{OBJECT}/rotate/", OPERATOR),
    **of_model(USER, AUDITOR),
    **sub(USER, "<id>/remove-second-factor/", NOBODY),
    **sub(USER, "<id>/unlock/", NOBODY),
    **sub(USER, "<id>/password/", NOBODY),
    **of_model(GROUP, AUDITOR),
    **of_model(ENTRY, AUDITOR),
    **sub(ENTRY, "export/", AUDITOR),
    **of_model(CUSTOMER, VIEWERS, delete=OPERATOR),
    **sub(CUSTOMER, "import/", ANALYSTS),
    **sub(CUSTOMER, "export/", ANALYSTS),
    **of_model(IMPORT, VIEWERS),
    **sub(IMPORT, f"{OBJECT}/look/", ANALYST),  # for who uploaded the file
    **sub(IMPORT, f"{OBJECT}/cancel/", ANALYSTS),
    **of_model(SEGMENT, VIEWERS, change=ANALYSTS),
    **of_model(JOB, VIEWERS | AUDITOR),
    **sub(JOB, f"{OBJECT}/cancel/", ANALYSTS),
    **sub(JOB, f"{OBJECT}/retry/", ANALYSTS),
    **of_model(VERSION, VIEWERS | AUDITOR),
    **sub(VERSION, "train/", ANALYSTS),
    **sub(VERSION, f"{OBJECT}/compare/", VIEWERS | AUDITOR),
    **sub(VERSION, f"{OBJECT}/activate/", OPERATOR),
    **sub(VERSION, "roll-back/<model_type:model_type>/", OPERATOR),
    **sub(VERSION, f"{OBJECT}/segments/<int:segment_id>/rename/", ANALYSTS),
    **sub(VERSION, f"{OBJECT}/check-artifact/", ANALYSTS),  # a check is noted
    **of_model(ACTIVATION, VIEWERS | AUDITOR),
    f"{ACTIVATION}/{OBJECT}/change/": Address(NOBODY, NOBODY, refusal=404),  # no page of its own
    **of_model(ALERT, VIEWERS),
    **sub(ALERT, f"{OBJECT}/acknowledge/", OPERATOR),
    **sub(ALERT, f"{OBJECT}/silence/", OPERATOR),
    **sub(ALERT, f"{OBJECT}/unsilence/", OPERATOR),
    **sub(ALERT, f"{OBJECT}/resolve/", OPERATOR),
    **of_model(MESSAGE, OPERATOR),
    **sub(MESSAGE, f"{OBJECT}/send/", OPERATOR),
    **of_model(POLICY, VIEWERS, change=OPERATOR),
    **sub(POLICY, "check-now/", ANALYSTS),
    **of_model(POINT, VIEWERS, change=VIEWERS),  # leads to the page of the series
    **sub(POINT, "version/<int:pk>/", VIEWERS),
    **of_model(REPORT, VIEWERS),
    **sub(REPORT, "export/", VIEWERS),
    **sub(REPORT, f"{OBJECT}/json/", VIEWERS),
    **sub(REPORT, f"{OBJECT}/again/", ANALYSTS),
    **sub(REPORT, f"{OBJECT}/features/", VIEWERS),
    **sub(REPORT, f"{OBJECT}/checks/", VIEWERS),
    **sub(REPORT, f"{OBJECT}/acknowledge/", OPERATOR),
    **sub(REPORT, f"{OBJECT}/silence/", OPERATOR),
    **sub(REPORT, f"{OBJECT}/retrain/", ANALYSTS),
}
NOT_REFUSED = {200, 302, 400, 405, 409, 429}
"""What says something else than no: a page, a form with its errors, a method not taken."""


def routes(patterns: Any = None, before: str = "") -> Iterator[str]:
    if patterns is None:
        get_resolver().url_patterns  # noqa: B018  registers the converters
        patterns = admin.site.urls[0]
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, before + str(pattern.pattern))
        else:
            yield before + str(pattern.pattern)


def test_the_table_holds_every_address() -> None:
    found = set(routes())

    missing, gone = sorted(found - ADDRESSES.keys()), sorted(ADDRESSES.keys() - found)
    assert not missing, f"say in ADDRESSES who may GET and POST: {missing}"
    assert not gone, f"these lines of ADDRESSES lead nowhere: {gone}"


# -- something of everything -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def objects(trained_once: TrainedModels, django_db_blocker: Any) -> dict[str, Any]:
    """By model the id of an object that its addresses are asked about."""
    now = timezone.now()
    version = trained_once.kmeans
    with django_db_blocker.unblock():
        report = make_report(trained_once, factor=1.0)
        alert = Alert.objects.create(
            kind=AlertKind.MISSING_DATA, key="1", state=AlertState.FIRING, raised_at=now,
            last_seen_at=now,
        )  # fmt: skip
        return {
            KEY: make_key(scopes=["predict"])[0].pk,
            USER: User.objects.create_user("somebody").pk,
            GROUP: Group.objects.get(name="viewer").pk,
            ENTRY: last_entry_id(),
            CUSTOMER: Customer.objects.earliest("customer_id").pk,
            SEGMENT: VersionSegment.objects.filter(version=version).earliest("pk").segment_id,
            JOB: TrainingJob.objects.create(
                model_type="kmeans", state=JobState.QUEUED, queued_by="tests"
            ).pk,
            VERSION: version.pk,
            ACTIVATION: version.activations.earliest("pk").pk,
            ALERT: alert.pk,
            MESSAGE: Notification.objects.create(
                channel="email",
                message_id="one",
                recipient="nobody@localhost",
                subject="one",
                text="one",
                created_at=now,
                next_attempt_at=now,
            ).pk,
            POLICY: MonitoringPolicy.objects.get_or_create(pk=1)[0].pk,
            POINT: QualityPoint.objects.create(
                version=version,
                report=report,
                measured_at=now,
                n_customers=300,
                noise_share=0.0,
                level="ok",
                sentence="As at training.",
            ).pk,
            REPORT: report.pk,
            IMPORT: CustomerImport.objects.create(
                state=ImportState.FAILED,
                file_name="one.csv",
                uploaded_at=now,
                imported_by="analyst",
                imported_by_id="the analyst",
            ).pk,
        }


@pytest.fixture(scope="module")
def people(trained_once: TrainedModels, django_db_blocker: Any) -> dict[str, Client]:
    with django_db_blocker.unblock():
        clients = {role: client_of(make_user(name=f"the {role}", groups=(role,))) for role in ROLES}
        clients["no group"] = client_of(make_user(name="newcomer"))
        outsider = User.objects.create_user("outsider", password=PASSWORD)
        clients["no staff"] = client_of(outsider)
    return {**clients, "anonymous": Client()}


def path_of(route: str, objects: dict[str, Any]) -> str:
    model = "/".join(route.split("/")[:2])
    fills = {
        "path:content_type_id": "1",
        "path:object_id": str(objects.get(model, "1")),
        "id": str(objects.get(model, "1")),
        "int:pk": str(objects[VERSION]),
        "int:segment_id": str(objects[SEGMENT]),
        "model_type:model_type": "kmeans",
    }
    for name, value in fills.items():
        route = route.replace(f"<{name}>", value)
    if route.startswith("^"):
        route = "segments/"
    return "/admin/" + route.replace("(?P<url>.*)$", "no-such-page/")


@contextmanager
def written_tables() -> Iterator[set[str]]:
    """The tables written to inside the block, but for the trail and sessions."""
    tables: set[str] = set()

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        match = re.match(r'(?:INSERT[^"]*INTO|UPDATE|DELETE FROM) "(\w+)"', sql)
        if match:
            tables.add(match[1])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield tables
    tables -= {"audit_auditentry", "django_session"}


@pytest.mark.parametrize("route", ADDRESSES)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_who_may_gets_in(
    trained: TrainedModels,
    objects: dict[str, Any],
    people: dict[str, Client],
    route: str,
    method: str,
) -> None:
    address, path = ADDRESSES[route], path_of(route, objects)
    allowed = address.get if method == "GET" else address.post

    for who in sorted(ALL - allowed):
        before = last_entry_id()
        with written_tables() as tables:
            response = people[who].generic(method, path)
        assert tables == set(), f"{method} {path} of {who} wrote"
        entries = [(entry.action, entry.outcome) for entry in entries_after(before)]
        if who in STAFF:
            assert response.status_code in {address.refusal, 405}, f"{method} {path} of {who}"
            assert ("admin.refused" in dict(entries)) == (response.status_code == 403)
            assert len(entries) <= 1
        else:
            assert response["Location"].startswith("/admin/login/"), f"{method} {path} of {who}"
            assert entries == []
    for who in sorted(allowed - {"anonymous", "no staff"}):
        if route in ("login/", "logout/"):
            continue  # tests of signing in and out know better
        response = people[who].generic(method, path)
        assert response.status_code in NOT_REFUSED, f"{method} {path} of {who}"
        assert not response.get("Location", "").startswith("/admin/login/?"), f"{path} of {who}"


def test_the_trail_names_who_was_refused_what(
    trained: TrainedModels, objects: dict[str, Any], people: dict[str, Client]
) -> None:
    before = last_entry_id()

    people["viewer"].post(path_of(f"{VERSION}/{OBJECT}/activate/", objects))

    (entry,) = entries_after(before)
    assert (entry.action, entry.actor_id) == ("admin.refused", "the viewer")
    assert '"method":"POST"' in entry.details and "/activate/" in entry.details
    assert AuditEntry.objects.filter(action="model_version.activated", id__gt=before).count() == 0


@pytest.mark.parametrize("permission", ["auth.change_user", "auth.add_user", "auth.change_group"])
def test_nobody_makes_himself_more_with_a_permission_given_by_hand(
    db: None, permission: str
) -> None:
    user = make_user(permission, "auth.view_user", "auth.view_group", name="climber")
    client = client_of(user)
    group = Group.objects.get(name="operator")

    answers = [
        client.post(f"/admin/auth/user/{user.pk}/change/", {"is_superuser": "on"}),
        client.post("/admin/auth/user/add/", {"username": "double", "is_superuser": "on"}),
        client.post(f"/admin/auth/group/{group.pk}/change/", {"name": "climbers"}),
        client.post(f"/admin/auth/user/{user.pk}/password/", {"password1": "x", "password2": "x"}),
    ]

    assert {answer.status_code for answer in answers} == {403}
    user.refresh_from_db()
    assert not user.is_superuser and user.check_password(PASSWORD)
    assert not User.objects.filter(username="double").exists()
    assert Group.objects.get(pk=group.pk).name == "operator"
