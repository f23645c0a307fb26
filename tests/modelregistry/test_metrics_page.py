"""How figures are read: by sourced bands, by the gate, or beside another version."""

from __future__ import annotations

from typing import Any

import pytest

from modelregistry.metrics_page import Tile, tiles
from modelregistry.models import ModelVersion
from modelregistry.version_page import ledger_table
from tests.factories import TrainedModels, make_version


def tile_of(title: str, *, other: dict[str, Any] | None = None, **metrics: float) -> Tile:
    version = ModelVersion(model_type="kmeans", number=2, metrics=metrics, n_customers=300)
    beside = ModelVersion(model_type="kmeans", number=1, metrics=other) if other else None
    shown = tiles(version, [], beside, noise_limit=0.5)
    return next(tile for tile in shown if tile.title == title)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (0.71, "far apart"),
        (0.7, "apart"),
        (0.5, "overlap"),
        (0.25, "much overlap"),
        (-1, "much overlap"),
    ],
)
def test_a_silhouette_is_read_by_its_bands(value: float, label: str) -> None:
    reading = tile_of("Silhouette", silhouette=value).reading

    assert reading is not None and reading.label == label


@pytest.mark.parametrize(
    ("value", "label"), [(0.9, "excellent"), (0.8, "good"), (0.65, "moderate"), (0.64, "poor")]
)
def test_a_stability_is_read_by_its_bands(value: float, label: str) -> None:
    reading = tile_of("Stability", stability=value).reading

    assert reading is not None and reading.label == label


@pytest.mark.parametrize(("value", "style"), [(0.5, "good"), (0.51, "bad")])
def test_noise_is_read_by_its_gate(value: float, style: str) -> None:
    reading = tile_of("Noise", noise_share=value).reading

    assert reading is not None and reading.style == style


@pytest.mark.parametrize(
    ("name", "title", "words"),
    [
        ("silhouette", "Silhouette", "better than kmeans 1: 0.2"),
        ("davies_bouldin", "Davies–Bouldin", "worse than kmeans 1: 0.2"),
        ("calinski_harabasz", "Calinski–Harabasz", ""),
    ],
)
def test_a_figure_is_held_against_another_version_where_that_says_something(
    name: str, title: str, words: str
) -> None:
    shown = tile_of(title, other={name: 0.2}, **{name: 0.4})

    assert shown.beside.startswith(words) and bool(shown.beside) == bool(words)
    assert shown.reading is None or name == "silhouette"


def test_the_history_tells_when_it_began_and_ceased_to_serve_and_what_gates_found(
    trained: TrainedModels,
) -> None:
    second = make_version(active=True)

    rows = ledger_table(trained.kmeans).rows

    assert "ceased to serve" in rows[0][1] and f"{second} took its place" in rows[0][1]
    assert "began to serve" in rows[-1][1] and "the first to serve" in rows[-1][1]
    assert "Passed." in rows[0][4] and "would move to another segment" in rows[0][4]
