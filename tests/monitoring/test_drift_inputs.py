"""A report made again to the last bit, and customers who are forgotten."""

from __future__ import annotations

import json
import zlib
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils import timezone

from audit import trail
from monitoring.current_customers import of_records
from monitoring.drift_check import CheckTerms, check_drift, digest_key
from monitoring.drift_inputs import NoInput, forget, recompute, verify
from monitoring.models import DriftInput, DriftReport, MonitoringPolicy
from segments.customers import upsert_customers
from segments.models import Customer, Segment
from tests.factories import BY, TrainedModels, make_records
from tests.staff import staff

NOW = timezone.now()
KEY = digest_key(settings.SECRET_KEY)


def check(model_type: str = "kmeans", records: list[dict[str, Any]] | None = None) -> DriftReport:
    stored = check_drift(
        model_type,
        None if records is None else of_records(records),
        terms=CheckTerms.of(settings),
        by=BY,
        at=timezone.now(),
    )
    return DriftReport.objects.get(pk=stored.pk)


def again(report: DriftReport) -> dict[str, Any]:
    return recompute(report, directory=settings.MODEL_DIR)


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_a_report_is_made_again_to_the_last_bit(trained: TrainedModels, model_type: str) -> None:
    report = check(model_type)
    rows = {record["customer_id"]: {"orders": 1} for record in trained.records}
    upsert_customers(rows, at=timezone.now())
    Segment.objects.update(name="renamed since")
    MonitoringPolicy.objects.update(floor_levels=0.9)

    assert json.dumps(again(report), sort_keys=True) == json.dumps(report.report, sort_keys=True)
    assert verify(report, directory=settings.MODEL_DIR).is_same


def test_a_report_of_odd_customers_is_made_again_too(trained: TrainedModels) -> None:
    check(records=make_records(n_customers=200, random_state=9))
    nothing = dict.fromkeys(feature["name"] for feature in trained.kmeans.schema["features"])
    odd = [
        nothing
        | {
            "orders": str(n),
            "channel": "never seen",
            "signed_up_on": None if n % 2 else "2026-01-01",
        }
        for n in range(80)
    ]

    report = check(records=odd)

    assert report.arguments["unreadable"] == {"orders": 80}
    assert again(report) == report.report


def test_the_names_of_columns_may_be_anything(trained: TrainedModels) -> None:
    report = check(records=[])

    assert again(report) == report.report
    assert report.verdict == "insufficient_data"


def test_what_is_kept_holds_no_id_and_no_name(trained: TrainedModels) -> None:
    check()

    content = zlib.decompress(DriftInput.objects.get().content)
    assert not any(each["customer_id"].encode() in content for each in trained.records)


def test_an_erased_customer_is_nowhere_kept_and_the_report_says_so(
    trained: TrainedModels,
) -> None:
    first, second = check(), check("dbscan")
    ids = [each["customer_id"] for each in trained.records[:3]]

    assert forget(ids, key=KEY) == 6

    kept = DriftInput.objects.get(report=first)
    assert (kept.n_rows, kept.n_erased) == (297, 3)
    found = verify(first, directory=settings.MODEL_DIR)
    assert (found.is_same, found.n_erased) == (False, 3)
    assert "3 of its customers were erased" in found.sentence
    assert again(second)["n_current"] == 297
    assert forget(ids, key=KEY) == 0


def test_who_was_never_compared_changes_nothing(trained: TrainedModels) -> None:
    report = check()

    assert forget(["nobody"], key=KEY) == 0
    assert again(report) == report.report


def test_everybody_can_be_forgotten(trained: TrainedModels) -> None:
    odd = [{**each, "orders": "many"} for each in trained.records]
    report = check(records=odd)

    forget([each["customer_id"] for each in trained.records], key=KEY)

    assert again(report)["verdict"] == "insufficient_data"


def test_what_was_kept_under_another_key_cannot_be_searched_and_goes_whole(
    trained: TrainedModels,
) -> None:
    report = check()

    assert forget(["nobody"], key=b"another") == 300
    with pytest.raises(NoInput, match="no longer kept"):
        again(report)


def test_a_check_that_overlaps_an_erasure_keeps_nobody(trained: TrainedModels) -> None:
    trail.record("customer.deleted", by=BY, target=("customer", "x"))

    assert not DriftInput.objects.filter(report=check()).exists()


def test_nothing_is_kept_where_the_policy_says_so(trained: TrainedModels) -> None:
    MonitoringPolicy.current()
    MonitoringPolicy.objects.update(keep_inputs_days=0)

    assert not DriftInput.objects.filter(report=check()).exists()


def test_an_input_of_before_an_erasure_long_ago_is_kept(trained: TrainedModels) -> None:
    trail.record("customer.deleted", by=BY, target=("customer", "x"))

    later = check_drift(
        "kmeans",
        of_records(trained.records),
        terms=CheckTerms.of(settings),
        by=BY,
        at=timezone.now() + timedelta(hours=1),
    )

    assert DriftInput.objects.filter(report=later).exists()


@pytest.mark.parametrize("by_action", [True, False])
def test_deleting_customers_in_the_admin_forgets_them_here(
    trained: TrainedModels, by_action: bool
) -> None:
    report = check()
    client = staff("segments.view_customer", "segments.delete_customer")
    ids = [each["customer_id"] for each in trained.records[: 2 if by_action else 1]]

    if by_action:
        chosen = {"action": "delete_selected", "_selected_action": ids, "post": "yes"}
        client.post(reverse("admin:segments_customer_changelist"), chosen)
    else:
        url = reverse("admin:segments_customer_delete", args=[quote(ids[0])])
        client.post(url, {"post": "yes"})

    assert not Customer.objects.filter(pk__in=ids).exists()
    assert DriftInput.objects.get(report=report).n_erased == len(ids)
