"""The parts of a drift report: features by effect, pages of what there is much of, the series."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.urls import reverse

from monitoring import drift_inputs
from monitoring.models import Verdict
from monitoring.report_features_page import by_effect, cards, effect_of, floor_of
from monitoring.report_history_page import MAX_CHECKS, history, largest
from monitoring.report_tables_page import segments_note
from tests.factories import TrainedModels
from tests.monitoring.test_report_acts import checked
from tests.staff import staff

VIEW = "monitoring.view_driftreport"


def check(feature: str, **fields: Any) -> dict[str, Any]:
    return {
        "feature": feature,
        "other": None,
        "kind": "number",
        "check": "distribution",
        "effect": 0.1,
        "effect_name": "largest gap",
        "floor": 0.025,
        "p_adjusted": 0.5,
        "drifted": False,
        "sentence": f"{feature} moved",
        "shown": {"psi": None, "median_shift_sd": None},
    } | fields


def test_features_come_by_effect_and_those_that_changed_first() -> None:
    checks = [
        check("small", effect=-0.2, drifted=True),
        check("quiet", effect=0.6),
        check("large", effect=0.1, drifted=True),
        check("large", check="levels", effect=-0.4, drifted=True),
        check("a pair", other="another", effect=0.9, drifted=True),
        check(None, check="segments", effect=0.9, drifted=True),
    ]

    ordered = by_effect({"checks": checks})

    assert [own[0]["feature"] for own in ordered] == ["large", "small", "quiet"]
    assert ordered[0][0]["check"] == "levels"


def test_a_tail_weighs_by_its_own_floor() -> None:
    tail = check("income", check="upper_tail", effect=0.45, floor=0.15, drifted=True)
    whole = check("income", effect=0.3, drifted=True)

    (own,) = by_effect({"checks": [tail, whole]})

    assert own[0] is whole
    assert largest([tail, whole]) is whole


def test_a_meter_marks_the_floor_on_one_scale_for_all() -> None:
    report = {"checks": [check("a", effect=0.5), check("b", effect=-0.25, floor=0.1)]}

    first, second = (card.meter for card in cards(report, by_effect(report)))

    assert (first.width, first.floor) == ("100.0", "5.0")
    assert (second.width, second.floor) == ("50.0", "20.0")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kind": "date"}, "Dates move on"),
        ({"check": "gone"}, "no values now"),
        ({}, "keeps no shares"),
    ],
)
def test_a_feature_without_shares_says_why(fields: dict[str, Any], why: str) -> None:
    report = {"checks": [check("a", **fields)]}

    (card,) = cards(report, by_effect(report))

    assert card.chart is None and why in card.no_chart


def test_effects_are_percentage_points_and_those_of_pairs_are_not() -> None:
    shown = [effect_of(check("a", effect=effect)) for effect in (-0.0004, 0.0006, -0.01)]
    pair = check("a", other="b", check="correlation", effect=-0.3, floor=0.1)

    assert shown == ["0.0 pp", "+0.1 pp", "−1.0 pp"]
    assert (floor_of(check("a")), effect_of(pair), floor_of(pair)) == ("2.5 pp", "−0.30", "0.10")


def test_shares_that_the_sentence_counts_otherwise_are_said_to_be_so() -> None:
    shift = {"reference_share": 0.49, "current_share": 0.206}
    told = check(None, check="segments", sentence="Segments: A from 47.0 % to 20.6 % of customers")
    report = {"checks": [told], "segments": [shift]}

    assert "as if they were new" in segments_note(report)
    assert segments_note({**report, "segments": [shift | {"reference_share": 0.47}]}) == ""
    assert segments_note({"checks": [], "segments": [shift]}) == ""


def test_each_drawn_feature_has_its_table_with_the_same_shares(trained: TrainedModels) -> None:
    report = checked(trained, factor=5.0)

    page = staff(VIEW).get(reverse("admin:monitoring_driftreport_change", args=[report.pk]))
    drawn = [card for card in page.context["cards"] if card.chart]

    assert len(drawn) > 1  # of features without a finding too
    for card in drawn:
        data = json.loads(card.chart.data)
        assert [row[0] for row in card.table.rows] == list(
            next(t["labels"] for t in report.report["tables"] if t["feature"] == card.name)
        )
        shares = [float(row[2].removesuffix("%")) for row in card.table.rows]
        assert shares == pytest.approx(data["datasets"][1]["data"], abs=0.06)


def test_a_report_of_an_earlier_release_is_made_again_to_the_last_bit(
    trained: TrainedModels,
) -> None:
    report = checked(trained, factor=5.0)
    report.refresh_from_db()
    drifted = {c["feature"] for c in report.report["findings"] if not c["other"]}
    report.arguments.pop("with_all_tables")
    report.report["tables"] = [t for t in report.report["tables"] if t["feature"] in drifted]
    report.save()

    assert drift_inputs.verify(report, directory=settings.MODEL_DIR).is_same


def test_wide_reports_draw_few_features_and_page_the_others(trained: TrainedModels) -> None:
    report = checked(trained, factor=5.0)
    extra = [check(f"feature {n}", drifted=n < 90) for n in range(200)]
    table = {"labels": ["a"], "before": [1.0], "now": [1.0]}
    report.report["checks"] = extra
    report.report["findings"] = extra[:90]
    report.report["tables"] = [{"feature": each["feature"], **table} for each in extra]
    report.save()
    client = staff(VIEW)

    def page(name: str, **query: Any) -> Any:
        url = reverse(f"admin:monitoring_driftreport_{name}", args=[report.pk])
        return client.get(url, query)

    shown = page("change")
    assert shown.content.decode().count("<canvas") <= 10
    assert len(shown.context["features"].rows) == 30
    first, last = page("features"), page("features", page=17)
    assert [len(each.context["cards"]) for each in (first, last)] == [12, 8]
    assert page("features", page="nonsense").context["rows"].number == 1
    assert len(page("checks", page=2).context["table"].rows) == 100


def test_the_series_is_cut_with_one_query_and_marks_each_verdict(
    trained: TrainedModels, django_assert_num_queries: Any
) -> None:
    report = checked(trained, factor=5.0)
    report.report["checks"] = []
    for n in range(MAX_CHECKS):
        report.pk = None
        report.created_at += timedelta(hours=1)
        report.verdict = Verdict.OK if n else Verdict.INSUFFICIENT_DATA
        report.report["findings"] = []
        report.save(force_insert=True)

    with django_assert_num_queries(1):
        found = history(report.version_id, current=report.pk)

    assert found.has_earlier and len(found.table.rows) == MAX_CHECKS
    assert found.chart is not None
    (drawn,) = json.loads(found.chart.data)["datasets"]
    assert drawn["pointStyle"][:2] == ["crossRot", "circle"]
    assert "(this one)" in found.table.rows[0][0]


def test_one_check_alone_is_no_series(trained: TrainedModels) -> None:
    report = checked(trained, factor=1.0)

    assert history(report.version_id).chart is None


def test_the_list_before_any_check_says_what_to_do(db: None) -> None:
    url = reverse("admin:monitoring_driftreport_changelist")
    check_now = reverse("admin:monitoring_monitoringpolicy_check_now")

    page = staff(VIEW).get(url).content.decode()
    assert "Nothing was checked yet." in page and check_now not in page
    assert "every 24 hours once a version serves" in page and "manage.py" not in page
    may = staff(VIEW, "monitoring.run_driftcheck", "monitoring.view_monitoringpolicy", name="bea")
    assert check_now in may.get(url).content.decode()


def test_the_list_reads_no_figures_of_its_reports(
    trained: TrainedModels, django_assert_max_num_queries: Any
) -> None:
    checked(trained, factor=5.0)
    client = staff(VIEW)

    with django_assert_max_num_queries(14) as queries:
        response = client.get(reverse("admin:monitoring_driftreport_changelist"))

    assert response.status_code == 200
    sql = [each["sql"] for each in queries.captured_queries]
    assert not [each for each in sql if '"monitoring_driftreport"."report"' in each]
