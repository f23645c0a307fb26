"""The figures of a version with how to read each: a word where a source gives one, else beside
another version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from access.figures import figure, share
from modelregistry.choice_page import evidence_of
from modelregistry.models import ModelVersion
from segments.description_page import FIRM, SHAKY
from segments.models import VersionSegment

METRICS = {
    "silhouette": ("Silhouette", "from -1 to 1, higher is better"),
    "n_clusters": ("Clusters", ""),
    "noise_share": ("Noise", "customers without a segment"),
    "davies_bouldin": ("Davies–Bouldin", "lower is better"),
    "calinski_harabasz": ("Calinski–Harabasz", "never compare two table sizes"),
    "inertia_per_customer": ("Inertia per customer", "mean squared distance to the centre"),
    "stability": ("Stability", "agreement with refits on bootstraps; 1 is the same again"),
}
SHARES = {"noise_share"}
HIGHER_IS_BETTER = {
    "silhouette": True,
    "stability": True,
    "noise_share": False,
    "davies_bouldin": False,
}
"""What can be held against another version; the others depend on the size of the table."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a figure means: a label, its look, and a few words."""

    label: str
    style: str
    words: str


@dataclass(frozen=True, slots=True)
class Tile:
    """`reading` is None where nobody's bands say what is good; `beside` compares, or is empty."""

    title: str
    figure: str
    words: str
    reading: Reading | None = None
    beside: str = ""


SILHOUETTES = (
    (0.70, Reading("far apart", "good", "a strong structure")),
    (0.50, Reading("apart", "good", "a reasonable structure")),
    (0.25, Reading("overlap", "warn", "a weak structure, which may be artificial")),
    (-2.0, Reading("much overlap", "warn", "no substantial structure by this figure alone")),
)
"""Above each value; Kaufman and Rousseeuw (1990), Finding Groups in Data, chapter 2, who call the
bands subjective. With many features the figure is low even where the groups are real."""
STABILITIES = (
    (0.90, Reading("excellent", "good", "refits find nearly the same segments")),
    (0.80, Reading("good", "good", "refits find much the same segments")),
    (0.65, Reading("moderate", "warn", "refits agree on the core of the segments")),
    (-2.0, Reading("poor", "bad", "refits find other segments")),
)
"""From each value on, of an adjusted Rand index: Steinley (2004), Properties of the Hubert-Arabie
adjusted Rand index."""


def tiles(
    version: ModelVersion,
    rows: Sequence[VersionSegment],
    other: ModelVersion | None,
    *,
    noise_limit: float | None,
) -> list[Tile]:
    """A tile for each metric that was measured in its release, held against `other` if any.

    `noise_limit` (0-1) is the gate's; None when it is off.
    """
    found = [Tile("Customers", figure(version.n_customers), fitted_words(version))]
    if evidence := evidence_of(version):
        words = "that there are segments, beside invented customers without any"
        found.append(Tile("Evidence", evidence.label.partition(" ")[0], words))
    for name, (title, words) in METRICS.items():
        if name in version.metrics:
            value = version.metrics[name]
            found.append(
                Tile(
                    title,
                    shown(name, value),
                    words,
                    _reading(name, value, noise_limit=noise_limit),
                    _beside(name, version, other),
                )
            )
    found.extend(_firmness(rows))
    return found


def shown(name: str, value: float | None) -> str:
    return share(value) if name in SHARES else figure(value)


def fitted_words(version: ModelVersion) -> str:
    if version.n_fitted is None:
        return "it was trained on"
    return f"a sample of {figure(version.n_fitted)} was fitted, the others were predicted"


def _reading(name: str, value: float | None, *, noise_limit: float | None) -> Reading | None:
    if value is None:
        return None
    if name == "silhouette":
        return next(reading for least, reading in SILHOUETTES if value > least)
    if name == "stability":
        return next(reading for least, reading in STABILITIES if value >= least)
    if name == "noise_share" and noise_limit is not None and value:
        if value > noise_limit:
            return Reading("too much", "bad", f"the gate lets {share(noise_limit)} pass")
        return Reading("within limit", "good", f"the gate lets {share(noise_limit)} pass")
    return None


def _beside(name: str, version: ModelVersion, other: ModelVersion | None) -> str:
    if other is None or name not in HIGHER_IS_BETTER:
        return ""
    own, others = version.metrics.get(name), other.metrics.get(name)
    if own is None or others is None:
        return ""
    text = shown(name, others)
    if text == shown(name, own):
        return f"as {other}"
    is_better = (own > others) == HIGHER_IS_BETTER[name]
    return f"{'better' if is_better else 'worse'} than {other}: {text}"


def _firmness(rows: Sequence[VersionSegment]) -> Iterator[Tile]:
    known = [row.stability for row in rows if row.stability is not None]
    if not known:
        return
    n_firm = sum(stability >= FIRM for stability in known)
    n_shaky = sum(stability < SHAKY for stability in known)
    if n_shaky:
        reading = Reading(f"{n_shaky} shaky", "bad", f"stability below {SHAKY}")
    elif n_firm < len(known):
        reading = Reading(f"{len(known) - n_firm} soft", "warn", f"stability below {FIRM}")
    else:
        reading = Reading("all firm", "good", f"stability from {FIRM} on")
    yield Tile("Firm segments", f"{n_firm} of {len(known)}", "found again by refits", reading)


def metric_of(version: ModelVersion, name: str) -> str:
    metrics: Mapping[str, float | None] = version.metrics
    return shown(name, metrics.get(name))
