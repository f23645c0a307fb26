"""Sizes of segments: counted anew while that is cheap, kept when it is not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from segments import sizes
from segments.models import Assignment
from segments.sizes import segment_sizes
from tests.factories import TrainedModels
from tests.staff import superuser


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def test_a_small_table_is_counted_each_time(trained: TrainedModels) -> None:
    at = timezone.now()
    assert segment_sizes(trained.kmeans.pk, at=at).n_customers == 300
    Assignment.objects.filter(version=trained.kmeans)[0].delete()

    later = segment_sizes(trained.kmeans.pk, at=at + timedelta(seconds=1))

    assert (later.n_customers, later.counted_at) == (299, at + timedelta(seconds=1))


def test_a_large_one_is_kept_and_says_since_when(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(sizes, "MANY", 300)
    at = timezone.now()
    first = segment_sizes(trained.kmeans.pk, at=at)

    with django_assert_num_queries(0):
        again = segment_sizes(trained.kmeans.pk, at=at + timedelta(seconds=1))

    assert (again, again.counted_at) == (first, at)
    assert segment_sizes(trained.dbscan.pk, at=at).by_segment != first.by_segment


def test_the_list_of_segments_shows_them_and_sorts_by_them(trained: TrainedModels) -> None:
    rows = superuser().get(reverse("admin:segments_segment_changelist"), {"o": "-4"}).context["cl"]
    counted = segment_sizes(trained.kmeans.pk, at=timezone.now()).by_segment
    found = [segment.n_customers for segment in rows.result_list]

    assert found == sorted(found, reverse=True)
    assert {segment.pk: segment.n_customers for segment in rows.result_list}.items() >= (
        counted.items()
    )
    assert sum(segment.share_now for segment in rows.result_list if segment.pk in counted) == (
        pytest.approx(1.0)
    )
