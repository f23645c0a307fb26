"""Monitoring's tables as files: one flat row after another, for spreadsheets and for scripts."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from django.db.models import Model, QuerySet

from audit import trail
from monitoring.models import Alert, DriftReport, QualityPoint, ServingHour
from monitoring.serving import ALL_TIME
from segments.spreadsheet_cells import safe_text

AUDIT_ACTION = "monitoring.exported"
CHUNK = 500
HEADERS = {"version__model_type": "model_type", "version__number": "version"}


class Writable(Protocol):
    def write(self, text: str, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Export:
    """A table: the field of its moments, and its columns."""

    model: type[Model]
    moment: str
    columns: Sequence[str]


EXPORTS: Mapping[str, Export] = {
    "reports": Export(
        DriftReport,
        "created_at",
        (
            *("id", "created_at", "created_by", "model_type", "version__number", "source", "since"),
            *("verdict", "summary", "threshold", "n_reference", "n_seen", "n_current"),
        ),
    ),
    "quality": Export(
        QualityPoint,
        "measured_at",
        (
            *("measured_at", "version__model_type", "version__number", "report_id", "n_customers"),
            *("silhouette", "silhouette_se", "n_silhouette", "silhouette_z", "davies_bouldin"),
            *("calinski_harabasz", "inertia_per_customer", "noise_share", "stability", "shares"),
            *("level", "sentence"),
        ),
    ),
    "serving": Export(
        ServingHour,
        "hour",
        (
            *("hour", "model_type", "version_number", "n_requests", "n_customers", "n_refused"),
            *("n_failed", "latency_ms_sum", "latencies"),
        ),
    ),
    "alerts": Export(
        Alert,
        "raised_at",
        (
            *("id", "kind", "state", "model_type", "version__number", "report_id", "title"),
            *("summary", "advice", "subjects", "raised_at", "fired_at", "last_seen_at"),
            *("notified_at", "acknowledged_at", "acknowledged_by", "silenced_until"),
            *("silenced_by", "resolved_at", "resolution"),
        ),
    ),
}


def write_export(
    name: str, file: Writable, *, as_csv: bool, since: datetime | None, by: trail.Actor
) -> int:
    """Write a table, the oldest row first; returns how many rows. The entry comes before them."""
    export = EXPORTS[name]
    rows = _rows(export, since=since)
    n_rows = rows.count()
    record_export(("export", name), n_rows, by=by)
    headers = [HEADERS.get(column, column) for column in export.columns]
    write = _csv_writer(file, headers) if as_csv else _ndjson_writer(file, headers)
    for row in rows.iterator(chunk_size=CHUNK):
        write(row)
    return n_rows


def record_export(target: tuple[str, object], n_rows: int, *, by: trail.Actor) -> None:
    trail.record(AUDIT_ACTION, by=by, target=target, n_items=n_rows)


def safe_cell(value: Any) -> Any:
    """A value as a spreadsheet takes it: never as a formula."""
    if isinstance(value, (list, dict)):
        value = json.dumps(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return safe_text(value) if isinstance(value, str) else value


def _rows(export: Export, *, since: datetime | None) -> QuerySet[Any, Any]:
    found: QuerySet = export.model._default_manager.exclude(**{export.moment: ALL_TIME})
    if since is not None:
        found = found.filter(**{f"{export.moment}__gte": since})
    return found.order_by(export.moment, "pk").values_list(*export.columns)


def _csv_writer(file: Writable, headers: Sequence[str]) -> Callable[[Iterable[Any]], None]:
    writer = csv.writer(file)
    writer.writerow(headers)
    return lambda row: writer.writerow(map(safe_cell, row))


def _ndjson_writer(file: Writable, headers: Sequence[str]) -> Callable[[Iterable[Any]], None]:
    def write(row: Iterable[Any]) -> None:
        cells = {
            header: value.isoformat() if isinstance(value, datetime) else value
            for header, value in zip(headers, row, strict=True)
        }
        file.write(json.dumps(cells) + "\n")

    return write
