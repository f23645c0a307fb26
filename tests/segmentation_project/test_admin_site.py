"""The admin as a whole: every page opens, for nobody without permission, and home is honest."""

from __future__ import annotations

import re

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
    entries_after,
    last_entry_id,
    staff,
    superuser,
)


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
        "segments.CustomerImport",
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


def test_no_page_names_an_asset_of_another_host(trained: TrainedModels) -> None:
    client = superuser()
    version = reverse("admin:modelregistry_modelversion_change", args=[trained.kmeans.pk])

    for url in (reverse("admin:index"), version, reverse("admin:segments_customer_changelist")):
        page = client.get(url).content.decode()
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)


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
