"""One stored customer with the assignments under the versions that matter."""

from __future__ import annotations

import math
from typing import Any

from modelregistry.models import ModelVersion, State
from segments.models import Assignment, Customer

SHOWN = (State.ACTIVE, State.PREVIOUS, State.CANDIDATE)


def customer_record(customer_id: str) -> dict[str, Any] | None:
    """The customer as plain values; three queries. None when nobody has the id.

    Assignments stand in order of model type, the newest version first.
    """
    customer = Customer.objects.filter(pk=customer_id).first()
    if customer is None:
        return None
    versions = ModelVersion.objects.trained().with_state().order_by("model_type", "-number")
    rows = {
        row.version_id: row
        for row in Assignment.objects.filter(customer=customer).select_related("segment")
    }
    return {
        "customer_id": customer.customer_id,
        "attributes": customer.attributes,
        "created_at": customer.created_at,
        "updated_at": customer.updated_at,
        "assignments": [
            _assignment(rows[version.pk], version, customer)
            for version in versions
            if version.pk in rows and version.state in SHOWN
        ],
    }


def _assignment(row: Assignment, version: ModelVersion, customer: Customer) -> dict[str, Any]:
    shown = {
        "model_type": version.model_type,
        "version": version.number,
        "state": version.state,
        "segment": row.segment_id,
        "segment_name": row.segment.name if row.segment else None,
        "distance": row.distance if math.isfinite(row.distance) else None,
        "status": row.status,
        "assigned_at": row.assigned_at,
        "is_stale": row.customer_revision != customer.revision,
    }
    if not row.status:
        del shown["status"]
    return shown
