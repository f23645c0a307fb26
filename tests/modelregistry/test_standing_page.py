"""What took long to compare is kept for a while, says so, and is measured anew when asked."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from modelregistry import standing_page
from modelregistry.standing_page import standing
from segments.models import Assignment
from tests.factories import TrainedModels, make_version
from tests.staff import staff


def test_a_quick_comparison_is_not_kept(trained: TrainedModels, monkeypatch: Any) -> None:
    monkeypatch.setattr(standing_page, "SLOW_SECONDS", 1e9)
    again = make_version()
    standing(again, trained.kmeans, with_gates=False)

    assert not standing(again, trained.kmeans, with_gates=False).is_kept


def test_a_slow_one_is_kept_until_it_is_asked_for_anew(
    trained: TrainedModels, monkeypatch: Any
) -> None:
    monkeypatch.setattr(standing_page, "SLOW_SECONDS", 0.0)
    again = make_version()
    first = standing(again, trained.kmeans, with_gates=True)
    Assignment.objects.filter(version=again).update(customer_revision=77)

    kept = standing(again, trained.kmeans, with_gates=True)
    anew = standing(again, trained.kmeans, with_gates=True, is_fresh=True)

    assert first.comparison and kept.comparison and anew.comparison
    assert kept.is_kept and kept.measured_at == first.measured_at
    assert kept.comparison.n_compared == 300 and anew.comparison.n_compared == 0


def test_the_page_says_of_when_it_is(trained: TrainedModels, monkeypatch: Any) -> None:
    monkeypatch.setattr(standing_page, "SLOW_SECONDS", 0.0)
    again = make_version()
    url = reverse("admin:modelregistry_modelversion_compare", args=[again.pk])

    page = staff("modelregistry.view_modelversion").get(url).content.decode()

    assert "so it is kept for five minutes" in page and "?with=1&amp;fresh=1" in page
