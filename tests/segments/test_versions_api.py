"""One model version over the API: seen, compared, activated, rolled back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from audit.models import AuditEntry, Outcome
from modelregistry.activation import pointer_of
from modelregistry.models import Activation, ModelVersion, Stage
from segments.comparison import compare
from segments.models import Assignment
from tests.expectations import errors_of, one_entry, problem_of
from tests.factories import TrainedModels, make_active, make_customers, make_version

NOTHING_MAY_MOVE = {
    "moved_share": 0.0,
    "noise_share": None,
    "silhouette_drop": None,
    "drift_threshold": None,
}


def url(version: ModelVersion, rest: str = "") -> str:
    return f"/models/{version.model_type}/versions/{version.number}{rest}"


def post(api: Client, path: str, body: Any) -> Any:
    return api.post(path, body, content_type="application/json")


# -- one version --------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_a_version_is_shown_with_all_there_is_to_know(
    trained: TrainedModels, api: Client, model_type: str
) -> None:
    version = make_version(model_type=model_type)

    with one_entry(action="model_version.read", target_id=str(version)):
        body = api.get(url(version)).json()

    assert (body["model_type"], body["version"], body["state"]) == (model_type, 2, "candidate")
    assert body["parameters"] == version.parameters
    assert body["metrics"] == version.metrics
    assert body["schema"] == version.schema
    assert body["schema"]["omitted"]
    assert body["identity"]["compared_with"] == 1
    assert body["selection"] is None
    rows = {row.segment_id: row for row in version.segments.select_related("segment")}
    assert [segment["segment"] for segment in body["segments"]] == list(rows)
    for segment in body["segments"]:
        row = rows[segment["segment"]]
        assert segment["segment_name"] == row.segment.name
        assert segment["fate"] == "kept"
        assert segment["match_score"] == row.match_score
        assert segment["rule"] == row.rule
        assert segment["distinguishing"] == row.distinguishing


def test_an_automatic_choice_is_shown_with_its_curve(db: None, api: Client) -> None:
    make_customers(n_customers=120)
    version = make_version(parameters={"random_state": 1})

    body = api.get(url(version)).json()

    assert body["selection"] == version.selection
    assert body["selection"]["curve"] and body["selection"]["reason"]
    assert body["identity"] is None


def test_the_number_of_queries_does_not_depend_on_the_segments(
    trained: TrainedModels, api: Client
) -> None:
    few = make_version(parameters={"n_clusters": 2})
    many = make_version(parameters={"n_clusters": 9})

    counts = []
    for version in (few, many):
        with CaptureQueriesContext(connection) as queries:
            api.get(url(version))
        counts.append(len(queries))

    assert counts[0] == counts[1]


@pytest.mark.parametrize("number", ["0", "99", "4294967296", "9" * 40])
@pytest.mark.parametrize("rest", ["", "/compare"])
def test_a_version_that_never_was_is_not_found(
    trained: TrainedModels, api: Client, number: str, rest: str
) -> None:
    response = api.get(f"/models/kmeans/versions/{number}{rest}")

    problem_of(response, status=404, code="not-found")


@pytest.mark.parametrize("path", ["forest/versions/1", "kmeans/versions/-1", "kmeans/versions/x"])
def test_what_is_no_version_is_not_found(db: None, api: Client, path: str) -> None:
    assert api.get(f"/models/{path}").status_code == 404


# -- comparing ----------------------------------------------------------------------------------


def test_a_candidate_is_compared_with_the_active_version(
    trained: TrainedModels, api: Client
) -> None:
    version = make_version(parameters={"n_clusters": 6})
    expected = compare(version, trained.kmeans)

    with one_entry(action="model_version.compared", target_id="kmeans 2") as entries:
        body = api.get(url(version, "/compare")).json()

    assert json.loads(entries[0].details)["with"] == "kmeans 1"
    assert (body["version"], body["before"]) == (2, 1)
    assert body["migrations"]["counts"] == expected.counts.tolist()
    assert body["migrations"]["rows"] == list(expected.rows)
    assert body["moved_share"] == expected.moved_share
    assert body["notes"] == []
    assert body["adjusted_rand_index"] == expected.adjusted_rand_index
    assert [item["segment"] for item in body["segments"]] == [
        change.segment for change in expected.segments
    ]
    assert body["quality_after"]["metrics"]["silhouette"] == version.metrics["silhouette"]
    assert body["quality_before"]["parameters"] == trained.kmeans.parameters
    assert {gate["name"]: gate["value"] for gate in body["gates"]}[
        "moved_share"
    ] == expected.moved_share


def test_who_cannot_be_compared_is_said_and_their_gate_stays(
    trained: TrainedModels, api: Client
) -> None:
    version = make_version()
    Assignment.objects.filter(version=version).update(customer_revision=77)

    body = api.get(url(version, "/compare")).json()

    assert (body["n_compared"], body["moved_share"]) == (0, None)
    assert "300 changed since one of the two versions was assigned" in body["notes"][0]
    moved = next(gate for gate in body["gates"] if gate["name"] == "moved_share")
    assert (moved["value"], moved["limit"], moved["passed"]) == (None, 0.3, None)


def test_a_version_of_another_line_says_so(trained: TrainedModels, api: Client) -> None:
    version = make_version()
    make_version(active=True)

    body = api.get(url(version, "/compare")).json()

    assert ["trained while kmeans 1 served" in note for note in body["notes"]] == [True]
    assert api.get(url(version, "/compare?with=1")).json()["notes"] == []


def test_noise_has_a_null_id(trained: TrainedModels, api: Client) -> None:
    version = make_version(model_type="dbscan", parameters={"eps": 1.5, "min_samples": 8})

    body = api.get(url(version, "/compare")).json()

    assert body["migrations"]["columns"][-1] is None
    assert body["segments"][-1]["fate"] is None


def test_any_two_versions_are_compared_without_gates(trained: TrainedModels, api: Client) -> None:
    make_version(parameters={"n_clusters": 6})
    third = make_version(parameters={"n_clusters": 5})

    body = api.get(url(third, "/compare?with=2")).json()

    assert (body["version"], body["before"], body["gates"]) == (3, 2, None)


@pytest.mark.parametrize("other", ["", "latest", "0", "-1", "1.0", "1" * 10, "%00"])
def test_what_names_no_version_is_no_parameter(
    trained: TrainedModels, api: Client, other: str
) -> None:
    response = api.get(url(trained.kmeans, f"/compare?with={other}"))

    problem_of(response, status=400, code="invalid-parameter")


def test_an_unknown_other_version_is_not_found(trained: TrainedModels, api: Client) -> None:
    response = api.get(url(trained.kmeans, "/compare?with=7"))

    body = problem_of(response, status=404, code="not-found")
    assert body["detail"] == "There is no version 7 of kmeans."


def test_there_must_be_something_to_compare_with(db: None, api: Client) -> None:
    make_customers()
    version = make_version()

    response = api.get(url(version, "/compare"))

    problem_of(response, status=409, code="not-comparable")


def test_an_untrained_version_is_not_compared(trained: TrainedModels, api: Client) -> None:
    half = make_version()
    ModelVersion.objects.filter(pk=half.pk).update(stage=Stage.TRAINING)

    problem_of(api.get(url(half, "/compare")), status=409, code="not-comparable")
    assert api.get(url(half)).json()["state"] == "training"


# -- activating and rolling back ----------------------------------------------------------------


def test_activate_lets_the_version_serve_with_one_entry(
    trained: TrainedModels, api: Client
) -> None:
    version = make_version()

    with one_entry(action="model_version.activated", target_id="kmeans 2", actor_kind="api_key"):
        response = post(api, url(version, "/activate"), {"reason": "  newer customers "})

    body = response.json()
    assert response.status_code == 200
    assert (body["version"], body["replaced_version"], body["generation"]) == (2, 1, 2)
    assert (body["reason"], body["forced"]) == ("newer customers", False)
    assert all(gate["passed"] for gate in body["gates"])
    assert pointer_of("kmeans").active == version
    assert api.get("/models").json()["models"][1]["active"]["version"] == 2


def test_a_breached_gate_is_a_409_that_names_it(
    trained: TrainedModels, api: Client, settings: Any
) -> None:
    settings.GATE_LIMITS = NOTHING_MAY_MOVE
    version = make_version(parameters={"n_clusters": 8})

    with one_entry(
        action="model_version.activated", outcome=Outcome.REFUSED, status_code=409
    ) as entries:
        response = post(api, url(version, "/activate"), {"reason": "eight"})

    body = problem_of(response, status=409, code="activation-refused")
    assert errors_of(body) == [("#", "moved-share")]
    assert "would move to another segment; the limit is 0%" in body["errors"][0]["detail"]
    details = json.loads(entries[0].details)
    assert (details["reason"], details["force"]) == ("eight", False)
    assert details["gates"] == [
        {
            "name": "moved_share",
            "value": compare(version, trained.kmeans).moved_share,
            "limit": 0.0,
            "passed": False,
        }
    ]
    assert pointer_of("kmeans").active == trained.kmeans


def test_force_needs_no_more_than_its_reason(
    trained: TrainedModels, api: Client, settings: Any
) -> None:
    settings.GATE_LIMITS = NOTHING_MAY_MOVE
    version = make_version(parameters={"n_clusters": 8})

    body = post(api, url(version, "/activate"), {"reason": "on purpose", "force": True}).json()

    assert body["forced"] is True
    assert [(gate["name"], gate["passed"]) for gate in body["gates"]] == [("moved_share", False)]
    assert Activation.objects.latest("id").forced


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], "#"),
        ([{"reason": "x"}], "#"),
        ({}, "#/reason"),
        ({"reason": ""}, "#/reason"),
        ({"reason": "   "}, "#/reason"),
        ({"reason": "x" * 501}, "#/reason"),
        ({"reason": 5}, "#/reason"),
        ({"reason": None}, "#/reason"),
        ({"reason": ["x"]}, "#/reason"),
        ({"reason": "nul \x00"}, "#/reason"),
        ({"reason": "x", "force": "true"}, "#/force"),
        ({"reason": "x", "force": 1}, "#/force"),
        ({"reason": "x", "force": None}, "#/force"),
        ({"reason": "x", "forced": True}, "#/forced"),
    ],
)
def test_a_body_that_is_not_quite_right_moves_nothing(
    trained: TrainedModels, api: Client, body: Any, pointer: str
) -> None:
    version = make_version()

    response = post(api, url(version, "/activate"), body)

    problem = problem_of(response, status=400, code="invalid-parameter")
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert pointer_of("kmeans").active == trained.kmeans


@pytest.mark.parametrize("body", ["[]", '"x"', "5", "null"])
def test_a_body_must_be_an_object(trained: TrainedModels, api: Client, body: str) -> None:
    response = api.post(
        url(trained.kmeans, "/activate"), data=body, content_type="application/json"
    )

    problem_of(response, status=400, code="invalid-parameter")


def test_what_is_active_is_not_activated_again(trained: TrainedModels, api: Client) -> None:
    response = post(api, url(trained.kmeans, "/activate"), {"reason": "again"})

    body = problem_of(response, status=409, code="activation-refused")
    assert body["detail"] == "kmeans 1 is already active."


def test_an_unknown_version_is_not_activated(trained: TrainedModels, api: Client) -> None:
    response = post(api, "/models/kmeans/versions/7/activate", {"reason": "seven"})

    problem_of(response, status=404, code="not-found")


def test_a_damaged_artifact_is_a_503(trained: TrainedModels, api: Client) -> None:
    version = make_version()
    path = Path(project_settings.MODEL_DIR) / version.artifact
    path.write_bytes(path.read_bytes()[:-1])

    response = post(api, url(version, "/activate"), {"reason": "x", "force": True})

    problem_of(response, status=503, code="damaged-artifact")
    assert pointer_of("kmeans").active == trained.kmeans


def test_rollback_restores_the_version_before(trained: TrainedModels, api: Client) -> None:
    post(api, url(make_version(), "/activate"), {"reason": "newer"})

    with one_entry(action="model_version.rolled_back_to", target_id="kmeans 1"):
        body = post(api, "/models/kmeans/rollback", {"reason": "second thoughts"}).json()

    assert (body["version"], body["replaced_version"], body["is_rollback"]) == (1, 2, True)
    assert pointer_of("kmeans").active == trained.kmeans


def test_there_must_be_something_to_roll_back_to(trained: TrainedModels, api: Client) -> None:
    response = post(api, "/models/kmeans/rollback", {"reason": "back"})

    problem_of(response, status=409, code="activation-refused")


def test_a_repeated_rollback_that_names_its_version_is_a_conflict(
    trained: TrainedModels, api: Client
) -> None:
    post(api, url(make_version(), "/activate"), {"reason": "newer"})
    body = {"reason": "second thoughts", "version": 1}

    first, again = (post(api, "/models/kmeans/rollback", body) for _ in range(2))

    assert first.json()["version"] == 1
    problem = problem_of(again, status=409, code="conflict")
    assert "kmeans 1 serves now, and kmeans 2 is the version before it" in problem["detail"]
    assert pointer_of("kmeans").active == trained.kmeans
    assert json.loads(AuditEntry.objects.latest("id").details)["version"] == 1


def test_a_rollback_to_a_degenerate_version_is_refused_unless_forced(
    trained: TrainedModels, api: Client
) -> None:
    lump = make_version(model_type="dbscan", parameters={"eps": 1000.0, "min_samples": 5})
    make_active(version=lump)
    make_active(version=trained.dbscan)

    with one_entry(action="model_version.rolled_back_to", outcome=Outcome.REFUSED) as entries:
        refused = post(api, "/models/dbscan/rollback", {"reason": "back"})
    forced = post(api, "/models/dbscan/rollback", {"reason": "back", "force": True}).json()

    body = problem_of(refused, status=409, code="activation-refused")
    assert errors_of(body) == [("#", "degenerate")]
    details = json.loads(entries[0].details)
    assert (details["reason"], details["force"]) == ("back", False)
    assert details["gates"] == [
        {"name": "degenerate", "value": None, "limit": None, "passed": False}
    ]
    assert (forced["version"], forced["forced"]) == (lump.number, True)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": " "},
        {"reason": "x", "force": 1},
        {"reason": "x", "forced": True},
        *(
            {"reason": "x", "version": version}
            for version in (0, -1, 1.5, "1", True, None, [1], 10**9, 10**300)
        ),
    ],
)
def test_a_rollback_takes_a_reason_a_version_and_force_and_nothing_else(
    trained: TrainedModels, api: Client, body: dict[str, Any]
) -> None:
    before = AuditEntry.objects.count()

    response = post(api, "/models/kmeans/rollback", body)

    problem_of(response, status=400, code="invalid-parameter")
    assert AuditEntry.objects.count() == before + 1
