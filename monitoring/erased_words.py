"""Levels and names of erased customers alone, in reports, alerts and messages that are kept.

In a report a level has the name that the version's artifact has for it by now, so that the report
can still be made again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape, unescape
from typing import Any, TypeAlias

from django.db.models import Model, Q

from ml.share_tables import MAX_LEVEL_CHARACTERS
from modelregistry.models import ModelType
from monitoring.digest import MAX_LABEL
from monitoring.drift_alert_wording import MAX_NAME
from monitoring.models import Alert, Channel, DriftReport, Notification
from segments.erasure_words import Words
from segments.models import Segment

Levels: TypeAlias = Mapping[str, Mapping[str, str]]
"""By feature, levels with their new names."""
Rename: TypeAlias = Callable[[str], str]

TEXT_OF_HTML = re.compile(r">[^<]+<")
ALERT_TEXTS = ("title", "summary", "advice", "subjects", "facts", "chart", "resolution")


def forget_words(customer_ids: Sequence[str], words: Words) -> int:
    """Rename the words in all that is kept, before the segments themselves are renamed; returns
    the number of rows changed. In the caller's transaction."""
    if not (words.levels or words.names):
        return 0
    names = {each: _segment_names(words, model_type=each) for each in ModelType.values}
    types = Segment.objects.filter(pk__in=list(words.names)).values_list("model_type", flat=True)
    theirs = Q(version__in=list(words.levels)) | Q(model_type__in=set(types))
    n_changed = 0
    for key in list(DriftReport.objects.filter(theirs).values_list("pk", flat=True)):
        report = DriftReport.objects.get(pk=key)
        levels = words.levels.get(report.version_id, {})
        rename = names[report.model_type]
        n_changed += _saved(
            report,
            report=_in_report(report.report, levels, rename),
            arguments=_everywhere(report.arguments, rename),
            summary=rename(_quoted(report.summary, levels)),
        )
    alerts = Alert.objects.filter(theirs, model_type__in=names)
    told = Notification.objects.filter(alerts__in=alerts).distinct()
    for message in told:
        for model_type, version in message.alerts.values_list("model_type", "version").distinct():
            if model_type in names:
                rename = _in_prose(words.levels.get(version, {}), names[model_type])
                n_changed += _saved(message, **_of_message(message, rename))
    for alert in alerts:
        levels = words.levels.get(alert.version_id or 0, {})
        n_changed += _saved(alert, **_of_alert(alert, levels, names[alert.model_type]))
    return n_changed


def _saved(row: Model, **fields: Any) -> bool:
    """Save the fields of a row that differ; whether any did."""
    changed = [name for name, value in fields.items() if value != getattr(row, name)]
    for name in changed:
        setattr(row, name, fields[name])
    if changed:
        row.save(update_fields=changed)
    return bool(changed)


def _in_report(data: Any, levels: Levels, names: Rename, *, feature: str = "") -> Any:
    """A label of a feature's own level, and levels in quotes and names of segments anywhere."""
    if isinstance(data, Mapping):
        named = data.get("feature")
        own = named if isinstance(named, str) else feature
        return {key: _in_report(value, levels, names, feature=own) for key, value in data.items()}
    if isinstance(data, list):
        return [_in_report(value, levels, names, feature=feature) for value in data]
    if isinstance(data, str):
        return names(_quoted(_label(data, levels.get(feature, {})), levels))
    return data


def _label(label: str, renamed: Mapping[str, str]) -> str:
    for old, new in renamed.items():
        if label == old[:MAX_LEVEL_CHARACTERS]:
            return new
    return label


def _quoted(sentence: str, levels: Levels) -> str:
    for renamed in levels.values():
        for old, new in renamed.items():
            sentence = sentence.replace(repr(old), repr(new))
    return sentence


def _everywhere(data: Any, rename: Rename) -> Any:
    """JSON with each text renamed; keys stay."""
    if isinstance(data, Mapping):
        return {key: _everywhere(value, rename) for key, value in data.items()}
    if isinstance(data, list):
        return [_everywhere(value, rename) for value in data]
    return rename(data) if isinstance(data, str) else data


def _of_alert(alert: Alert, levels: Levels, names: Rename) -> dict[str, Any]:
    def rename(text: str) -> str:
        return names(_quoted(text, levels))

    fields = {name: _everywhere(getattr(alert, name), rename) for name in ALERT_TEXTS}
    if "labels" in fields["chart"]:
        renamed = {old: new for each in levels.values() for old, new in each.items()}
        fields["chart"]["labels"] = [_label(each, renamed) for each in fields["chart"]["labels"]]
    return fields


def _of_message(message: Notification, rename: Rename) -> dict[str, Any]:
    fields = {"subject": rename(message.subject)}
    if message.channel == Channel.WEBHOOK:
        content = json.loads(message.text)
        renamed = _everywhere(content, rename)
        return fields | ({"text": json.dumps(renamed)} if renamed != content else {})
    return fields | {
        "text": rename(message.text),
        "html": TEXT_OF_HTML.sub(lambda found: _in_html(found[0], rename), message.html),
    }


def _in_html(node: str, rename: Rename) -> str:
    text = unescape(node[1:-1])
    renamed = rename(text)
    return node if renamed == text else f">{escape(renamed)}<"


def _segment_names(words: Words, *, model_type: str) -> Rename:
    """Other names are matched too: one may begin like a name that goes."""
    renamed = {}
    for segment in Segment.objects.filter(model_type=model_type):
        renamed[segment.name] = words.names.get(segment.pk, segment.name)
    is_any = any(old != new for old, new in renamed.items())
    return _renaming(renamed) if is_any else str


def _in_prose(levels: Levels, names: Rename) -> Rename:
    """Levels as whole words, quoted or not, and names of segments."""
    renamed = {old: new for each in levels.values() for old, new in each.items()}
    rename = _renaming(renamed) if renamed else str
    return lambda text: rename(names(text))


def _renaming(renamed: Mapping[str, str]) -> Rename:
    """Replace texts as whole words, across the ends of lines and where they were shortened."""
    forms: dict[str, str] = {}
    for old, new in renamed.items():
        for n in (MAX_NAME, MAX_LEVEL_CHARACTERS, MAX_LABEL):
            if len(old) > n:
                forms |= {f"{old[: n - 1]}…": new, old[:n]: new}
        forms[" ".join(old.split())] = new
    longest_first = sorted((form for form in forms if form), key=len, reverse=True)
    either = "|".join(r"\s+".join(map(re.escape, form.split(" "))) for form in longest_first)
    pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)")
    return lambda text: pattern.sub(lambda found: forms[" ".join(found[0].split())], text)
