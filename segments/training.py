"""From the stored customers to a candidate: a version, its segments, everybody assigned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from django.db import transaction
from django.utils import timezone

from audit import trail
from ml.identity import SegmentMatch
from modelregistry import training
from modelregistry.activation import pointer_of
from modelregistry.models import ModelVersion, TrainingJob
from modelregistry.succession import Predecessor
from modelregistry.training import FittedVersion, Progress, TrainingRequest
from segments.assignment import assign_stored_customers
from segments.erasure import last_erasure, lock_models
from segments.frames import UNASSIGNED, ReferenceTable, reference_table
from segments.models import Customer, Fate, Segment, VersionSegment

MAX_NAME = 90
"""Characters of a suggested name, so that a number still fits behind it."""


class ErasedMeanwhile(ValueError):
    """The version may know somebody who was erased since the customers were read."""

    def __init__(self) -> None:
        super().__init__("Customers were erased while it was trained on them; train again.")


def train(
    job: TrainingJob,
    request: TrainingRequest,
    *,
    directory: Path,
    by: trail.Actor,
    report: Progress,
    secret: str,
) -> ModelVersion:
    """Train a version on all stored customers and assign them.

    Its clusters continue the segments of the version that serves now, where most of their
    customers are the same. Raises ValueError for unusable data, `ErasedMeanwhile` among them.
    """
    report(0.0, "reading the customers")
    erasure = last_erasure()
    active = pointer_of(request.model_type).active
    reference = reference_table(active.pk if active else None, secret=secret)
    fitted = training.train_version(
        reference.frame,
        request,
        owners=reference.digests,
        predecessor=_predecessor(active, reference) if active else None,
        job=job,
        directory=directory,
        by=by,
        at=timezone.now(),
        on_progress=report,
    )
    version = fitted.version
    create_segments(fitted)
    n_customers = max(Customer.objects.count(), 1)
    n_left_out = assign_stored_customers(
        version,
        fitted.model,
        on_progress=lambda n: report(
            min(0.75 + 0.25 * n / n_customers, 0.99), "assigning the customers"
        ),
    )
    with transaction.atomic():
        lock_models()
        if last_erasure() != erasure:
            raise ErasedMeanwhile
        training.finish(version, job=job, n_assigned=n_customers - n_left_out, by=by)
    return version


def _predecessor(active: ModelVersion, reference: ReferenceTable) -> Predecessor:
    rows = np.flatnonzero(reference.segments != UNASSIGNED)
    medians = dict(active.segments.values_list("segment_id", "medians"))
    return Predecessor(active.number, rows, reference.segments[rows], medians)


@transaction.atomic
def create_segments(fitted: FittedVersion) -> None:
    """The segment each cluster continues, with its id and name, or a new one."""
    version = fitted.version
    matches = fitted.identity.matches if fitted.identity else ()
    of_cluster = {match.cluster: match for match in matches}
    of_type = Segment.objects.filter(model_type=version.model_type)
    known = of_type.in_bulk([match.segment for match in matches if match.segment is not None])
    names = set(of_type.values_list("name", flat=True))
    for each in fitted.clusters:
        cluster, match = each.description, of_cluster.get(each.description.cluster)
        segment = known.get(match.segment) if match and match.segment is not None else None
        if segment is None:
            segment = Segment.objects.create(
                model_type=version.model_type,
                name=_unused_name(cluster.suggested_name, names),
                created_at=version.trained_at,
            )
        described = cluster.to_dict()
        VersionSegment.objects.create(
            version=version,
            cluster=cluster.cluster,
            segment=segment,
            n_customers=cluster.n_customers,
            share=cluster.share,
            medians=described["medians"],
            features=described["features"],
            distinguishing=described["distinguishing"],
            rule=each.rule.to_dict(),
            stability=each.stability,
            low_confidence_share=cluster.low_confidence_share,
            **_fate(match),
        )


def _fate(match: SegmentMatch | None) -> dict[str, object]:
    if match is None:
        return {"fate": Fate.NEW}
    return {
        "fate": match.fate,
        "match_score": match.score,
        "related_segments": list(match.related),
    }


def _unused_name(suggested: str, names: set[str]) -> str:
    name, n = suggested[:MAX_NAME], 1
    while name in names:
        n += 1
        name = f"{suggested[:MAX_NAME]} ({n})"
    names.add(name)
    return name
