"""Where one customer was before: moves by attributes and by activations."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from segments.changes import Cause
from segments.customer_history import Move, history_of
from segments.customer_page import assignments_of
from segments.models import Assignment, AssignmentChange, Customer
from tests.factories import TrainedModels, make_version


def moves_of(customer: Customer) -> list[Move]:
    return history_of(customer, assignments_of(customer)).moves


def first_of(trained: TrainedModels) -> tuple[Customer, Assignment]:
    customer = Customer.objects.get(pk=trained.records[0]["customer_id"])
    return customer, Assignment.objects.get(version=trained.kmeans, customer=customer)


def test_who_never_moved_has_no_history(trained: TrainedModels) -> None:
    customer, _ = first_of(trained)

    assert moves_of(customer) == []


def test_each_change_of_attributes_is_a_move_to_where_the_next_one_left(
    trained: TrainedModels,
) -> None:
    customer, now_in = first_of(trained)
    others = trained.kmeans.segments.exclude(segment=now_in.segment_id).order_by("cluster")
    first, second = (row.segment for row in others[:2])
    for n, left in enumerate((first, second)):
        AssignmentChange.objects.create(
            version=trained.kmeans,
            customer=customer,
            segment=left,
            was_assigned=True,
            changed_at=timezone.now() + timedelta(seconds=n + 1),
        )

    moves = moves_of(customer)

    assert now_in.segment is not None
    assert [(move.before.name, move.after.name) for move in moves] == [
        (second.name, now_in.segment.name),
        (first.name, second.name),
    ]
    assert {move.cause for move in moves} == {Cause.ATTRIBUTES_CHANGED}


def test_a_change_under_a_version_that_did_not_serve_is_no_move(trained: TrainedModels) -> None:
    customer, now_in = first_of(trained)
    other = trained.kmeans.segments.exclude(segment=now_in.segment_id)[0].segment
    make_version(parameters={"n_clusters": 3}, active=True)

    AssignmentChange.objects.create(
        version=trained.kmeans,
        customer=customer,
        segment=other,
        was_assigned=True,
        changed_at=timezone.now() + timedelta(seconds=1),
    )

    assert all(move.cause == Cause.ACTIVATION for move in moves_of(customer))


def test_an_activation_moves_from_what_one_version_says_to_the_next(
    trained: TrainedModels,
) -> None:
    version = make_version(parameters={"n_clusters": 3}, active=True)
    pairs = {
        row.customer_id: row.segment
        for row in Assignment.objects.filter(version=version).select_related("segment")
    }
    before = Assignment.objects.filter(version=trained.kmeans).select_related("segment")
    was = next(row for row in before if row.segment != pairs[row.customer_id])

    [move] = moves_of(was.customer)

    assert (move.cause, move.version) == (Cause.ACTIVATION, version)
    assert (move.before.name, move.after.name) == (
        str(was.segment),
        str(pairs[was.customer_id]),
    )
