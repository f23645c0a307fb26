"""What the versions that serve need of a customer and would not find in a table to import."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from ml.features import Feature, FeatureSchema, Kind
from modelregistry.models import ModelVersion
from segments.import_preview import LOOKED_UP_IDS, Preview, SampleColumn
from segments.table_columns import ColumnKind

MAX_NAMES = 8
"""Features that one sentence names."""
READ_FROM: Mapping[Kind, ColumnKind] = {
    Kind.NUMBER: ColumnKind.NUMBER,
    Kind.BOOLEAN: ColumnKind.BOOLEAN,
    Kind.CATEGORY: ColumnKind.TEXT,
    Kind.DATE: ColumnKind.TEXT,
}
NEEDED_WORDS = {
    Kind.NUMBER: "numbers",
    Kind.BOOLEAN: "true or false",
    Kind.CATEGORY: "text",
    Kind.DATE: "dates",
}
FOUND_WORDS = {
    ColumnKind.NUMBER: "numbers",
    ColumnKind.BOOLEAN: "true or false",
    ColumnKind.TEXT: "text",
}


def needs_words(seen: Preview, versions: Iterable[ModelVersion]) -> list[str]:
    """Sentences on each version that lacks something, as far as the sample tells; no query."""
    if seen.error:
        return []
    return [
        words
        for version in sorted(versions, key=str)
        for words in _lacks(str(version), FeatureSchema.from_dict(version.schema), seen)
    ]


def _lacks(version: str, schema: FeatureSchema, seen: Preview) -> Iterator[str]:
    columns = {column.attribute: column for column in seen.columns}
    absent = [feature for feature in schema.features if feature.name not in columns]
    required = [feature for feature in absent if not feature.imputed]
    if required:
        yield from _absent_words(f"{version} needs", required, seen, "get no segment from it")
    elif absent:
        effect = "get a segment as customers do whose value is missing"
        yield from _absent_words(f"{version} also uses", absent, seen, effect)
    unfit = [
        (feature.imputed, NEEDED_WORDS[feature.kind], found, feature)
        for feature in schema.features
        if feature.name in columns and (found := _unfit(feature, columns[feature.name], seen))
    ]
    unfit.sort(key=lambda each: each[:3])  # stable: within a sentence as the version has them
    for (imputed, needed, found), each in groupby(unfit, key=lambda each: each[:3]):
        names = _listed([feature for *_, feature in each])
        whose = "this file has" if seen.is_whole else "the rows looked at have"
        verb, effect = (
            ("also uses", "these values count as missing")
            if imputed
            else ("needs", "customers of the file get no segment from it")
        )
        yield f"{version} {verb} {names} as {needed}, but {whose} {found} there: {effect}."


def _absent_words(
    begin: str, features: Sequence[Feature], seen: Preview, effect: str
) -> Iterator[str]:
    """Of customers who are stored already the file leaves the values as they are."""
    are_all_looked_up = seen.is_whole and seen.n_ids < LOOKED_UP_IDS
    if are_all_looked_up and seen.n_known == seen.n_ids:
        return
    is_new = are_all_looked_up and not seen.n_known
    words = f"{begin} {_listed(features)}, which this file does not have: "
    yield words + (
        f"its customers {effect}."
        if is_new
        else f"new customers {effect}; known ones keep what is stored of them."
    )


def _unfit(feature: Feature, column: SampleColumn, seen: Preview) -> str:
    """What the column holds that the version cannot read; empty where it can, or nobody knows."""
    if column.missing_share == 1.0:
        return "no values" if seen.is_whole else ""
    if column.kind is None or column.kind is READ_FROM[feature.kind]:
        return ""
    return FOUND_WORDS[column.kind]


def _listed(features: Sequence[Feature]) -> str:
    names = [feature.name for feature in features]
    n_more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {n_more} more" if n_more > 0 else "")
