"""A rule a person can read for each cluster: a few bounds on raw columns, honest about its fit.

Words: a *rule* is one or two alternatives of conditions (`ml.rule_conditions`); precision and
recall come from customers the rule did not see.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.features import Feature, FeatureSchema, FloatArray, Kind, RawColumns
from ml.rule_bounds import range_condition, shortened, with_round_bounds
from ml.rule_conditions import (
    MISSING,
    OTHER,
    Alternative,
    BoolArray,
    Condition,
    IntArray,
    LevelCondition,
    f1,
    fill_of,
    level_tokens,
    match,
    tokens_of,
)
from ml.rule_words import NO_SHORT_RULE, level_words, rule_words

# Depth, leaf share and class weights are those with which rules were measured on nine customer
# tables: mean precision on unseen customers .87 for four segments.
MAX_DEPTH = 3
MIN_LEAF_SHARE = 0.01  # of the customers the tree sees
MIN_LEAF_CUSTOMERS = 5  # fewer say nothing; a judgement
MAX_ALTERNATIVES = 2
MIN_F1_GAIN = 0.02  # what a second alternative must add; below it the longer text is not worth it
MIN_PRECISION = 0.7  # a rule that is wrong more often is not shown
SEEN_SHARE = 0.7  # of the sampled customers of each cluster; the others judge the rule
DEFAULT_MAX_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class SegmentRule:
    """What tells the customers of one cluster from all others.

    Attributes
    ----------
    cluster : int
    text : str
        The rule in words, or `NO_SHORT_RULE`.
    conditions : tuple of tuples of conditions
        One or two alternatives, also of a rule too weak to be shown; none if none was found.
    precision, recall : float in 0-1
        Share of the matched that belong to the cluster, and of the cluster that are matched, among
        the unseen customers; 0 when there are none.
    coverage : float in 0-1
        Share of the unseen customers that the rule matches.
    is_short : bool
        Whether the rule is good enough to show.
    """

    cluster: int
    text: str
    conditions: tuple[Alternative, ...]
    precision: float
    recall: float
    coverage: float
    is_short: bool

    def matches(self, raw: Mapping[str, FloatArray]) -> BoolArray:
        """Find the customers that the rule describes, bool (n,), from raw columns."""
        return match(self.conditions, raw)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def describe_rules(
    schema: FeatureSchema,
    raw: RawColumns,
    labels: IntArray,
    *,
    random_state: int,
    max_rows: int = DEFAULT_MAX_ROWS,
) -> list[SegmentRule]:
    """Find a rule for each cluster with a shallow tree, one cluster against all other customers.

    Missing values are read as the model reads them: the training median of a number or date, a
    level of its own for a category. Noise is among the others and has no rule.

    Parameters
    ----------
    schema : FeatureSchema
    raw : mapping of feature name to float64 (n,), in raw units
    labels : int64 array (n,)
        Cluster of each row; -1 is noise.
    random_state : int
        Seed of the sample, of its two parts, and of the trees' tie-breaks.
    max_rows : int
        Customers looked at, at most.

    Returns
    -------
    One rule a cluster, in the order of the labels. A cluster too small for a rule has one that
    matches nobody, with `is_short` false.

    Raises
    ------
    ValueError
        If a feature has no raw column, or one of another length than the labels.

    Source
    ------
    Surrogate trees one against the rest, Craven and Shavlik (1996), with the limits above.
    """
    _check_columns(schema, raw, labels)
    seen, unseen = split_rows(labels, random_state=random_state, max_rows=max_rows)
    table = _Table(schema, _rows_of(schema, raw, seen), labels[seen])
    others = _rows_of(schema, raw, unseen)
    return [
        _judged(cluster, _find(table, cluster, random_state), others, labels[unseen] == cluster)
        for cluster in np.unique(labels[labels >= 0]).tolist()
    ]


def split_rows(
    labels: IntArray, *, random_state: int, max_rows: int = DEFAULT_MAX_ROWS
) -> tuple[IntArray, IntArray]:
    """Draw the rows a rule is fitted on and those it is judged on.

    Returns
    -------
    seen, unseen : int64 arrays
        Disjoint row numbers, ascending; together all rows, or a random `max_rows` of them. Of each
        cluster `SEEN_SHARE` is seen, so that a small one is in both parts.
    """
    if max_rows < 2:
        raise ValueError(f"max_rows: expected 2 or more, found {max_rows}")
    order = np.random.default_rng(random_state).permutation(len(labels))[:max_rows]
    grouped = order[np.argsort(labels[order], kind="stable")]
    _, starts, counts = np.unique(labels[grouped], return_index=True, return_counts=True)
    ranks = np.arange(len(grouped)) - np.repeat(starts, counts)
    is_seen = ranks < np.repeat(np.ceil(SEEN_SHARE * counts), counts)
    return np.sort(grouped[is_seen]), np.sort(grouped[~is_seen])


# From raw columns to columns a tree can split.


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of the tree's table: a whole feature, or the indicator of one level token.

    `steps` are the distinct values, ascending; the tree sees each value's place among them.
    """

    feature: Feature
    token: int | None
    steps: FloatArray


class _Table:
    """The seen customers as a tree sees them.

    Trees of scikit-learn hold float32: places among the distinct values stay exact where raw
    amounts would not, and no split depends on anything but their order.
    """

    def __init__(self, schema: FeatureSchema, raw: RawColumns, labels: IntArray) -> None:
        self.schema, self.raw, self.labels = schema, raw, labels
        self.columns: list[_Column] = []
        places: list[NDArray[np.float32]] = []
        for feature in schema.features:
            for token, values in _split_columns(feature, raw[feature.name]):
                steps, inverse = np.unique(values, return_inverse=True)
                self.columns.append(_Column(feature, token, steps))
                places.append(inverse.astype(np.float32))
        self.places = np.column_stack(places)


def _split_columns(feature: Feature, values: FloatArray) -> list[tuple[int | None, FloatArray]]:
    if feature.kind is not Kind.CATEGORY:
        return [(None, np.where(np.isnan(values), fill_of(feature), values))]
    tokens = level_tokens(values, len(feature.levels))
    return [(token, (tokens == token).astype(np.float64)) for token in tokens_of(feature)]


def _check_columns(schema: FeatureSchema, raw: RawColumns, labels: IntArray) -> None:
    for feature in schema.features:
        if feature.name not in raw:
            raise ValueError(f"feature {feature.name!r} has no raw column")
        if raw[feature.name].shape != labels.shape:
            raise ValueError(
                f"feature {feature.name!r}: expected {labels.shape} values as there are labels, "
                f"found {raw[feature.name].shape}"
            )


def _rows_of(schema: FeatureSchema, raw: RawColumns, rows: IntArray) -> RawColumns:
    return {feature.name: raw[feature.name][rows] for feature in schema.features}


# From a tree to conditions.


@dataclass(frozen=True, slots=True)
class _Step:
    """One turn on the way down a tree: above or at most a threshold of one column."""

    column: int
    threshold: float  # in places
    goes_right: bool


_Path: TypeAlias = tuple[_Step, ...]


def _find(table: _Table, cluster: int, random_state: int) -> tuple[Alternative, ...] | None:
    """The alternatives for one cluster; None if there are too few customers to learn from."""
    members = table.labels == cluster
    if members.all() and len(members):
        return ((),)
    if members.sum() < MIN_LEAF_CUSTOMERS:
        return None
    nodes = _grow(table, members, random_state)
    found = tuple(_conditions(table, path) for path in _choose(nodes, members))
    if not found:
        return None
    short = shortened(found, table.raw, members)
    return with_round_bounds(short, table.schema, table.raw, members)


def _grow(table: _Table, members: BoolArray, random_state: int) -> list[tuple[_Path, BoolArray]]:
    """Fit the tree; each node below the root with its path and the rows in it.

    Inner nodes stand beside leaves: one is what its leaves are when they are merged.
    """
    from sklearn.tree import DecisionTreeClassifier  # scikit-learn: never in a web process

    least = min(math.ceil(MIN_LEAF_SHARE * len(members)), int(members.sum()) // 2)
    tree = DecisionTreeClassifier(
        max_depth=MAX_DEPTH,
        class_weight="balanced",
        min_samples_leaf=max(MIN_LEAF_CUSTOMERS, least),
        random_state=random_state,
    )
    tree.fit(table.places, members)
    fitted = tree.tree_
    nodes: list[tuple[_Path, BoolArray]] = []

    def walk(node: int, path: _Path, inside: BoolArray) -> None:
        if path:
            nodes.append((path, inside))
        if fitted.children_left[node] < 0:  # a leaf
            return
        column, threshold = int(fitted.feature[node]), float(fitted.threshold[node])
        right = table.places[:, column] > threshold
        left_step, right_step = (_Step(column, threshold, goes) for goes in (False, True))
        walk(fitted.children_left[node], (*path, left_step), inside & ~right)
        walk(fitted.children_right[node], (*path, right_step), inside & right)

    walk(0, (), np.full(len(members), True))
    return sorted(nodes, key=lambda node: len(node[0]))  # of equally good ones the shorter


def _choose(nodes: Sequence[tuple[_Path, BoolArray]], members: BoolArray) -> list[_Path]:
    """The node with the best F1, then a second one if the two together are clearly better."""
    chosen: list[_Path] = []
    covered = np.full(len(members), False)
    best = 0.0
    for _ in range(MAX_ALTERNATIVES):
        scores = [f1(covered | inside, members) for _, inside in nodes]
        place = int(np.argmax(scores)) if scores else -1
        if place < 0 or scores[place] < best + MIN_F1_GAIN:
            break
        best = scores[place]
        chosen.append(nodes[place][0])
        covered = covered | nodes[place][1]
    return chosen


def _conditions(table: _Table, path: _Path) -> Alternative:
    """One condition a feature, in the order in which the tree asks for them."""
    turns: dict[str, list[tuple[_Column, _Step]]] = {}
    for step in path:
        column = table.columns[step.column]
        turns.setdefault(column.feature.name, []).append((column, step))
    return tuple(_condition(table.schema, steps) for steps in turns.values())


def _condition(schema: FeatureSchema, turns: Sequence[tuple[_Column, _Step]]) -> Condition:
    feature = turns[0][0].feature
    if feature.kind is Kind.CATEGORY:
        return _level_condition(feature, turns)
    lower = [_raw_threshold(column, step) for column, step in turns if step.goes_right]
    upper = [_raw_threshold(column, step) for column, step in turns if not step.goes_right]
    return range_condition(
        schema, feature, max(lower) if lower else None, min(upper) if upper else None
    )


def _raw_threshold(column: _Column, step: _Step) -> float:
    """The middle between the two neighbouring values; the lower one where all are whole."""
    place = math.floor(step.threshold)
    low, high = float(column.steps[place]), float(column.steps[place + 1])
    if np.all(column.steps == np.floor(column.steps)):
        return float(math.floor((low + high) / 2))
    middle = low + (high - low) / 2
    return middle if middle < high else low


def _level_condition(feature: Feature, turns: Sequence[tuple[_Column, _Step]]) -> LevelCondition:
    allowed = {*range(len(feature.levels)), OTHER, MISSING}
    for column, step in turns:
        token = column.token
        allowed = {t for t in allowed if (t == token) is step.goes_right}
    if not feature.imputed:  # the model reads a missing value as no level at all
        allowed = allowed - {MISSING} | ({MISSING} if OTHER in allowed else set())
    codes = tuple(sorted(token for token in allowed if token >= 0))
    return LevelCondition(
        feature=feature.name,
        kind=feature.kind.value,
        text=level_words(feature, allowed),
        levels=tuple(feature.levels[code] for code in codes),
        codes=codes,
        n_levels=len(feature.levels),
        or_other=OTHER in allowed,
        or_missing=MISSING in allowed,
    )


# Judgement.


def _judged(
    cluster: int,
    alternatives: tuple[Alternative, ...] | None,
    unseen: RawColumns,
    members: BoolArray,
) -> SegmentRule:
    matched = match(alternatives or (), unseen)
    n_hits, n_matched, n_members = (int(x.sum()) for x in (matched & members, matched, members))
    precision = n_hits / n_matched if n_matched else 0.0
    is_short = alternatives is not None and precision >= MIN_PRECISION
    return SegmentRule(
        cluster=cluster,
        text=rule_words(alternatives or ()) if is_short else NO_SHORT_RULE,
        conditions=alternatives or (),
        precision=precision,
        recall=n_hits / n_members if n_members else 0.0,
        coverage=n_matched / len(members) if len(members) else 0.0,
        is_short=is_short,
    )
