"""How all versions served in the last 24 hours, in figures and by the hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from access.charts import Chart, bars
from access.figures import NONE, figure
from access.staff import Table
from modelregistry.models import ModelType
from monitoring.serving import Calls, calls_since, whole_hour

N_HOURS = 24
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ServingDay:
    """`chart` is None when nobody was answered."""

    since: datetime
    tiles: Sequence[tuple[str, str, str]]
    chart: Chart | None
    by_hour: Table


def serving_day(*, at: datetime) -> ServingDay:
    """Calls of `POST /predict`, from the whole hour 23 hours ago on; two queries."""
    hours = [whole_hour(at) - HOUR * before for before in reversed(range(N_HOURS))]
    whole = Calls()
    by_hour = {hour: Calls() for hour in hours}
    by_type = {model_type: Calls() for model_type in ModelType.values}
    for (model_type, _, hour), calls in calls_since(hours[0]).items():
        if hour in by_hour:
            for sums in (whole, by_hour[hour], by_type.get(model_type)):
                if sums is not None:
                    sums.add(calls)
    return ServingDay(
        since=hours[0],
        tiles=_tiles(whole, by_type),
        chart=_chart(by_hour) if whole.n_requests else None,
        by_hour=_table(by_hour),
    )


def _tiles(whole: Calls, by_type: dict[str, Calls]) -> list[tuple[str, str, str]]:
    latency = whole.percentiles_ms()
    each = ", ".join(f"{name} {figure(calls.n_requests)}" for name, calls in by_type.items())
    return [
        ("Answered", figure(whole.n_requests), each),
        ("Customers", figure(whole.n_customers), "answered with a segment or noise"),
        ("Refused", figure(whole.n_refused), "the request was at fault"),
        ("Failed", figure(whole.n_failed), "the service was at fault"),
        ("Latency p50", _ms(latency["p50"]), "half of the answers took no longer"),
        ("Latency p95", _ms(latency["p95"]), "19 of 20 took no longer"),
    ]


def _ms(value: float | None) -> str:
    return NONE if value is None else f"{figure(value)} ms"


def _chart(by_hour: dict[datetime, Calls]) -> Chart:
    return bars(
        [f"{hour:%H:00}" for hour in by_hour],
        {"requests": [calls.n_requests for calls in by_hour.values()]},
        title="Answered requests by hour (UTC)",
        words=f"Answered requests an hour over the last {N_HOURS} hours",
    )


def _table(by_hour: dict[datetime, Calls]) -> Table:
    rows = []
    for hour, calls in reversed(by_hour.items()):
        latency = calls.percentiles_ms()
        rows.append(
            (
                f"{hour:%d %b %H:00}",
                *map(figure, (calls.n_requests, calls.n_customers)),
                *map(figure, (calls.n_refused, calls.n_failed)),
                *(_ms(latency[name]) for name in ("p50", "p95")),
            )
        )
    return Table(
        ["Hour", "Requests", "Customers", "Refused", "Failed", "p50", "p95"], rows, numbers_from=1
    )
