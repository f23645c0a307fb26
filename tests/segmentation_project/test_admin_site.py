"""The admin as a whole: every page opens, for nobody without permission, and home is honest."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from audit.models import AuditEntry
from modelregistry.models import TrainingJob
from monitoring.models import DriftReport
from segments.models import Customer, Segment
from tests.factories import TrainedModels, make_key
from tests.staff import (
    PASSWORD,
    client_of,
    entries_after,
    last_entry_id,
    make_user,
    staff,
    superuser,
)

VIEWER = {
    "modelregistry.view_modelversion",
    "modelregistry.view_activation",
    "modelregistry.view_trainingjob",
    "segments.view_customer",
    "segments.view_segment",
    "monitoring.view_alert",
    "monitoring.view_driftreport",
    "monitoring.view_monitoringpolicy",
    "monitoring.view_qualitypoint",
    "monitoring.view_servinghour",
}


def changelists() -> list[str]:
    return [
        f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        for model in admin.site._registry
    ]


def test_only_our_models_and_the_staff_are_in_the_admin() -> None:
    names = {model._meta.label for model in admin.site._registry}

    assert names == {
        "access.ApiKey",
        "audit.AuditEntry",
        "auth.Group",
        "auth.User",
        "modelregistry.Activation",
        "modelregistry.ModelVersion",
        "modelregistry.TrainingJob",
        "monitoring.Alert",
        "monitoring.DriftReport",
        "monitoring.MonitoringPolicy",
        "monitoring.Notification",
        "monitoring.QualityPoint",
        "segments.Customer",
        "segments.Segment",
    }


def test_every_list_and_page_opens_for_a_superuser(trained: TrainedModels) -> None:
    client = superuser()
    make_key(scopes=["predict"])

    for name in changelists():
        assert client.get(reverse(name), follow=True).status_code == 200, name
    for model in (Customer, Segment, TrainingJob, AuditEntry, User, Group):
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
        response = client.get(reverse(name, args=[model._default_manager.first().pk]))
        assert response.status_code == 200, name


def test_every_list_is_refused_without_permission_and_without_login(db: None) -> None:
    client = staff()

    for name in changelists():
        assert client.get(reverse(name)).status_code == 403, name
        assert Client().get(reverse(name)).status_code == 302, name


def test_a_refusal_in_the_admin_is_a_page_for_people(db: None) -> None:
    response = staff().get(reverse("admin:audit_auditentry_changelist"))

    assert response.status_code == 403
    assert response.headers["Content-Type"].startswith("text/html")
    assert "This is not allowed" in response.content.decode()


def test_home_names_what_serves_and_links_to_it(trained: TrainedModels) -> None:
    page = superuser().get(reverse("admin:index")).content.decode()

    assert "kmeans 1" in page and "dbscan 1" in page
    assert "300 stored" in page
    assert reverse("admin:modelregistry_modelversion_change", args=[trained.kmeans.pk]) in page


def test_home_says_so_when_nothing_is_there_yet(db: None) -> None:
    page = superuser().get(reverse("admin:index")).content.decode()

    assert page.count("no active version") == 2
    assert "None is stored yet." in page
    assert "No model was trained yet." in page
    assert "Drift was not checked yet" in page


def test_home_shows_nothing_that_the_person_may_not_see(trained: TrainedModels) -> None:
    page = staff().get(reverse("admin:index")).content.decode()

    for hidden in ("kmeans 1", "300 stored", "Latest training jobs", "Train a model", "Import"):
        assert hidden not in page


def test_no_page_names_an_asset_of_another_host(trained: TrainedModels) -> None:
    client = superuser()
    version = reverse("admin:modelregistry_modelversion_change", args=[trained.kmeans.pk])

    for url in (reverse("admin:index"), version, reverse("admin:segments_customer_changelist")):
        page = client.get(url).content.decode()
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)


@pytest.mark.parametrize(
    ("group", "more"),
    [
        ("viewer", set()),
        (
            "analyst",
            {
                "modelregistry.train_modelversion",
                "segments.import_customer",
                "segments.change_segment",
                "monitoring.change_alert",
            },
        ),
        (
            "operator",
            {
                "modelregistry.activate_modelversion",
                "access.add_apikey",
                "access.change_apikey",
                "access.view_apikey",
                "monitoring.change_alert",
                "monitoring.change_monitoringpolicy",
                "monitoring.view_notification",
                "monitoring.change_notification",
            },
        ),
    ],
)
def test_the_groups_of_staff_may_what_they_are_for(db: None, group: str, more: set[str]) -> None:
    user = make_user(groups=(group,))

    assert user.get_all_permissions() == VIEWER | more


def test_an_auditor_reads_the_trail_and_nothing_else(db: None) -> None:
    user = make_user(groups=("auditor",))

    assert user.get_all_permissions() == {"audit.view_auditentry"}
    assert client_of(user).get(reverse("admin:audit_auditentry_changelist")).status_code == 200


def test_changing_ones_own_password_leaves_one_entry(db: None) -> None:
    client = staff()
    before = last_entry_id()
    new = "another-password-of-the-tests"

    response = client.post(
        reverse("admin:password_change"),
        {"old_password": PASSWORD, "new_password1": new, "new_password2": new},
    )

    assert response.status_code == 302
    (entry,) = entries_after(before)
    assert (entry.action, entry.target_id) == ("user.password_changed", "ann")
    assert new not in entry.details


def test_a_drift_report_is_missing_from_the_list_until_there_is_one(db: None) -> None:
    assert not DriftReport.objects.exists()
    assert superuser().get(reverse("admin:monitoring_driftreport_changelist")).status_code == 200


def test_signing_in_without_a_destination_ends_at_the_overview(client: Client, db: None) -> None:
    User.objects.create_superuser("anna", password="a long enough one")

    response = client.post("/admin/login/", {"username": "anna", "password": "a long enough one"})

    assert (response.status_code, response["Location"]) == (302, "/admin/")
