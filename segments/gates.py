"""What a version must pass before it serves: measured on today's customers, against limits.

A gate that is turned off, or that has nothing to measure (nobody is moved by the first version of
a type), is not among those checked. One that cannot be measured yet is, and is not passed nor
breached.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from django.db import connection
from django.db.models import Count, Q
from django.utils import timezone

from ml.drift import Verdict, compare
from ml.scored import score
from ml.unreadable import unreadable_values
from modelregistry.activation import Gate
from modelregistry.artifacts import TrainedModel
from modelregistry.models import ModelVersion
from segments.comparison import Comparison
from segments.models import Assignment, Customer

MAX_SAMPLED = 10_000
"""Customers looked at for drift: a shift of 0.06 sd shows, and it takes about a second."""
# Places in the order of ids, spread by Knuth's multiplicative hashing (The Art of Computer
# Programming, vol. 3, section 6.4): evenly through any stretch and any period of the ids.
SAMPLE = """SELECT attributes_json FROM segments_customer WHERE customer_id IN (
        SELECT customer_id FROM (
            SELECT customer_id, ROW_NUMBER() OVER (ORDER BY customer_id) AS place
            FROM segments_customer
        ) AS numbered
        WHERE (place * 2654435761) %% 4294967296 < %s
    ) ORDER BY customer_id"""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class GateLimits:
    """The most that passes; None turns a gate off, 0 lets nothing pass but none at all.

    Attributes
    ----------
    moved_share : float or None
        Share of customers (0-1) in another segment than under the active version. Measured on four
        tables: another seed, or four customers in five, moves up to 0.09 of them as long as k
        stays; where k halves, 0.60 or more.
    noise_share : float or None
        Share of customers (0-1) without a segment.
    silhouette_drop : float or None
        How far the silhouette may lie below that of the active version. Measured likewise: the
        same retraining lowers it by up to 0.003 for k-means, 0.084 for DBSCAN; one sample knows it
        to within 0.005.
    drift_threshold : float or None
        Chance of a false alarm (0-1) in finding that customers changed since the training.
    """

    moved_share: float | None = 0.3
    noise_share: float | None = 0.5
    silhouette_drop: float | None = 0.1
    drift_threshold: float | None = 0.05


def check_gates(
    version: ModelVersion,
    model: TrainedModel,
    comparison: Comparison | None,
    *,
    limits: GateLimits,
) -> list[Gate]:
    """Check a version that is to serve.

    `comparison` is that of the version with the active one; None when none is active.
    """
    return [*_gates(version, model, comparison, limits)]


def check_has_clusters(version: ModelVersion) -> list[Gate]:
    """The gate that a degenerate version breaches; nothing for any other."""
    if not version.degenerate_reason:
        return []
    sentence = f"{version} is degenerate: {version.degenerate_reason}"
    return [Gate("degenerate", None, None, passed=False, sentence=sentence)]


def _gates(
    version: ModelVersion, model: TrainedModel, comparison: Comparison | None, limits: GateLimits
) -> Iterator[Gate]:
    yield from check_has_clusters(version)
    if limits.noise_share is not None:
        yield from _noise(version, limits.noise_share)
    if comparison is not None and limits.moved_share is not None:
        yield _moved(comparison, limits.moved_share)
    if comparison is not None and limits.silhouette_drop is not None:
        yield from _silhouette(comparison, limits.silhouette_drop)
    if limits.drift_threshold is not None:
        yield _drift(model, limits.drift_threshold)


def _noise(version: ModelVersion, limit: float) -> Iterator[Gate]:
    counted = Assignment.objects.filter(version=version).aggregate(
        n=Count("customer"), n_noise=Count("customer", filter=Q(segment=None))
    )
    if counted["n"]:
        noise = counted["n_noise"] / counted["n"]
        sentence = (
            f"{_percent(noise)} of {counted['n']:,} customers are noise; "
            f"the limit is {_percent(limit)}."
        )
        yield Gate("noise_share", noise, limit, passed=noise <= limit, sentence=sentence)


def _moved(comparison: Comparison, limit: float) -> Gate:
    moved = comparison.moved_share
    if moved is None:
        sentence = (
            "Nobody can be compared, so how many would move to another segment is not known; "
            f"the limit is {_percent(limit)}."
        )
        return Gate("moved_share", None, limit, passed=None, sentence=sentence)
    sentence = (
        f"{_percent(moved)} of {comparison.n_compared:,} customers would move to another "
        f"segment; the limit is {_percent(limit)}."
    )
    return Gate("moved_share", moved, limit, passed=moved <= limit, sentence=sentence)


def _silhouette(comparison: Comparison, limit: float) -> Iterator[Gate]:
    before = comparison.before.metrics.get("silhouette")
    after = comparison.after.metrics.get("silhouette")
    if before is not None and after is not None:
        drop = before - after
        sentence = (
            f"The silhouette is {after:.3f}, {abs(drop):.3f} {'below' if drop > 0 else 'above'} "
            f"that of {comparison.before}; it may lie {limit:g} below."
        )
        yield Gate("silhouette_drop", drop, limit, passed=drop <= limit, sentence=sentence)


def _drift(model: TrainedModel, threshold: float) -> Gate:
    """Whether today's customers are still those of the training; `value` counts what drifted."""
    records = sampled_records(MAX_SAMPLED)
    schema = model.encoder.schema
    raw = model.encoder.raw_from_records(records, strict=False)
    scored = score(
        model.encoder,
        model.clusters,
        raw,
        random_state=0,
        ignores_own_place=model.profile.ignores_own_place,
    )
    result = compare(
        model.profile,
        raw,
        scored,
        threshold=threshold,
        days_since_training=max(0, (timezone.now().date() - schema.as_of).days),
        unreadable=unreadable_values(schema, records, raw),
    )
    return Gate(
        "drift",
        float(len(result.findings)) if result.verdict != Verdict.INSUFFICIENT_DATA else None,
        0.0,
        passed=result.verdict != Verdict.DRIFT,
        sentence=f"Today's customers against those of the training: {result.summary}",
    )


def sampled_records(n: int) -> list[dict[str, Any]]:
    """The attributes of about `n` stored customers, always the same ones; all if there are fewer.

    Two queries; the customers are spread over all ids.
    """
    n_customers = max(Customer.objects.count(), 1)
    with connection.cursor() as cursor:
        cursor.execute(SAMPLE, [min(2**32, 2**32 * n // n_customers)])
        return [_decode(text) for (text,) in cursor.fetchall()]


def _percent(share: float) -> str:
    """A share (0-1) as people read it, with four digits: 15.57%."""
    return f"{100 * share:.4g}%"
