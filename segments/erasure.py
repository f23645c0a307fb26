"""Erasing customers everywhere: one transaction for all rows, new artifacts before it, old ones
removed after it, and the receipt last of all.

A process killed before the transaction leaves everything as it was, but for files that no row names
and that are swept; killed after it, `finish_erasures` removes what is left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from audit import trail
from audit.digests import ids_sha256
from ml.clusterers import DBSCANModel
from modelregistry import artifacts
from modelregistry.models import ActiveModel, ModelVersion, Stage
from segments.assignment import SegmentLabels, write_assignments
from segments.customer_digests import customer_digest
from segments.erasure_plan import (
    Plan,
    VersionPlan,
    failed_versions_without,
    plan_erasure,
    segments_without,
)
from segments.erasure_words import NO_WORDS, Words, emptied_segments, empty, words_about
from segments.models import Assignment, AssignmentChange, Customer, Erasure

ERASED = "customer.erased"
MAX_ATTEMPTS = 3
RESUMED_AFTER_SECONDS = 60
"""Age from which an erasure that is not finished counts as left behind by a killed process."""
MAX_DIGESTS = 200
"""Customers that one entry names; all of them are counted."""
NOT_ERASED_AT_ONCE = (
    "Backups, and replicas and archived logs of the database, until they expire.",
    "Free space inside the files of the database, until it is used again or vacuumed.",
    "Models that other running processes hold in memory, until these load newer ones or restart.",
    "Files of trainings that were killed, and uploaded files that wait to be imported, for a day "
    "at the most.",
    "Answers, exports, mails and webhook messages that were handed out, and files that were "
    "imported, which others keep.",
    "In models, ends of ranges, cuts between cells and names of rare levels from before the "
    "attributes last changed; in models trained by an earlier release or under another SECRET_KEY, "
    "core samples and centres from before that, too. These are not known any more.",
)
SINGULAR = {"reports_and_alerts": "report or alert"}
"""Where one of what a receipt counts is called otherwise than without an s."""
KEPT = (
    "Audit entries, which know customers by keyed digests and hold no attribute value.",
    "Figures of many customers together: counts, shares, means, medians, centres, rules, levels "
    "that others have, and the reports and alerts made of such figures.",
    "Names and descriptions that staff gave to segments.",
)

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class UnknownCustomer(Exception):
    """Nobody is stored under the id, or under any of them."""

    def __init__(self) -> None:
        super().__init__("There is no such customer.")


class ErasureConflict(Exception):
    """Models or customers changed again and again while they were looked through."""

    def __init__(self) -> None:
        super().__init__("The models or the customers changed meanwhile; try again.")


class _Overtaken(Exception):
    """What the plan was made of is not what is stored now."""


def erase(
    ids: Collection[str],
    *,
    by: trail.Actor,
    directory: Path,
    secret: str,
    elsewhere: Mapping[str, str],
) -> Erasure:
    """Erase the stored customers among `ids` everywhere; the finished erasure with its receipt.

    `elsewhere` are the paths of functions that forget ids in other places, by what they keep there.
    Raises `UnknownCustomer` when there are none, `ErasureConflict`, or `DamagedArtifact`; then
    nothing is erased.
    """
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:  # what is deleted is overwritten
            cursor.execute("PRAGMA secure_delete = ON")
    for _ in range(MAX_ATTEMPTS):
        customers = list(Customer.objects.filter(pk__in=ids).order_by("pk"))
        if not customers:
            return _left_behind(ids, by=by, directory=directory, secret=secret)
        plan = plan_erasure(customers, directory=directory, secret=secret)
        try:
            erasure = _carry_out(plan, customers, by=by, secret=secret, elsewhere=elsewhere)
        except _Overtaken:
            plan.discard()
            continue
        except BaseException:
            plan.discard()
            raise
        # At once, unless the caller has a transaction, which could yet fail.
        transaction.on_commit(partial(finish, erasure, directory=directory))
        return erasure
    raise ErasureConflict


def finish(erasure: Erasure, *, directory: Path) -> None:
    """Remove the files that the erasure replaced; whoever does it again finds nothing to do."""
    for name, sha256 in erasure.artifacts:
        artifacts.cache.drop(sha256)
        (directory / name).unlink(missing_ok=True)
    erasure.artifacts, erasure.finished_at = [], timezone.now()
    erasure.save(update_fields=["artifacts", "finished_at"])
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        with connection.cursor() as cursor, suppress(OperationalError):  # the next one does it
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def finish_erasures(*, directory: Path) -> None:
    """Finish what killed processes left; a query when there is nothing."""
    for erasure in Erasure.objects.filter(finished_at=None).order_by("pk"):
        finish(erasure, directory=directory)


def receipt_of(erasure: Erasure) -> dict[str, Any]:
    """What the person who asked is told."""
    return {
        "receipt": erasure.pk,
        "erased_at": erasure.erased_at,
        "finished_at": erasure.finished_at,
        **erasure.receipt,
        "kept": list(KEPT),
        "not_erased_at_once": list(NOT_ERASED_AT_ONCE),
    }


def receipt_words(erasure: Erasure, *, whose: str = "") -> str:
    """The receipt in a sentence or two; `whose` says who was erased, to the person who did it."""
    counts = ", ".join(_counted(count, place) for place, count in erasure.receipt["erased"].items())
    rewritten = ", ".join(
        f"{each['model_type']} {each['version']}" for each in erasure.receipt["versions"]
    )
    models = f"Models rewritten without them: {rewritten}." if rewritten else "No model held any."
    of_whom = f" of {whose}" if whose else ""
    return f"Erasure {erasure.pk}{of_whom}: {counts}. {models}"


def _counted(count: int, place: str) -> str:
    """As `1 stored answer`: places are named in the plural."""
    words = place.replace("_", " ")
    if count == 1:
        return f"1 {SINGULAR.get(place, words.removesuffix('s'))}"
    return f"{count:,} {words}"


def forget_elsewhere(
    ids: Sequence[str], elsewhere: Mapping[str, str], words: Words = NO_WORDS
) -> dict[str, int]:
    """Have every other place forget customers, and words about them alone, within the caller's
    transaction; counts by place."""
    return {place: import_string(path)(ids, words) for place, path in elsewhere.items()}


def last_erasure() -> int:
    """The number of the latest erasure: whoever read customers before a later one starts again."""
    return Erasure.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def erased_since(moment: datetime) -> bool:
    return Erasure.objects.filter(erased_at__gte=moment).exists()


def lock_models() -> None:
    """In a transaction: no erasure begins or ends between here and its end."""
    list(ActiveModel.objects.select_for_update().order_by("pk"))


@transaction.atomic
def _carry_out(
    plan: Plan,
    customers: Sequence[Customer],
    *,
    by: trail.Actor,
    secret: str,
    elsewhere: Mapping[str, str],
) -> Erasure:
    at = timezone.now()
    lock_models()
    ids = [customer.pk for customer in customers]
    _require_unchanged(plan, customers)
    emptied = emptied_segments(ids)
    words = words_about(plan.versions, emptied)
    counts = {
        "customers": len(ids),
        "assignments": Assignment.objects.filter(customer__in=ids).count(),
        "assignment_changes": AssignmentChange.objects.filter(customer__in=ids).count(),
        "segment_names": len(words.names),
        **forget_elsewhere(ids, elsewhere, words),
    }
    Customer.objects.filter(pk__in=ids).delete()
    for each in plan.versions:
        _apply(each, at=at)
    empty(emptied, words)
    records = [_decode(customer.attributes_json) for customer in customers]
    failed = ModelVersion.objects.filter(stage=Stage.FAILED)
    replaced = [(name, "") for name in failed.values_list("artifact", flat=True)]
    for version, schema in failed_versions_without(records):
        ModelVersion.objects.filter(pk=version.pk).update(schema=schema)
    for each in plan.versions:
        if each.replacement is not None:
            replaced.append((each.replacement.before.name, each.replacement.before.sha256))
    digests = [customer_digest(key, secret=secret) for key in ids]
    changes = [_changes(each) for each in plan.versions if each.replacement is not None]
    erasure = Erasure.objects.create(
        customer_digests=digests,
        receipt={"erased": counts, "versions": changes},
        artifacts=replaced,
        erased_at=at,
    )
    details = {"receipt": erasure.pk, "erased": counts, "versions": changes}
    _record(erasure, by=by, details=details)
    return erasure


def _record(erasure: Erasure, *, by: trail.Actor, details: Mapping[str, Any]) -> None:
    digests = erasure.customer_digests
    is_one = len(digests) == 1
    many = {"customers": digests[:MAX_DIGESTS], "sha256": ids_sha256(digests)}
    trail.record(
        ERASED,
        by=by,
        target=("customer", digests[0] if is_one else ""),
        status_code=200,
        n_items=len(digests),
        details={**details, **({} if is_one else many)},
    )


def _require_unchanged(plan: Plan, customers: Sequence[Customer]) -> None:
    """Raise `_Overtaken` unless models and customers are as the plan saw them, now locked."""
    trained = ModelVersion.objects.trained()
    if dict(trained.values_list("pk", "artifact_sha256")) != dict(plan.hashes):
        raise _Overtaken
    revisions = {customer.pk: customer.revision for customer in customers}
    found = Customer.objects.select_for_update().filter(pk__in=list(revisions)).order_by("pk")
    if {customer.pk: customer.revision for customer in found} != revisions:
        raise _Overtaken
    for each in plan.versions:
        if each.forgotten is not None and not _keeps_newcomers(each, plan, revisions):
            raise _Overtaken


def _keeps_newcomers(each: VersionPlan, plan: Plan, gone: Collection[str]) -> bool:
    """Whether customers stored since the plan was made are predicted as before."""
    assert each.forgotten is not None
    rows = Customer.objects.filter(updated_at__gte=plan.read_from).exclude(
        pk__in=[*gone, *each.ids]
    )
    records = list(map(_decode, rows.values_list("attributes_json", flat=True)))
    encoder = each.model.encoder
    raw = encoder.raw_from_records(records, strict=False)
    X = encoder.encode(raw)[~encoder.missing_required(raw)]
    before, after = each.model.clusters.predict(X), each.forgotten.model.predict(X)
    return np.array_equal(before.labels, after.labels) and np.array_equal(
        before.distances, after.distances
    )


def _apply(each: VersionPlan, *, at: datetime) -> None:
    """Let the version's new artifact serve, with all that the database says of its customers."""
    if each.replacement is not None and not each.replacement.take_effect():
        raise _Overtaken
    for segment, fields in segments_without(each.version, each.traces):
        type(segment).objects.filter(pk=segment.pk).update(**fields)
    if each.forgotten is None or not len(each.ids):
        return
    assigned = set(
        Assignment.objects.filter(version=each.version, customer__in=each.ids).values_list(
            "customer_id", flat=True
        )
    )
    rows = np.array([row for row, key in enumerate(each.ids) if key in assigned], dtype=np.intp)
    write_assignments(
        each.version.pk,
        [each.ids[row] for row in rows],
        [each.revisions[row] for row in rows],
        each.forgotten.prediction.of_rows(rows),
        SegmentLabels.of(each.version),
        at=at,
    )


def _changes(each: VersionPlan) -> dict[str, Any]:
    """What the receipt says of one version."""
    assert each.replacement is not None
    forgotten = each.forgotten
    is_density = isinstance(each.model.clusters, DBSCANModel)
    n_removed = forgotten.n_removed if forgotten else 0
    return {
        "model_type": each.version.model_type,
        "version": each.version.number,
        "sha256_before": each.replacement.before.sha256,
        "sha256_after": each.replacement.after.sha256,
        "core_samples_removed": n_removed if is_density else 0,
        "centres_moved": 0 if is_density else n_removed,
        "stand_ins": forgotten.n_stand_ins if forgotten and is_density else 0,
        "predictions_rechecked": forgotten.n_checked if forgotten else 0,
        "segments_changed": forgotten.n_moved if forgotten else 0,
        "distances_changed": len(forgotten.rows) if forgotten else 0,
    }


def _left_behind(ids: Collection[str], *, by: trail.Actor, directory: Path, secret: str) -> Erasure:
    """The erasure of these very customers that a killed process did not finish, finished now.

    It has its entry; that somebody asked again gets another.
    """
    digests = {customer_digest(key, secret=secret) for key in ids}
    begun_before = timezone.now() - timedelta(seconds=RESUMED_AFTER_SECONDS)
    for erasure in Erasure.objects.filter(finished_at=None, erased_at__lt=begun_before):
        if digests.issubset(erasure.customer_digests):
            _record(erasure, by=by, details={"receipt": erasure.pk, "finished": True})
            finish(erasure, directory=directory)
            return erasure
    raise UnknownCustomer
