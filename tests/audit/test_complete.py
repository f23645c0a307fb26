"""Whatever is done leaves exactly one entry: every route, page, action and command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.core.management import CommandError, get_commands
from django.db import transaction
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from monitoring.models import MonitoringPolicy, QualityPoint
from segments.models import CustomerImport
from tests.audit.admin_acts import (
    ACTS,
    FREE,
    MODELS,
    NEW_PASSWORD,
    NOTHING,
    REFUSED,
    TIMELINES,
    Scene,
    addresses,
    key,
    report,
)
from tests.audit.command_runs import COMPOSED, OURS, RUNS, Place, carry_out, sealing_files
from tests.expectations import one_entry
from tests.factories import TrainedModels, make_version
from tests.monitoring.alert_rows import make_alert
from tests.monitoring.test_admin_outbox import make_notification
from tests.segmentation_project.test_routes import PUBLIC, ROUTES
from tests.staff import entries_after, last_entry_id, make_user, staff, superuser

UNRECORDED_ROUTES = {
    "root": "name, version and links",
    "healthz": "whether the process lives",
    "readyz": "whether it can serve, for load balancers",
    **dict.fromkeys(("schema", "docs", "redoc"), "the description of the API"),
    **dict.fromkeys(("client-guide", "problem-types"), "pages of documentation"),
}
"""They read nothing of customers, models, keys or settings; `test_routes` calls all the others."""
LEFT_BY_DJANGO = {"<path:object_id>/", "(?P<url>.*)$"}
"""Patterns without a name: an old address of a page, and one for what does not exist."""
ASK_NOTHING = ("logout", "two_factor_confirm")
"""The button, or the form, is on another page."""
TAKES_NO_FORM = (200, 302, 403, 404, 405)


@pytest.fixture(scope="module")
def scene(trained_once: TrainedModels, django_db_blocker: Any) -> Scene:
    with django_db_blocker.unblock():
        return Scene(trained_once, make_version(parameters={"n_clusters": 3}))


@pytest.fixture(autouse=True)
def in_the_transaction_of_the_scene(scene: Scene, trained: TrainedModels) -> Iterator[None]:
    """Each test's changes are rolled back to the scene."""
    yield


# -- the tables are whole -------------------------------------------------------------------------


def test_a_route_without_an_entry_has_a_reason() -> None:
    assert UNRECORDED_ROUTES.keys() == {
        name for name, route in ROUTES.items() if route.access == PUBLIC
    }


def test_every_address_of_the_admin_is_in_one_of_the_tables() -> None:
    listed = [*(name for name in ACTS if ":" not in name), *NOTHING, *TIMELINES]

    assert len(listed) == len(set(listed))
    assert {pattern.name for pattern in addresses() if pattern.name} == set(listed)
    unnamed = {str(pattern.pattern) for pattern in addresses() if not pattern.name}
    assert unnamed == LEFT_BY_DJANGO


def test_every_action_on_a_list_is_in_the_table() -> None:
    request = HttpRequest()
    request.user = make_user()
    request.user.is_superuser = True

    found = {
        f"{model._meta.app_label}_{model._meta.model_name}_changelist:{action}"
        for model, model_admin in admin.site._registry.items()
        for action in model_admin.get_actions(request)
    }

    assert found == {name for name in ACTS if ":" in name}


# -- pages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTS)
def test_an_act_in_the_admin_leaves_one_entry_and_its_refusal_too(scene: Scene, name: str) -> None:
    act = ACTS[name]
    args, form = act.prepare(scene)

    if name not in FREE:
        mallory = staff(name="mallory")
        with one_entry(
            action="admin.refused", actor_id="mallory", outcome="refused", status_code=403
        ):
            refused = act.send(mallory, name, args, form)
        assert refused.status_code == 403
    client = superuser() if act.is_signed_in else Client()
    form |= act.first(client)
    before = last_entry_id()
    if act.method == "post" and name not in ASK_NOTHING:
        asked = client.get(reverse(f"admin:{name.partition(':')[0]}", args=args))
        assert asked.status_code == 200
    assert [e.action for e in entries_after(before)] == []
    with one_entry(action=act.action, actor_kind="user", outcome="succeeded") as entries:
        response = act.send(client, name, args, form)

    assert response.status_code < 400
    assert entries[0].request_id == response.headers["X-Request-ID"]
    assert entries[0].actor_id == ("root" if act.is_signed_in else "bob")


def sample(name: str, scene: Scene) -> list[Any]:
    """Arguments for an address: of an object that is there."""
    if name == "app_list":
        return ["segments"]
    if name == "view_on_site":
        return [1, 1]
    model, _, page = name.rpartition("_")
    if page in ("changelist", "add") or model not in MODELS:
        return [scene.trained.kmeans.pk] if page in ("compare", "version") else []
    make = {
        "access_apikey": key,
        "monitoring_alert": make_alert,
        "monitoring_driftreport": lambda: report(scene),
        "monitoring_monitoringpolicy": MonitoringPolicy.current,
        "monitoring_notification": make_notification,
        "segments_customerimport": lambda: CustomerImport.objects.create(
            file_name="own.csv", uploaded_at=timezone.now(), imported_by="tests"
        ),
        "monitoring_qualitypoint": lambda: QualityPoint.objects.create(
            version=scene.trained.kmeans, measured_at=timezone.now(), n_customers=1, noise_share=0
        ),
    }.get(model, apps.get_model(*model.split("_")).objects.first)
    return [make().pk]


def test_where_nothing_is_done_only_refusals_are_recorded(scene: Scene) -> None:
    client = superuser()
    client.raise_request_exception = False
    left = {}

    for name, why in NOTHING.items():
        url = reverse(f"admin:{name}", args=sample(name, scene))
        for send in (client.get, client.post):
            before = last_entry_id()
            with transaction.atomic():
                response = send(url)
            assert response.status_code in TAKES_NO_FORM, (url, response.status_code)
            if why == REFUSED and send == client.post:
                assert response.status_code == 403, url
            actions = [entry.action for entry in entries_after(before)]
            if actions != ["admin.refused"] * (response.status_code == 403):
                left[name] = actions

    assert left == {}


@pytest.mark.parametrize("name", TIMELINES)
def test_a_timeline_is_a_reading_of_the_trail(scene: Scene, name: str) -> None:
    client = superuser()
    url = reverse(f"admin:{name}", args=sample(name, scene))

    with one_entry(action="audit.read", actor_kind="user", actor_id="root"):
        assert client.get(url).status_code == 200


# -- commands -------------------------------------------------------------------------------------


@pytest.fixture
def place(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    found = Place(scene, tmp_path, monkeypatch)
    sealing_files(found)
    return found


def test_every_command_is_in_the_table() -> None:
    ours = {name for name, app in get_commands().items() if app in OURS}

    assert ours == RUNS.keys() | COMPOSED.keys()


@pytest.mark.parametrize("name", RUNS)
def test_a_command_leaves_one_entry(place: Place, name: str) -> None:
    run = RUNS[name]
    run.around(place)
    arguments = run.prepare(place)

    with one_entry(
        action=run.action, actor_kind="command", actor_id=name, outcome="succeeded"
    ) as entries:
        carry_out(name, *arguments)

    assert NEW_PASSWORD not in entries[0].details


@pytest.mark.parametrize("name", [name for name, run in RUNS.items() if run.refused])
def test_a_refused_command_leaves_one_entry(place: Place, name: str) -> None:
    run = RUNS[name]
    run.around(place)

    with (
        one_entry(action=run.action, actor_id=name, outcome="refused") as entries,
        pytest.raises(CommandError),
    ):
        carry_out(name, *(run.refused or ()))

    assert json.loads(entries[0].details)["code"]
