"""Timelines of model versions, keys, customers and whatever else has a page."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from access.keys import revoke
from access.models import ApiKey
from audit import timeline, trail
from audit.entry_words import MAX_LINE, changes_in, details_of, facts_in, line_of
from audit.models import AuditEntry
from segments.customer_digests import customer_digest
from tests.expectations import one_entry
from tests.factories import BY, TrainedModels, make_key
from tests.staff import staff, superuser

VIEW = "audit.view_auditentry"


def actions(response: object) -> list[str]:
    return [line.entry.action for line in response.context["timeline"].lines]  # type: ignore[attr-defined]


def test_a_key_has_what_was_done_to_it_and_what_it_did(db: None) -> None:
    key, secret = make_key(scopes=["audit:read"])
    other, _ = make_key(scopes=["audit:read"])
    Client(headers={"X-API-Key": secret}).get("/audit/logs")
    revoke(key, by=BY)
    page = reverse("admin:access_apikey_history", args=[key.pk])
    client = superuser()

    assert actions(client.get(page)) == ["api_key.revoked", "api_key.created"]
    assert actions(client.get(f"{page}?by=it")) == ["audit.read"]


def test_a_version_and_a_customer_have_theirs(trained: TrainedModels, settings: object) -> None:
    client = superuser()
    customer = trained.records[0]["customer_id"]
    digest = customer_digest(customer, secret=settings.SECRET_KEY)  # type: ignore[attr-defined]
    trail.record("customer.read", by=BY, target=("customer", digest))
    trail.record("customer.read", by=BY, target=("customer", "another"))

    version = client.get(
        reverse("admin:modelregistry_modelversion_history", args=[trained.kmeans.pk])
    )
    person = client.get(reverse("admin:segments_customer_history", args=[customer]))

    assert actions(version) == ["model_version.activated", "model_version.trained"]
    assert actions(person) == ["customer.read"]
    assert "Done by it" not in person.content.decode()
    assert "customers.imported" in person.content.decode()
    assert "customers.imported" not in version.content.decode()


def test_their_pages_lead_there(trained: TrainedModels) -> None:
    key, _ = make_key(scopes=[])
    client = superuser()

    for name, pk in [
        ("access_apikey", key.pk),
        ("modelregistry_modelversion", trained.kmeans.pk),
        ("segments_customer", trained.records[0]["customer_id"]),
    ]:
        page = client.get(reverse(f"admin:{name}_change", args=[pk])).content.decode()
        assert reverse(f"admin:{name}_history", args=[pk]) in page


def test_it_needs_both_permissions(db: None) -> None:
    key, _ = make_key(scopes=[])
    page = reverse("admin:access_apikey_history", args=[key.pk])
    change_page = reverse("admin:access_apikey_change", args=[key.pk])

    assert staff("access.view_apikey", name="a").get(page).status_code == 403
    assert staff(VIEW, name="b").get(page).status_code == 403
    assert staff(VIEW, "access.view_apikey", name="c").get(page).status_code == 200
    assert page not in staff("access.view_apikey", name="d").get(change_page).content.decode()


def test_reading_one_is_recorded(db: None) -> None:
    key, _ = make_key(scopes=[])
    client = superuser()

    with one_entry(action="audit.read", actor_id="root", n_items=1) as written:
        client.get(reverse("admin:access_apikey_history", args=[key.pk]))

    filters = {"target": key.pk, "target_type": "api_key"}
    assert details_of(written[0]) == {"filters": filters}


def test_pages_lead_to_the_older_ones(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "N_LINES", 2)
    key, _ = make_key(scopes=[])
    for number in range(4):
        trail.record(f"tests.act{number}", by=BY, target=("api_key", key.pk))
    client = superuser()
    page = reverse("admin:access_apikey_history", args=[key.pk])

    first = client.get(page)
    second = client.get(page, {"cursor": first.context["timeline"].older})
    back = client.get(page, {"cursor": second.context["timeline"].newer})
    nonsense = client.get(page, {"cursor": "nonsense"})

    assert actions(first) == actions(back) == actions(nonsense) == ["tests.act3", "tests.act2"]
    assert actions(second) == ["tests.act1", "tests.act0"]
    assert "Newer" not in first.content.decode()


@pytest.mark.parametrize(
    ("details", "line"),
    [
        ({"changes": {"rate": [None, "5/m"], "is_on": [True, False]}},
         "rate: – → 5/m; is on: yes → no"),
        ({"n_created": 3, "path": "/x", "ids": [1]}, "n created: 3"),
        ({"changes": "odd", "n": 1}, "changes: odd; n: 1"),
        ({"changes": {"a": [1]}}, ""),
        ({}, ""),
        ({"reason": "x" * 999}, "reason: " + "x" * (MAX_LINE - 9) + "…"),
    ],
)  # fmt: skip
def test_details_become_a_line(details: dict[str, object], line: str) -> None:
    assert line_of(details) == line


def test_lists_and_objects_become_words() -> None:
    details = {"ids": [1, 2], "empty": [], "filters": {"q": "x"}, "deep": [{"a": 1}]}

    facts = [("ids", "1, 2"), ("empty", "–"), ("filters", "q x"), ("deep", '[{"a": 1}]')]
    assert facts_in(details) == facts
    assert changes_in(details) == []


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 20_000])
def test_details_that_are_no_object_are_shown_as_they_are(text: str) -> None:
    assert details_of(AuditEntry(details=text)) == {"unreadable": text}


def test_a_key_that_is_gone_leads_nowhere(db: None) -> None:
    assert not ApiKey.objects.exists()
    response = superuser().get(reverse("admin:access_apikey_history", args=["gone0000"]))

    assert response.status_code == 302
