"""What staff may not do in the admin: the answer is no, and the trail says who asked."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from audit.entry_words import details_of
from segments.models import Customer
from tests.audit.no_entries import no_entries
from tests.expectations import one_entry
from tests.factories import make_customers
from tests.staff import PASSWORD, entries_after, last_entry_id, staff

pytestmark = pytest.mark.django_db
TRAIN = "/admin/modelregistry/modelversion/train/"


def test_the_entry_says_what_was_asked_for() -> None:
    client = staff()

    with one_entry(
        action="admin.refused",
        actor_kind="user",
        actor_id="ann",
        outcome="refused",
        status_code=403,
        target_id="",
    ) as entries:
        response = client.post(f"{TRAIN}?why=because", {"model_type": "kmeans"})

    assert response.status_code == 403
    assert details_of(entries[0]) == {"method": "POST", "path": TRAIN}
    assert entries[0].request_id == response.headers["X-Request-ID"]


@pytest.mark.parametrize("page", ["change", "delete", "history"])
def test_the_path_names_no_customer(page: str) -> None:
    make_customers(n_customers=1)
    customer = Customer.objects.get().pk
    client = staff()

    with one_entry(action="admin.refused") as entries:
        client.get(reverse(f"admin:segments_customer_{page}", args=[customer]))

    shown = f"/admin/segments/customer/{{customer_id}}/{page}/"
    assert details_of(entries[0])["path"] == shown


def test_without_an_entry_the_answer_is_still_no() -> None:
    client = staff()
    before = last_entry_id()

    with no_entries():
        response = client.get(TRAIN)

    assert response.status_code == 403
    assert entries_after(before) == []


def test_who_is_not_signed_in_is_asked_to_and_leaves_none() -> None:
    before = last_entry_id()

    assert Client().get(TRAIN).status_code == 302
    assert entries_after(before) == []


def test_a_password_that_is_not_changed_leaves_its_entry() -> None:
    client = staff()
    form = {"old_password": "a guess", "new_password1": "x", "new_password2": "y"}

    with one_entry(
        action="user.password_changed", actor_id="ann", target_id="ann", outcome="refused"
    ) as entries:
        response = client.post(reverse("admin:password_change"), form)

    assert response.status_code == 200
    assert "guess" not in entries[0].details
    assert User.objects.get(username="ann").check_password(PASSWORD)
