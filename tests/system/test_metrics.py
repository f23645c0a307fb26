"""`/metrics` of two real workers: every process tells the same, and a restart forgets nothing."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.system.server import Installation, ask, fill, make_installation, press, running

N_CALLS = 24


def answered(installation: Installation) -> float:
    """Answered calls, as one worker counts them."""
    answer = ask(installation.port, "GET", "/metrics", key=installation.api_key)
    assert answer.status == 200, answer.content
    return sum(
        sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
        if sample.name == "segmentation_predict_requests_total"
        and sample.labels["outcome"] == "answered"
    )


def test_counters_are_the_same_from_each_worker_and_after_a_restart(tmp_path: Path) -> None:
    installation = make_installation(tmp_path)
    fill(installation)

    def predict(link: object, number: int) -> object:
        return ask(
            installation.port,
            "POST",
            "/predict/kmeans?store=false",
            key=installation.api_key,
            body=installation.records[:1],
        )

    with running(installation):
        answers = press(installation.port, predict, n_clients=4, n_each=N_CALLS // 4)  # type: ignore[arg-type]
        before = {answered(installation) for _ in range(8)}
    with running(installation):
        after = answered(installation)

    assert {answer.status for answer in answers} == {200}
    assert before == {N_CALLS}
    assert after == N_CALLS
