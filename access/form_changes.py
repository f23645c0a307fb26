"""What a form of the admin changed, as the trail keeps it: each field before and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from django.contrib.auth.models import Permission
from django.db.models import Model, QuerySet
from django.forms import BaseForm

MAX_TEXT = 200
"""Characters of a value that are kept."""
CHANGED = "changed"

Changes = dict[str, list[Any]]


def changes_of(form: BaseForm) -> Changes:
    """By name of the field its value before and after, as JSON has it; of a password nothing.

    Where several can be chosen, `NAME_removed` and `NAME_added` tell the ones that changed.
    """
    changes: Changes = {}
    for name in form.changed_data:
        before, after = form.initial.get(name), form.cleaned_data.get(name)
        if "password" in name:
            changes["password"] = [None, CHANGED]
        elif isinstance(after, QuerySet):
            changes |= _members(name, before or (), after)
        elif before != after:
            changes[name] = [shown(before), shown(after)]
    return changes


def shown(value: Any) -> Any:
    """A value as the trail keeps it: numbers as they are, all else as short text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = value.isoformat() if isinstance(value, date) else str(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _members(name: str, before: Iterable[Model], after: Iterable[Model]) -> Changes:
    left, joined = _by_key(before), _by_key(after)
    removed = [left[key] for key in left.keys() - joined.keys()]
    added = [joined[key] for key in joined.keys() - left.keys()]
    changes: Changes = {}
    if removed:
        changes[f"{name}_removed"] = [_listed(removed), None]
    if added:
        changes[f"{name}_added"] = [None, _listed(added)]
    return changes


def _by_key(objects: Iterable[Model]) -> Mapping[Any, Model]:
    return {each.pk: each for each in objects}


def _listed(objects: Iterable[Model]) -> str:
    text: str = shown(", ".join(sorted(map(_name, objects))))
    return text


def _name(obj: Model) -> str:
    if isinstance(obj, Permission):
        return f"{obj.content_type.app_label}.{obj.codename}"
    return str(obj)
