"""Fills an installation for the tests of the contract, with something of everything.

Run as `python -m tests.contract.prepare` in the environment of the installation; prints a key.
Each attribute has gaps, so that any record of valid form can be predicted.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import django

N_CUSTOMERS = 400
N_ALERTS = 40
N_JOBS = 40


def with_gaps(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By id; each customer lacks one attribute in turn."""
    names = sorted(records[0].keys() - {"customer_id"})
    return {
        record["customer_id"]: {
            name: None if number % (2 * len(names)) == place else record[name]
            for place, name in enumerate(names)
        }
        for number, record in enumerate(records)
    }


def main() -> None:
    django.setup()
    # The builders need the models, which need the line above.
    from django.conf import settings
    from django.core.management import call_command
    from django.utils import timezone

    from access.scopes import ALL_SCOPES
    from modelregistry.models import JobState, ModelType, TrainingJob
    from monitoring.drift_check import CheckTerms, check_drift
    from monitoring.models import Alert, AlertKind, AlertState, MonitoringPolicy
    from segments.customers import upsert_customers
    from tests.factories import BY, make_active, make_key, make_records, make_version

    call_command("migrate", verbosity=0, interactive=False)
    MonitoringPolicy.objects.create(is_paused=True)  # a check would take a processor for seconds
    now = timezone.now()
    upsert_customers(with_gaps(make_records(n_customers=N_CUSTOMERS)), at=now)
    versions = [make_version(parameters={"n_clusters": n}) for n in (4, 5, 3)]
    versions += [
        make_version(model_type="dbscan", parameters={"eps": eps, "min_samples": 8})
        for eps in (2.5, 2.4)
    ]
    for version in (versions[0], versions[3], versions[1], versions[4]):
        make_active(version=version)
    for model_type in ModelType.values:
        check_drift(model_type, None, terms=CheckTerms.of(settings), by=BY, at=now)
    Alert.objects.bulk_create(
        Alert(
            kind=AlertKind.MISSING_DATA, key=str(number), state=AlertState.FIRING,
            title="No new customers", raised_at=now, last_seen_at=now, fired_at=now,
            silenced_until=now + timedelta(days=1) if number % 2 else None,
        )
        for number in range(N_ALERTS)
    )  # fmt: skip
    TrainingJob.objects.bulk_create(
        TrainingJob(
            model_type="kmeans", queued_by="tests",
            state=JobState.FAILED if number % 2 else JobState.CANCELLED, finished_at=now,
        )
        for number in range(N_JOBS)
    )  # fmt: skip
    print(make_key(scopes=sorted(ALL_SCOPES))[1])


if __name__ == "__main__":
    main()
