"""How well one version does over time: its quality against training, and how it serves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from access.charts import MUTED, Chart, band, line, lines, stacked
from access.figures import NONE, figure, share
from access.staff import Table
from modelregistry.models import ModelVersion
from monitoring.models import QualityPoint
from segments.models import Segment, VersionSegment

MAX_POINTS = 120
"""Points in the charts, the latest; the others are counted."""
N_ROWS = 30
MAX_SEGMENTS = 8
"""Segments with a colour of their own; the smaller ones are drawn together."""
STYLES = {"ok": "good", "warning": "warn", "alarm": "bad"}
STANDARD_ERRORS = 2


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of the series, how it is called, and how to read it.

    `is_comparable`: whether it says anything beside that of another number of customers.
    """

    name: str
    title: str
    note: str
    is_share: bool = False
    is_comparable: bool = True


SILHOUETTE = Measure("silhouette", "Silhouette", "From -1 to 1, higher is better.")
MEASURES = (
    Measure("davies_bouldin", "Davies–Bouldin", "Lower is better."),
    Measure(
        "calinski_harabasz",
        "Calinski–Harabasz",
        "Grows with the number of customers: compare only checks of the same size.",
        is_comparable=False,
    ),
    Measure(
        "inertia_per_customer",
        "Inertia per customer",
        "Mean squared distance to the centre of the segment; lower is tighter.",
    ),
    Measure("noise_share", "Noise", "Share of customers without a segment.", is_share=True),
    Measure("stability", "Stability", "Mean adjusted Rand index with refits; 1 is the same again."),
)


def context(version: ModelVersion) -> dict[str, Any]:
    newest = list(version.quality.order_by("-measured_at", "-id")[: MAX_POINTS + 1])
    points = newest[:MAX_POINTS][::-1]
    latest = points[-1] if points else None
    return {
        "title": f"Quality of {version}",
        "version": version,
        "latest": latest,
        "style": STYLES.get(latest.level, "info") if latest else "",
        "tiles": tiles(version, latest) if latest else [],
        "charts": charts(version, points),
        "shares": shares_of(version, points),
        "table": points_table(newest[:N_ROWS]),
        "older": points_table(newest[N_ROWS:MAX_POINTS]) if len(newest) > N_ROWS else None,
        "n_more": version.quality.count() - min(len(newest), MAX_POINTS),
    }


def tiles(version: ModelVersion, point: QualityPoint) -> list[tuple[str, str, str]]:
    """Each figure as last measured, and what it was at training."""
    shown = [("Customers", figure(point.n_customers), f"on {_day(point)}")]
    for measure in (SILHOUETTE, *MEASURES):
        write = share if measure.is_share else figure
        before = _trained(measure, version)
        words = measure.note if before is None else f"{write(before)} at training"
        shown.append((measure.title, write(getattr(point, measure.name)), words))
    return shown


def charts(version: ModelVersion, points: Sequence[QualityPoint]) -> list[Chart]:
    """One chart a figure that was measured at all."""
    if not points:
        return []
    drawn = [_silhouette_chart(version, points)]
    drawn += [_chart(measure, version, points) for measure in MEASURES]
    return [chart for chart in drawn if chart is not None]


def _silhouette_chart(version: ModelVersion, points: Sequence[QualityPoint]) -> Chart | None:
    def edge(sign: int) -> list[float | None]:
        return [
            None
            if point.silhouette is None or point.silhouette_se is None
            else point.silhouette + sign * STANDARD_ERRORS * point.silhouette_se
            for point in points
        ]

    names = (f"{STANDARD_ERRORS} standard errors below", f"{STANDARD_ERRORS} above")
    return _chart(SILHOUETTE, version, points, under=band(names, edge(-1), edge(1)))


def _chart(
    measure: Measure,
    version: ModelVersion,
    points: Sequence[QualityPoint],
    *,
    under: Sequence[dict[str, Any]] = (),
) -> Chart | None:
    scale = 100 if measure.is_share else 1
    values = [_scaled(getattr(point, measure.name), scale) for point in points]
    if all(value is None for value in values):
        return None
    datasets = [line(measure.title, values)]
    trained = _scaled(_trained(measure, version), scale)
    if trained is not None:
        at_training = [trained] * len(points)
        datasets.append(line("at training", at_training, colour=MUTED, with_points=False))
    legend = "Dashed: at training." if trained is not None else ""
    shaded = f" Shaded: {STANDARD_ERRORS} standard errors." if under else ""
    return lines(
        [_day(point) for point in points],
        [*datasets, *under],
        has_legend=False,
        title=measure.title,
        note=f"{measure.note} {legend}{shaded}",
        unit="%" if measure.is_share else "",
        words=f"{measure.title} of {version} over time; the table below has the figures",
    )


def _trained(measure: Measure, version: ModelVersion) -> float | None:
    """What it was at training, where that can be compared."""
    value: float | None = version.metrics.get(measure.name) if measure.is_comparable else None
    return value


def _scaled(value: float | None, scale: int) -> float | None:
    return None if value is None else round(scale * value, 4)


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the segments over time, drawn and in figures."""

    chart: Chart
    table: Table


def shares_of(version: ModelVersion, points: Sequence[QualityPoint]) -> Shares | None:
    """Share of each segment at training and at each check, the largest first."""
    points = [point for point in points if point.shares]
    if not points:
        return None
    trained = {
        str(row.segment_id): row.share for row in VersionSegment.objects.filter(version=version)
    }
    columns = [trained, *({str(k): v for k, v in point.shares.items()} for point in points)]
    ids = _largest(columns)
    names = _names(ids[:MAX_SEGMENTS])
    series = {
        names[name]: [_percent(column.get(name, 0.0)) for column in columns]
        for name in ids[:MAX_SEGMENTS]
    }
    if others := ids[MAX_SEGMENTS:]:
        series[f"{len(others)} smaller ones"] = [
            _percent(sum(column.get(name, 0.0) for name in others)) for column in columns
        ]
    labels = ["training", *(_day(point) for point in points)]
    chart = stacked(
        labels,
        series,
        title="Shares of the segments",
        unit="% of customers",
        words=f"Share of customers in each segment of {version} over time; the table below has the "
        "figures",
    )
    rows = [
        (label, *(f"{values[place]:.1f} %" for values in series.values()))
        for place, label in enumerate(labels)
    ]
    return Shares(chart, Table(["When", *series], rows[::-1], numbers_from=1))


def _largest(columns: Sequence[dict[str, float]]) -> list[str]:
    everywhere = {name for column in columns for name in column}
    return sorted(everywhere, key=lambda name: -sum(c.get(name, 0.0) for c in columns))


def _names(ids: Iterable[str]) -> dict[str, str]:
    """The name of each segment by its id as text; told apart where two have the same."""
    known = Segment.objects.in_bulk([int(name) for name in ids if name.isdecimal()])
    named: dict[str, str] = {}
    for name in ids:
        segment = known.get(int(name)) if name.isdecimal() else None
        text = segment.name if segment else "no segment (noise)"
        named[name] = f"{text} ({name})" if text in named.values() else text
    return named


def _percent(value: float) -> float:
    return round(100 * value, 2)


def points_table(points: Sequence[QualityPoint]) -> Table:
    columns: list[tuple[str, Callable[[QualityPoint], str]]] = [
        ("Silhouette", lambda p: _with_error(p.silhouette, p.silhouette_se)),
        ("z", lambda p: NONE if p.silhouette_z is None else f"{p.silhouette_z:+.1f}"),
        ("Davies–Bouldin", lambda p: figure(p.davies_bouldin)),
        ("Calinski–Harabasz", lambda p: figure(p.calinski_harabasz)),
        ("Inertia per customer", lambda p: figure(p.inertia_per_customer)),
        ("Noise", lambda p: share(p.noise_share)),
        ("Stability", lambda p: figure(p.stability)),
        ("Customers", lambda p: figure(p.n_customers)),
    ]
    return Table(
        ["When", "Verdict", *(header for header, _ in columns)],
        [
            (
                f"{point.measured_at:%d %b %Y %H:%M}",
                point.level,
                *(cell(point) for _, cell in columns),
            )
            for point in points
        ],
        numbers_from=2,
        empty="It was not measured yet.",
    )


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"


def _day(point: QualityPoint) -> str:
    return f"{point.measured_at:%d %b %H:%M}"
