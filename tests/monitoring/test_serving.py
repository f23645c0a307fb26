"""Serving figures: rolled up from the trail once, whatever happens, and the same as before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.models import AuditEntry
from monitoring import serving
from monitoring.models import ServingHour, ServingMark
from monitoring.serving import ALL_TIME, Calls, calls_ever, calls_since, quantile_ms, roll_up

NOW = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
OLD = NOW - timedelta(hours=5)

pytestmark = pytest.mark.django_db


def call(*, at: datetime = OLD, **fields: Any) -> AuditEntry:
    values = {
        "at": at,
        "actor_kind": "api_key",
        "action": "segments.predicted",
        "target_type": "model_version",
        "target_id": "kmeans 3",
        "outcome": "succeeded",
        "n_items": 2,
        "duration_ms": 10.0,
        **fields,
    }
    return AuditEntry.objects.create(**values)


def refused(**fields: Any) -> AuditEntry:
    values = {"target_type": "model_type", "target_id": "kmeans", "outcome": "refused", **fields}
    return call(**values)


def figures() -> dict[tuple[str, int, datetime], tuple[int, ...]]:
    return {
        key: (calls.n_requests, calls.n_customers, calls.n_refused, calls.n_failed)
        for key, calls in calls_since(NOW - timedelta(days=2)).items()
    }


def test_figures_are_the_same_before_and_after_they_are_rolled_up() -> None:
    for minutes in (0, 10, 70):
        call(at=OLD + timedelta(minutes=minutes))
    refused(outcome="failed")
    refused()
    call(target_id="dbscan 1", at=NOW)
    before, ever = figures(), calls_ever()

    n_rolled_up = roll_up(at=NOW)

    hour = OLD.replace(minute=0)
    assert n_rolled_up == 5
    assert figures() == before
    assert calls_ever() == ever
    assert before == {
        ("kmeans", 3, hour): (2, 4, 0, 0),
        ("kmeans", 3, hour + timedelta(hours=1)): (1, 2, 0, 0),
        ("kmeans", 0, hour): (0, 0, 1, 1),
        ("dbscan", 1, NOW.replace(minute=0)): (1, 2, 0, 0),
    }


def test_rolling_up_again_adds_nothing() -> None:
    call()
    roll_up(at=NOW)
    rows = list(ServingHour.objects.values())

    assert roll_up(at=NOW + timedelta(hours=1)) == 0
    assert list(ServingHour.objects.values()) == rows


def test_later_calls_are_added_to_the_same_hour() -> None:
    call(duration_ms=10.0)
    roll_up(at=NOW)
    call(duration_ms=20.0)
    roll_up(at=NOW)

    row = ServingHour.objects.exclude(hour=ALL_TIME).get()

    assert (row.n_requests, row.n_customers, row.latency_ms_sum) == (2, 4, 30.0)
    assert sum(row.latencies.values()) == 2


def test_young_entries_wait_and_so_do_those_after_them() -> None:
    call()
    call(at=NOW - timedelta(seconds=90))
    call()  # its id is higher, so its turn comes later

    assert roll_up(at=NOW) == 1
    assert roll_up(at=NOW + timedelta(minutes=1)) == 2


def test_chunks_are_rolled_up_one_after_another() -> None:
    for _ in range(5):
        call()

    counts = [roll_up(at=NOW, max_entries=2) for _ in range(4)]

    assert counts == [2, 2, 1, 0]
    assert calls_ever()["kmeans", 3, ALL_TIME].n_requests == 5


def test_whoever_comes_second_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    call()
    summed = serving.summed

    def overtaken(entries: Any) -> Any:
        monkeypatch.setattr(serving, "summed", summed)
        assert roll_up(at=NOW) == 1
        return summed(entries)

    monkeypatch.setattr(serving, "summed", overtaken)

    assert roll_up(at=NOW) == 0
    assert calls_ever()["kmeans", 3, ALL_TIME].n_requests == 1


def test_a_crash_between_the_mark_and_the_sums_leaves_neither(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call()

    def crash(sums: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(serving, "_store", crash)
        roll_up(at=NOW)

    assert ServingMark.objects.get().audit_id == 0
    assert roll_up(at=NOW) == 1


def test_other_entries_are_passed_over() -> None:
    AuditEntry.objects.create(at=OLD, actor_kind="system", action="other", outcome="succeeded")
    last = call(target_type="", target_id="")

    roll_up(at=NOW)

    assert ServingMark.objects.get().audit_id == last.id
    assert not ServingHour.objects.exists()
    assert calls_ever() == {}


def test_the_queries_do_not_grow_with_the_calls() -> None:
    counts = []
    for n in (1, 20):
        for i in range(n):
            call(target_id=f"kmeans {i + 1}", at=OLD - timedelta(hours=i))
        with CaptureQueriesContext(
            connection,
        ) as rolling:
            roll_up(at=NOW)
        with CaptureQueriesContext(connection) as reading:
            calls_since(NOW - timedelta(days=1))
        counts.append((len(rolling) - (1 if n == 1 else 0), len(reading)))

    assert counts[0][1] == counts[1][1] == 2
    assert counts[1][0] <= 12


def test_percentiles_are_within_their_stated_error() -> None:
    durations = np.random.default_rng(0).lognormal(3.0, 1.0, size=5_000)
    calls = Calls()
    calls.count("succeeded", [1] * len(durations), durations.tolist())

    found = calls.percentiles_ms()

    for name, share in serving.PERCENTILES.items():
        assert found[name] == pytest.approx(np.quantile(durations, share), rel=0.045)


def test_buckets_survive_being_written_down() -> None:
    calls, row = Calls(), ServingHour()
    durations = [0.0, 0.001, 0.5, 1.0, 1.0000001, 7.77, 60_000.0, None]
    calls.count("succeeded", [None] * len(durations), durations)
    calls.put_into(row)
    read = Calls()

    read.add(row)

    assert read == calls


def test_no_answers_have_no_percentiles() -> None:
    assert quantile_ms({}, 0.5) is None
