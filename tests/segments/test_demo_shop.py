"""The made-up shop: the same every time, with the traps of real tables and groups to be found."""

import csv
import os
from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN, KMeans
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from ml.records import check_records
from segments.demo_shop import GROUPS, demo_customers, write_demo_customers
from segments.tables import open_table

SKEWED = ("recency_days", "orders", "total_spend", "average_basket")
NUMBERS = (*SKEWED, "age", "returns_share", "discount_share", "tenure_days")
CATEGORY_WEIGHT = 0.7


@pytest.fixture(scope="module")
def customers() -> list[dict[str, object]]:
    return demo_customers(2_000, random_state=2025)


@pytest.fixture(scope="module")
def encoded(customers) -> NDArray[np.float64]:
    """Encode as the product does: log1p, standardise, one-hot categories at 0.7."""
    first_day = min(np.datetime64(str(c["signed_up_on"])) for c in customers)
    columns = []
    for name in NUMBERS:
        if name == "tenure_days":
            days = [np.datetime64(str(c["signed_up_on"])) - first_day for c in customers]
            values = np.array(days).astype(float)
        else:
            values = np.array([c[name] for c in customers], dtype=float)
        values = np.where(np.isnan(values), np.nanmedian(values), values)
        values = np.log1p(values) if name in SKEWED else values
        columns.append((values - values.mean()) / values.std())
    for name in ("channel", "region", "newsletter"):
        columns += list(one_hot([c[name] for c in customers]))
    return np.column_stack(columns)


def one_hot(cells: list[object]) -> Iterable[NDArray[np.float64]]:
    levels = sorted(set(map(str, cells)))
    block = np.array([[str(cell) == level for level in levels] for cell in cells], dtype=float)
    shares = block.mean(axis=0)
    return (block * CATEGORY_WEIGHT / np.sqrt((shares * (1 - shares)).sum())).T


def skewness(values: NDArray[np.float64]) -> float:
    return float((((values - values.mean()) / values.std()) ** 3).mean())


def test_customers_are_lawful_records_of_one_shape(customers):
    assert len(customers) == 2_000
    assert {tuple(customer) for customer in customers} == {
        ("customer_id", "loyalty_card_number", "signed_up_on", "age", "recency_days", "orders",
         "total_spend", "average_basket", "returns_share", "discount_share", "newsletter",
         "channel", "region")
    }  # fmt: skip
    assert check_records(customers, max_records=2_000, ids_required=True) == customers
    assert customers[122]["customer_id"] == "C-000123"


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in [("a", 5), ("b", 5), ("c", 6)]:
        write_demo_customers(tmp_path / name, n_customers=300, random_state=seed)

    a, b, c = [(tmp_path / name).read_bytes() for name in "abc"]

    assert a == b != c
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


def test_global_generator_is_left_alone():
    before = np.random.get_state()[1].tolist()

    demo_customers(10, random_state=1)

    assert np.random.get_state()[1].tolist() == before


def test_file_holds_the_same_customers_as_the_records(tmp_path):
    write_demo_customers(tmp_path / "demo.csv", n_customers=500, random_state=9)

    table = open_table(tmp_path / "demo.csv")

    rows = [{"customer_id": key, **row} for batch in table.batches() for key, row in batch]
    assert table.info.id_column == "customer_id"
    assert table.n_problems == 0
    assert rows == demo_customers(500, random_state=9)


def test_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "demo.csv"
    path.write_text("old")

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)

    with pytest.raises(OSError, match="disk full"):
        write_demo_customers(path, n_customers=10)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["demo.csv"]


def test_booleans_are_words_and_gaps_are_empty_in_the_file(tmp_path):
    write_demo_customers(tmp_path / "demo.csv", n_customers=1_000, random_state=3)

    with (tmp_path / "demo.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert {row["newsletter"] for row in rows} == {"true", "false"}
    assert "" in {row["age"] for row in rows} and "" in {row["region"] for row in rows}


def test_money_and_days_are_skewed(customers):
    for name in SKEWED:
        values = np.array([customer[name] for customer in customers], dtype=float)
        assert values.min() > 0
        assert skewness(values) > 1, name


def test_shares_are_shares_and_days_fit_together(customers):
    for customer in customers:
        assert 0 <= customer["returns_share"] <= 1 and 0 <= customer["discount_share"] <= 1
        assert customer["total_spend"] == pytest.approx(
            customer["orders"] * customer["average_basket"], abs=0.01
        )
        n_days = np.datetime64("2025-06-30") - np.datetime64(customer["signed_up_on"])
        assert n_days.astype(int) > customer["recency_days"]


def test_some_ages_and_few_regions_are_missing(customers):
    missing = {name: sum(c[name] is None for c in customers) / 2_000 for name in customers[0]}

    assert missing.pop("age") == pytest.approx(0.06, abs=0.02)
    assert missing.pop("region") == pytest.approx(0.02, abs=0.01)
    assert set(missing.values()) == {0.0}


def test_card_number_is_an_id_in_disguise(customers):
    cards = [customer["loyalty_card_number"] for customer in customers]

    assert len(set(cards)) == len(cards)
    assert cards != sorted(cards)


def test_shares_of_the_groups_add_up():
    assert sum(group.share for group in GROUPS) == pytest.approx(1)
    assert all(sum(group.channel_shares) == pytest.approx(1) for group in GROUPS)


def test_k_means_finds_the_groups(encoded):
    scores = {
        k: silhouette_score(encoded, KMeans(k, n_init=4, random_state=0).fit_predict(encoded))
        for k in range(2, 8)
    }

    assert max(scores, key=scores.__getitem__) in (4, 5, 6)
    assert max(scores.values()) > 0.35


@pytest.mark.parametrize("min_samples", [10, 20])
def test_dbscan_at_the_knee_of_k_distances_finds_groups(encoded, min_samples):
    neighbours = NearestNeighbors(n_neighbors=min_samples).fit(encoded)
    distances = np.sort(neighbours.kneighbors()[0][:, -1])
    rise = (distances - distances[0]) / (distances[-1] - distances[0])
    eps = distances[np.argmax(np.linspace(0, 1, len(rise)) - rise)]

    labels = DBSCAN(eps=eps, min_samples=min_samples).fit_predict(encoded)

    assert labels.max() + 1 >= 2
    assert (labels < 0).mean() < 0.5


def test_no_customers_cannot_be_made():
    with pytest.raises(ValueError, match="1 or more"):
        demo_customers(0, random_state=1)
