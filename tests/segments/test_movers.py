"""Customers who would move: the same as a full comparison finds, and bounded in queries."""

from __future__ import annotations

from dataclasses import replace

from django.db import connection
from django.test.utils import CaptureQueriesContext

from modelregistry.comparison_page import movers_words
from segments.comparison import compare
from segments.flow_page import EDGE, TALL, flow
from segments.models import Assignment
from segments.movers import MAX_NAMED, sample_movers
from tests.factories import TrainedModels, make_version


def test_a_table_that_is_looked_at_whole_agrees_with_the_comparison(trained: TrainedModels) -> None:
    finer = make_version(parameters={"n_clusters": 6})
    comparison = compare(finer, trained.kmeans)

    with CaptureQueriesContext(connection) as queries:
        movers = sample_movers(finer, trained.kmeans)

    assert (movers.n_compared, movers.n_moving) == (comparison.n_compared, comparison.n_moved)
    assert movers.are_all
    whole, drawn = movers_words(movers), movers_words(replace(movers, are_all=False))
    assert whole.startswith(f"{movers.n_moving} of 300 customers would move")
    assert drawn.startswith(f"{movers.n_moving} of 300 customers drawn at random would move")
    assert len(movers.named) == min(MAX_NAMED, movers.n_moving) > 0
    assert len(queries) == 3
    for mover in movers.named:
        found = Assignment.objects.filter(customer=mover.customer_id)
        assert mover.before == found.get(version=trained.kmeans).segment.name  # type: ignore[union-attr]
        assert mover.after == found.get(version=finer).segment.name  # type: ignore[union-attr]


def test_who_changed_in_between_is_not_compared(trained: TrainedModels) -> None:
    finer = make_version(parameters={"n_clusters": 6})
    Assignment.objects.filter(version=finer).update(customer_revision=77)

    assert sample_movers(finer, trained.kmeans).n_compared == 0


def test_the_flow_is_as_thick_as_its_customers_are_many(trained: TrainedModels) -> None:
    comparison = compare(make_version(parameters={"n_clusters": 6}), trained.kmeans)

    shown = flow(comparison)

    assert shown is not None
    lefts = shown.nodes[: len(comparison.rows)]
    assert abs(sum(node.height for node in lefts) - TALL) < 1
    for node, n in zip(lefts, comparison.counts.sum(axis=1), strict=True):
        assert abs(node.height - TALL * n / comparison.n_compared) < 1
    for node in shown.nodes:
        assert EDGE - 0.1 <= node.y <= shown.height - EDGE - node.height + 0.1
    assert len(shown.bands) == (comparison.counts > 0).sum()
    n_stay = (comparison.n_compared - comparison.n_moved).__format__(",")
    assert shown.summary.startswith(f"{n_stay} of 300 customers stay")
    assert sum(band.stays for band in shown.bands) == 4


def test_there_is_no_flow_of_nobody(trained: TrainedModels) -> None:
    again = make_version()
    Assignment.objects.filter(version=again).update(customer_revision=77)

    assert flow(compare(again, trained.kmeans)) is None
