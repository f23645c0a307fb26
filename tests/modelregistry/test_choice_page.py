"""How the choice of k or eps is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelregistry.choice_page import choice, curve_of, evidence_of
from modelregistry.models import ModelVersion


def k_point(k: int, score: float, *, large_enough: bool = True) -> dict[str, Any]:
    return {"n_clusters": k, "large_enough": large_enough, "smallest_share": 0.1, "score": score}


def eps_point(
    eps: float, n_clusters: int, score: float, *, degenerate: bool = False
) -> dict[str, Any]:
    return {
        "eps": eps,
        "n_clusters": n_clusters,
        "noise_share": 0.1,
        "degenerate": degenerate,
        "score": score,
    }


def of_k(chosen: int, *curve: dict[str, Any], evidence: str = "strong") -> ModelVersion:
    selection = {
        "chosen": {"n_clusters": chosen},
        "curve": list(curve),
        "reason": f"k = {chosen} is best.",
        "evidence": evidence,
    }
    return ModelVersion(model_type="kmeans", parameters={"n_clusters": chosen}, selection=selection)


def of_eps(chosen: float, *curve: dict[str, Any]) -> ModelVersion:
    selection = {
        "chosen": {"eps": chosen, "min_samples": 8},
        "curve": list(curve),
        "reason": f"eps = {chosen} is best.",
        "evidence": None,
    }
    return ModelVersion(model_type="dbscan", parameters={"eps": chosen}, selection=selection)


def test_the_runner_up_is_the_second_best_k() -> None:
    version = of_k(3, k_point(2, 0.1), k_point(3, 0.5), k_point(4, 0.3), k_point(5, 0.2))

    assert choice(version).runner_up == "k = 4: score 0.300 against 0.500, clearly behind."


def test_a_close_runner_up_is_said_to_be_close() -> None:
    version = of_k(3, k_point(2, 0.45), k_point(3, 0.5), k_point(4, 0.1))

    assert "nearly as good" in choice(version).runner_up


def test_a_k_with_too_small_a_segment_is_no_runner_up_while_another_is_usable() -> None:
    version = of_k(3, k_point(2, 0.2), k_point(3, 0.5), k_point(9, 0.9, large_enough=False))

    assert choice(version).runner_up.startswith("k = 2:")


def test_an_unusable_runner_up_says_so() -> None:
    version = of_k(3, k_point(3, 0.5), k_point(9, 0.9, large_enough=False))

    assert choice(version).runner_up.endswith("not usable.")


def test_the_runner_up_of_an_eps_has_another_number_of_clusters() -> None:
    version = of_eps(1.5, eps_point(1.4, 4, 0.49), eps_point(1.5, 4, 0.5), eps_point(1.2, 6, 0.3))

    assert choice(version).runner_up.startswith("eps = 1.200 with 6 clusters: score 0.300")


def test_a_degenerate_eps_is_the_last_to_be_runner_up() -> None:
    version = of_eps(
        1.5,
        eps_point(1.5, 4, 0.5),
        eps_point(1.2, 3, 0.1),
        eps_point(0.2, 9, 0.4, degenerate=True),
    )

    assert choice(version).runner_up.startswith("eps = 1.200 with 3 clusters")


def test_without_another_candidate_there_is_no_runner_up() -> None:
    assert choice(of_k(2, k_point(2, 0.5))).runner_up == ""
    assert choice(of_eps(1.5, eps_point(1.5, 4, 0.5), eps_point(1.6, 4, 0.4))).runner_up == ""


def test_the_largest_k_tried_is_told_to_be_the_largest() -> None:
    inside = of_k(3, k_point(2, 0.1), k_point(3, 0.5), k_point(4, 0.3))
    at_the_edge = of_k(4, k_point(2, 0.1), k_point(3, 0.3), k_point(4, 0.5))

    assert choice(inside).edge_words == ""
    assert "largest k tried" in choice(at_the_edge).edge_words


@pytest.mark.parametrize(
    ("evidence", "style", "is_doubtful"),
    [("strong", "good", False), ("weak", "warn", True), ("none", "bad", True)],
)
def test_each_evidence_has_its_words(evidence: str, style: str, *, is_doubtful: bool) -> None:
    version = of_k(2, k_point(2, 0.5), evidence=evidence)
    found = evidence_of(version)

    assert found is not None
    assert (found.style, found.is_doubtful) == (style, is_doubtful)
    assert choice(version).evidence_words == found.words


def test_what_was_stated_by_hand_was_not_tested() -> None:
    version = ModelVersion(model_type="kmeans", parameters={"n_clusters": 4}, selection=None)
    shown = choice(version)

    assert evidence_of(version) is None
    assert (shown.reason, shown.runner_up, shown.chart, shown.curve) == ("", "", None, None)
    assert shown.badge == ("evidence not tested", "plain")
    assert "k was stated by hand" in shown.evidence_words


def test_a_choice_of_eps_claims_no_evidence() -> None:
    shown = choice(of_eps(1.5, eps_point(1.5, 4, 0.5)))

    assert shown.badge == ("evidence not tested", "plain")
    assert "not whether they form segments" in shown.evidence_words


def test_chart_and_table_mark_the_choice_and_the_runner_up() -> None:
    shown = choice(of_k(3, k_point(2, 0.1), k_point(3, 0.5), k_point(4, 0.3)))
    assert shown.chart is not None and shown.curve is not None
    chart = json.loads(shown.chart)

    assert chart["labels"] == ["2", "3", "4"]
    assert {line["label"]: line["data"] for line in chart["datasets"]} == {
        "chosen": [None, 0.5, None],
        "runner-up": [None, None, 0.3],
        "score": [0.1, 0.5, 0.3],
    }
    assert [row[-1] for row in shown.curve.rows] == ["", "chosen", "runner-up"]
    assert [row[0] for row in shown.curve.rows] == ["2", "3", "4"]


def test_a_selection_without_a_curve_is_only_its_sentence() -> None:
    version = of_k(3)
    shown = choice(version)

    assert curve_of(version) is None
    assert shown.reason == "k = 3 is best."
    assert shown.curve is None
