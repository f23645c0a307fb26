"""The map on a version's page: some customers on two axes, by the segment they are in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.utils.safestring import SafeString

from access.figures import NONE, figure, share
from access.staff import Table
from ml.clusterers import NOISE, FloatArray, IntArray
from ml.features import Kind
from ml.segment_map import AxisPart, Plane, axis_parts, cluster_centres, fit_plane
from modelregistry.artifacts import TrainedModel
from segments.customer_sample import SampledCustomers, sample_customers
from segments.description_page import segment_link
from segments.models import VersionSegment

MAX_CUSTOMERS = 1_000
WIDTH, HEIGHT, MARGIN = 640, 420, 16
N_COLOURS = 8
SHAPES = {
    "circle": "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0",
    "triangle": "m0-3.8l3.6 6.4h-7.2z",
    "square": "m-2.7-2.7h5.4v5.4h-5.4z",
    "diamond": "m0-4l3.4 4l-3.4 4l-3.4-4z",
    "triangle down": "m0 3.8l3.6-6.4h-7.2z",
    "plus": "m-1.1-3.6h2.2v2.5h2.5v2.2h-2.5v2.5h-2.2v-2.5h-2.5v-2.2h2.5z",
    "bar": "m-4-1.3h8v2.6h-8z",
}
"""Drawn from a point; seven of them and eight colours tell 56 segments apart."""
NOISE_SHAPE = "m-2.4-2.4l4.8 4.8m0-4.8l-4.8 4.8"
INNER = (0.5, 99.5)
"""Percentiles of the customers that the map is scaled to; who lies beyond is drawn on its edge."""
N_PARTS = 3
MAX_NAMED = 10
"""Segments whose names are written into the map; of more only the numbers."""
MAX_NAME = 26
LINE_HEIGHT, LETTER_WIDTH, TO_NAME = 17, 7, 14
"""Units of a name's line, of a letter at the most, and from a centre to its name."""
PLANE_WORDS = (
    "The axes are the two directions in which the centres of the segments differ most, after "
    "Dhillon, Modha and Spangler (2002)."
)
WARNING = "Customers who are close together here may be far apart in other features."


@dataclass(frozen=True, slots=True)
class MapSegment:
    """One segment on the map: its points as one path, its centre, and how the legend shows it."""

    number: int
    colour: int
    shape: str
    name: str
    link: SafeString
    path: str
    icon: str
    x: float
    y: float
    label: str
    label_x: float
    label_y: float
    anchor: str
    across: str
    up: str
    n_shown: int


@dataclass(frozen=True, slots=True)
class SegmentMap:
    """`noise` is the path of who is in no segment; `words` say what is shown and left out."""

    segments: list[MapSegment]
    noise: str
    n_noise: int
    width: int
    height: int
    words: list[str]
    axes: Table
    places: Table
    summary: str


@dataclass(frozen=True, slots=True)
class _Frame:
    """From places on the plane to places in the picture, with one unit for both directions."""

    middle: FloatArray
    scale: float

    @classmethod
    def around(cls, places: FloatArray, centres: FloatArray) -> _Frame:
        inner = np.percentile(places, INNER, axis=0) if len(places) else np.zeros((0, 2))
        shown = np.vstack([inner, centres])
        low, high = shown.min(axis=0), shown.max(axis=0)
        room = np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN], dtype=np.float64)
        spread = high - low
        fits = room[spread > 0] / spread[spread > 0]
        return cls((low + high) / 2, float(fits.min()) if len(fits) else 1.0)

    def drawn(self, places: FloatArray) -> FloatArray:
        """In units of the picture, whose second direction points down."""
        moved = (places - self.middle) * self.scale * np.array([1.0, -1.0])
        moved += np.array([WIDTH / 2, HEIGHT / 2])
        edges = np.array([WIDTH - MARGIN / 2, HEIGHT - MARGIN / 2])
        return np.clip(moved, MARGIN / 2, edges)

    def n_beyond(self, places: FloatArray) -> int:
        reach = np.array([WIDTH, HEIGHT]) / 2 - MARGIN / 2
        beyond = np.abs(places - self.middle) * self.scale > reach
        return int(beyond.any(axis=1).sum())


def segment_map(
    model: TrainedModel, rows: Sequence[VersionSegment], *, with_customers: bool, with_links: bool
) -> SegmentMap | None:
    """The map of a version; None where it has neither segments nor customers to show.

    `rows` are all segments of the version with their `segment` loaded. Two queries find the
    customers; who may not see customers gets the centres alone.
    """
    sample = sample_customers(MAX_CUSTOMERS) if with_customers else SampledCustomers([], [], False)
    raw = model.encoder.raw_from_records(sample.records, strict=False)
    complete = ~model.encoder.missing_required(raw)
    X = model.encoder.encode(raw)[complete]
    labels = model.clusters.predict(X).labels
    by_cluster = {row.cluster: row for row in rows}
    centres = cluster_centres(model.clusters)
    weights = [by_cluster[c].n_customers if c in by_cluster else 0 for c in range(len(centres))]
    if not len(centres) and not len(X):
        return None
    plane = fit_plane(centres, np.array(weights, dtype=np.float64), X)
    places, middles = plane.place(X), plane.place(centres)
    frame = _Frame.around(places, middles)
    drawn, marks = frame.drawn(places), frame.drawn(middles)
    segments = _segments(by_cluster, drawn, labels, marks, middles, with_links=with_links)
    is_noise = labels == NOISE
    return SegmentMap(
        segments=segments,
        noise=_path(drawn[is_noise], NOISE_SHAPE),
        n_noise=int(is_noise.sum()),
        width=WIDTH,
        height=HEIGHT,
        words=[
            _sample_words(
                sample,
                int((~complete).sum()),
                frame.n_beyond(places),
                with_customers=with_customers,
            ),
            _plane_words(plane, len(centres), has_customers=bool(len(X))),
            WARNING,
        ],
        axes=_axes_table(model, plane),
        places=_places_table(segments, int(is_noise.sum())),
        summary=f"Map of {len(segments)} segments and {len(X):,} customers; the tables below have "
        "the figures",
    )


def _segments(
    by_cluster: dict[int, VersionSegment],
    drawn: FloatArray,
    labels: IntArray,
    marks: FloatArray,
    middles: FloatArray,
    *,
    with_links: bool,
) -> list[MapSegment]:
    shapes = list(SHAPES)
    known = [cluster for cluster in sorted(by_cluster) if cluster < len(marks)]
    heights = _label_heights(marks[known])
    found = []
    for place, cluster in enumerate(known):
        segment = by_cluster[cluster].segment
        shape = shapes[place % len(shapes)]
        members = labels == cluster
        x, y = marks[cluster].round(1).tolist()
        label = _short(segment.name) if len(known) <= MAX_NAMED else ""
        is_before = _is_name_before(x, label)
        found.append(
            MapSegment(
                number=place + 1,
                colour=place % N_COLOURS + 1,
                shape=shape,
                name=segment.name,
                link=segment_link(segment, with_link=with_links),
                path=_path(drawn[members], SHAPES[shape]),
                icon=f"M8 8{SHAPES[shape]}",
                x=x,
                y=y,
                label=label,
                label_x=x - TO_NAME if is_before else x + TO_NAME,
                label_y=heights[place],
                anchor="end" if is_before else "start",
                across=f"{middles[cluster, 0]:.2f}",
                up=f"{middles[cluster, 1]:.2f}",
                n_shown=int(members.sum()),
            )
        )
    return found


def _is_name_before(x: float, label: str) -> bool:
    """Away from the middle, where the other centres are, unless the name would not fit there."""
    wide = TO_NAME + LETTER_WIDTH * len(label)
    return x >= wide if x <= WIDTH / 2 else x + wide > WIDTH


def _label_heights(marks: FloatArray) -> list[float]:
    """Where the names stand: beside their centres, and never on top of each other."""
    heights = [0.0] * len(marks)
    last = -LINE_HEIGHT * 1.0
    for place in np.argsort(marks[:, 1], kind="stable").tolist():
        last = max(float(marks[place, 1]) + 4, last + LINE_HEIGHT)
        heights[place] = round(last, 1)
    return heights


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1].rstrip(' ,')}…"


def _path(points: FloatArray, shape: str) -> str:
    """One path for all points, which a browser draws far faster than as many elements."""
    return "".join(f"M{x:.1f} {y:.1f}{shape}" for x, y in points.tolist())


def _sample_words(
    sample: SampledCustomers, n_incomplete: int, n_beyond: int, *, with_customers: bool
) -> str:
    if not with_customers:
        return "The centres of the segments alone: customers are shown to who may see customers."
    n_shown = len(sample.ids) - n_incomplete
    if sample.are_all:
        words = f"All {n_shown:,} stored customers"
    else:
        words = f"{n_shown:,} stored customers, drawn at random"
    words += ", each as stored now and in the segment that this version gives them."
    if n_incomplete == 1:
        words += " 1 more lacks values that the version needs and is not shown."
    elif n_incomplete:
        words += f" {n_incomplete:,} more lack values that the version needs and are not shown."
    if n_beyond == 1:
        words += " 1 lies beyond the map and is drawn on its edge."
    elif n_beyond:
        words += f" {n_beyond:,} lie beyond the map and are drawn on its edge."
    return words


def _plane_words(plane: Plane, n_centres: int, *, has_customers: bool) -> str:
    if n_centres < 2:
        words = "The axes are the directions in which the customers differ most."
    elif n_centres == 2:
        words = (
            "The first axis leads from one centre to the other; the second is the direction in "
            "which the customers differ most beside it."
        )
    else:
        between = float(plane.between_shares.sum())
        words = f"{PLANE_WORDS} They show {between:.0%} of what tells the centres apart."
    if has_customers:
        total = float(plane.total_shares.sum())
        words += f" Of all that tells customers apart the map shows {total:.0%}."
    return words


def _axes_table(model: TrainedModel, plane: Plane) -> Table:
    rows = []
    for place, (name, axis) in enumerate(
        zip(("Across, to the right", "Up"), plane.axes, strict=True)
    ):
        parts = axis_parts(model.encoder.schema, axis)
        made_of = ", ".join(map(_part_words, parts[:N_PARTS]))
        if len(parts) > N_PARTS:
            made_of += f", {len(parts) - N_PARTS} more with smaller parts"
        rows.append(
            (
                name,
                made_of or "nothing: there is no further direction",
                share(float(plane.between_shares[place])),
                share(float(plane.total_shares[place])),
            )
        )
    headers = ["Axis", "What it is made of", "Of the centres' differences", "Of the customers'"]
    return Table(headers, rows, numbers_from=2)


def _part_words(part: AxisPart) -> str:
    if part.kind is Kind.DATE:
        words = "later" if part.is_more else "earlier"
    else:
        words = "more" if part.is_more else "less"
    if part.kind is Kind.CATEGORY:
        words = "more often" if part.is_more else "less often"
    return f"{words} {part.column} ({part.share:.0%})"


def _places_table(segments: Sequence[MapSegment], n_noise: int) -> Table:
    rows: list[tuple[object, ...]] = [
        (each.number, each.link, each.shape, figure(each.n_shown), each.across, each.up)
        for each in segments
    ]
    if n_noise:
        rows.append((NONE, "Noise", "cross", figure(n_noise), NONE, NONE))
    return Table(
        ["No.", "Segment", "Shape", "Customers shown", "Centre across", "Centre up"],
        rows,
        numbers_from=3,
    )
