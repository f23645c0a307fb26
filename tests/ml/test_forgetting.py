"""Rows leave a model, and everybody else stays in their cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ml.cluster_fits import fit_dbscan
from ml.clusterers import NOISE, DBSCANModel, KMeansModel
from ml.forgetting import Forgotten, forget_rows, held_rows, with_owners
from ml.owners import Digests

LINE = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def digests(*numbers: int) -> Digests:
    return np.array(numbers, dtype=np.uint64)


def forget(
    model: DBSCANModel | KMeansModel,
    gone: object,
    others: object,
    *,
    gone_digests: Sequence[int] = (),
    other_digests: Sequence[int] = (),
) -> Forgotten | None:
    return forget_rows(
        model,
        np.array(gone, dtype=np.float64).reshape(-1, model.n_columns),
        np.array(others, dtype=np.float64),
        rng=rng(),
        gone_digests=digests(*gone_digests),
        digests_of=lambda rows: digests(*other_digests)[rows],
    )


def forgotten(*args: Any, **kwargs: Any) -> Forgotten:
    found = forget(*args, **kwargs)
    assert found is not None
    return found


def test_who_no_core_sample_is_leaves_nothing_behind() -> None:
    model = DBSCANModel(LINE, np.zeros(4, dtype=np.int64), 1.0)

    gone = np.array([[0.5, 0.0], [2.0, 0.0], [-0.0, 0.0]])
    assert forget(model, gone[:1], LINE) is None
    assert held_rows(model, gone, digests()) == [0, 2]


def test_a_core_sample_of_two_customers_stays() -> None:
    model = DBSCANModel(LINE, np.zeros(4, dtype=np.int64), 1.0)

    assert forget(model, LINE[:1], LINE) is None


def test_a_core_sample_goes_and_distances_are_counted() -> None:
    model = DBSCANModel(LINE, np.zeros(4, dtype=np.int64), 1.0)

    found = forgotten(model, LINE[:1], [[1.0, 0.0], [2.0, 0.0], [0.3, 0.0]])

    assert isinstance(found.model, DBSCANModel)
    assert found.model.core_samples.tolist() == LINE[1:].tolist()
    assert (found.n_removed, found.n_stand_ins, found.n_checked, found.n_moved) == (1, 0, 3, 0)
    assert found.rows.tolist() == [2]
    assert found.prediction.distances.tolist() == [0.7]


def test_who_would_lose_the_cluster_gets_a_stand_in_that_is_not_the_customer() -> None:
    model = DBSCANModel(LINE, np.zeros(4, dtype=np.int64), 1.0)
    others = np.array([[-0.9, 0.0], [-2.5, 0.0], [1.0, 0.0]])
    before = model.predict(others).labels

    found = forgotten(model, LINE[:1], others)

    assert before.tolist() == [0, NOISE, 0]
    assert found.model.predict(others).labels.tolist() == before.tolist()
    assert (found.n_stand_ins, found.n_moved) == (1, 0)
    assert isinstance(found.model, DBSCANModel)
    assert np.linalg.norm(found.model.core_samples - LINE[0], axis=1).min() > 0.05


def test_the_last_core_sample_of_a_cluster_leaves_the_cluster_in_place() -> None:
    cores = np.array([[0.0, 0.0], [9.0, 9.0]])
    model = DBSCANModel(cores, np.array([0, 1]), 1.0)

    found = forgotten(model, cores[:1], [[9.0, 9.0]])

    assert isinstance(found.model, DBSCANModel)
    assert found.model.n_clusters == 2
    assert np.linalg.norm(found.model.core_samples[-1]) == pytest.approx(1.0)


@pytest.mark.parametrize("max_compared", [20_000_000, 0])
def test_nobody_changes_cluster_whoever_goes(
    monkeypatch: pytest.MonkeyPatch, max_compared: int
) -> None:
    monkeypatch.setattr("ml.forgetting.MAX_COMPARED", max_compared)
    draw = np.random.default_rng(1)
    X = np.concatenate([draw.normal(0, 1, (120, 3)), draw.normal(4, 1, (120, 3))])
    model, _ = fit_dbscan(X, eps=1.1, min_samples=6)
    before = model.predict(X)
    n_stand_ins = 0
    for row in range(0, len(X), 4):
        others = np.delete(X, row, axis=0)
        found = forget(model, X[row : row + 1], others)
        if found is None:
            continue
        after, old = found.model.predict(others), before.of_rows(np.delete(np.arange(240), row))
        assert after.labels.tolist() == old.labels.tolist()
        assert (after.core == old.core).all()  # type: ignore[union-attr]  # of DBSCAN
        assert np.flatnonzero(after.distances != old.distances).tolist() == found.rows.tolist()
        assert not held_rows(found.model, X[row : row + 1], digests())
        n_stand_ins += found.n_stand_ins
    assert n_stand_ins > 0


def test_the_centre_of_one_customer_moves_and_nobody_follows() -> None:
    others = np.random.default_rng(2).normal(0, 1, (50, 2))
    alone = np.array([[30.0, 30.0]])
    model = KMeansModel(np.concatenate([others.mean(axis=0, keepdims=True), alone]))

    found = forgotten(model, alone, others)

    assert isinstance(found.model, KMeansModel)
    assert np.linalg.norm(found.model.centers[1] - alone) > 1.0
    assert (found.n_removed, found.n_moved, len(found.rows)) == (1, 0, 0)


def owned_line() -> DBSCANModel:
    """Two are the first core sample, one each the second and the last, nobody the third."""
    model = DBSCANModel(LINE, np.zeros(4, dtype=np.int64), 1.0)
    X = LINE[[3, 0, 0, 1]] + [[0.0, -0.0]]
    owned = with_owners(model, np.vstack([X, [[9.0, 9.0]]]), digests(40, 7, 5, 2**64 - 1, 8))
    assert isinstance(owned, DBSCANModel)
    return owned


def pairs_of(model: DBSCANModel | KMeansModel) -> list[tuple[int, int]]:
    assert model.owners is not None
    return list(zip(model.owners.places.tolist(), model.owners.digests.tolist(), strict=True))


def test_owners_are_those_who_are_a_core_sample_in_an_order_that_says_nothing() -> None:
    assert pairs_of(owned_line()) == [(0, 5), (0, 7), (1, 2**64 - 1), (3, 40)]
    none_dense = DBSCANModel(np.empty((0, 2)), np.empty(0, dtype=np.int64), 1.0)
    assert pairs_of(with_owners(none_dense, LINE, digests(*range(4)))) == []


def test_a_core_sample_is_found_though_its_customer_is_another_row_by_now() -> None:
    found = forgotten(owned_line(), [[50.0, 50.0]], LINE[2:], gone_digests=[2**64 - 1])

    assert isinstance(found.model, DBSCANModel)
    assert found.model.core_samples.tolist() == LINE[[0, 2, 3]].tolist()
    assert pairs_of(found.model) == [(0, 5), (0, 7), (2, 40)]
    assert found.n_removed == 1


def test_who_cannot_be_encoded_any_more_is_found() -> None:
    assert (
        forgotten(owned_line(), [], LINE, gone_digests=[40], other_digests=range(4)).rows.size == 0
    )
    assert forgotten(owned_line(), [], LINE[:3], gone_digests=[40]).n_removed == 1


def test_a_core_sample_goes_with_the_first_owner_if_nobody_is_this_row_by_now() -> None:
    found = forgotten(owned_line(), LINE[:1], [[0.5, 0.0]], gone_digests=[5], other_digests=[7])

    assert isinstance(found.model, DBSCANModel)
    assert found.model.core_samples.tolist() == LINE[1:].tolist()
    assert pairs_of(found.model) == [(0, 2**64 - 1), (2, 40)]


def test_who_is_a_row_that_stays_owns_it_from_then_on() -> None:
    others = [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]

    found = forgotten(owned_line(), LINE[:1], others, gone_digests=[5], other_digests=[11, 12, 7])

    assert pairs_of(found.model) == [(0, 7), (0, 11), (1, 2**64 - 1), (3, 40)]
    assert (found.n_removed, found.n_moved, len(found.rows)) == (0, 0, 0)
    alone = forgotten(found.model, [], [[1.0, 0.0]], gone_digests=[11])
    assert alone.n_removed == 1


def test_the_centre_of_one_customer_is_found_though_they_changed() -> None:
    others = np.random.default_rng(2).normal(0, 1, (50, 2))
    alone = np.array([[30.0, 30.1]])
    model = KMeansModel(np.concatenate([others.mean(axis=0, keepdims=True), alone]))
    owned = with_owners(model, np.vstack([others, alone * (1 + 1e-15)]), digests(*range(51)))
    assert pairs_of(owned) == [(1, 50)]

    found = forgotten(owned, [[0.0, 0.0]], others, gone_digests=[50])

    assert isinstance(found.model, KMeansModel)
    assert np.linalg.norm(found.model.centers[1] - alone) > 1.0
    assert (found.n_removed, found.n_moved, pairs_of(found.model)) == (1, 0, [])
