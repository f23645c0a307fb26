"""How one version served in the last hours: requests, customers, errors, latency."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from access.charts import COLOURS, Chart, bars, line, lines
from access.figures import figure
from access.staff import Table
from modelregistry.models import ModelVersion
from monitoring.serving import NO_VERSION, Calls, calls_since, whole_hour

N_HOURS = 48
HOUR = timedelta(hours=1)


def context(version: ModelVersion, *, at: datetime) -> dict[str, Any]:
    """The hours up to a moment; calls that no version answered count for the model type."""
    hours = [whole_hour(at) - HOUR * before for before in reversed(range(N_HOURS))]
    sums = calls_since(hours[0])

    def of(number: int) -> list[Calls]:
        return [sums.get((version.model_type, number, hour), Calls()) for hour in hours]

    answered, unanswered = of(version.number), of(NO_VERSION)
    if not any(calls.n_requests or calls.n_refused or calls.n_failed for calls in answered):
        return {"words": f"{version} answered nobody in the last {N_HOURS} hours.", "charts": []}
    return {
        "words": _words(version, answered, unanswered),
        "charts": [
            *_counts(hours, answered),
            _errors(hours, answered, unanswered),
            _latency(hours, answered),
        ],
        "table": _table(hours, answered, unanswered),
    }


def _words(version: ModelVersion, answered: Sequence[Calls], unanswered: Sequence[Calls]) -> str:
    whole, others = Calls(), Calls()
    for calls in answered:
        whole.add(calls)
    for calls in unanswered:
        others.add(calls)
    n_failed, n_refused = whole.n_failed + others.n_failed, whole.n_refused + others.n_refused
    latency = ", ".join(
        f"{name} {figure(value)} ms" for name, value in whole.percentiles_ms().items()
    )
    return (
        f"In the last {N_HOURS} hours {version} answered {figure(whole.n_requests)} requests for "
        f"{figure(whole.n_customers)} customers; {figure(n_refused)} were refused and "
        f"{figure(n_failed)} failed. Latency: {latency}."
    )


def _labels(hours: Sequence[datetime]) -> list[str]:
    return [f"{hour:%d %b %H:00}" for hour in hours]


def _counts(hours: Sequence[datetime], answered: Sequence[Calls]) -> list[Chart]:
    def drawn(name: str, values: list[int]) -> Chart:
        return bars(
            _labels(hours),
            {name: values},
            title=f"{name.capitalize()} an hour",
            words=f"{name} an hour over the last {N_HOURS} hours; the table below has the figures",
        )

    return [
        drawn("requests", [calls.n_requests for calls in answered]),
        drawn("customers", [calls.n_customers for calls in answered]),
    ]


def _errors(
    hours: Sequence[datetime], answered: Sequence[Calls], unanswered: Sequence[Calls]
) -> Chart:
    pairs = list(zip(answered, unanswered, strict=True))
    return bars(
        _labels(hours),
        {
            "refused": [own.n_refused + other.n_refused for own, other in pairs],
            "failed": [own.n_failed + other.n_failed for own, other in pairs],
        },
        title="Errors an hour",
        note="Refused: the request was at fault. Failed: the service was.",
        words=f"Refused and failed requests an hour over the last {N_HOURS} hours; the table below "
        "has the figures",
    )


def _latency(hours: Sequence[datetime], answered: Sequence[Calls]) -> Chart:
    figures = [calls.percentiles_ms() for calls in answered]
    names = list(figures[0])
    return lines(
        _labels(hours),
        [
            line(name, [each[name] for each in figures], colour=colour)
            for name, colour in zip(names, COLOURS, strict=False)
        ],
        title="Latency an hour",
        unit="milliseconds",
        words=f"{', '.join(names)} of the latency an hour over the last {N_HOURS} hours; the table "
        "below has the figures",
    )


def _table(
    hours: Sequence[datetime], answered: Sequence[Calls], unanswered: Sequence[Calls]
) -> Table:
    """The twin of the charts, the latest hour first; quiet hours are left out."""
    names = list(Calls().percentiles_ms())
    rows = []
    for hour, own, other in reversed(list(zip(hours, answered, unanswered, strict=True))):
        n_refused, n_failed = own.n_refused + other.n_refused, own.n_failed + other.n_failed
        if own.n_requests or n_refused or n_failed:
            latency = own.percentiles_ms()
            counts = map(figure, (own.n_requests, own.n_customers, n_refused, n_failed))
            rows.append(
                (f"{hour:%d %b %H:00}", *counts, *(figure(latency[name]) for name in names))
            )
    headers = ["Hour (UTC)", "Requests", "Customers", "Refused", "Failed"]
    return Table([*headers, *(f"{name}, ms" for name in names)], rows, numbers_from=1)
