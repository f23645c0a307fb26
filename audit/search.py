"""Looking for a phrase in the trail without reading all of it.

A phrase is found anywhere, in either case, in the id of an actor, in the label that they carried
last, and in an action. Target ids and request ids are too many to look into: there the phrase must
be the whole, as it is written or in lower case.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection
from django.db.models import Q

from audit.filters import TABLE, names_in, walk

MAX_PHRASE = 200
MAX_NAMES = 100
"""Actors and actions that one phrase may be found in: each is a reading of its own."""


class TooManyNames(ValueError):
    """The phrase says too little; the message asks for more of it."""

    def __init__(self) -> None:
        super().__init__(f"is found in more than {MAX_NAMES} actors and actions; write more of it")


def conditions(phrase: str) -> list[Q]:
    """What an entry may fit to be found; each alone is read along an index.

    Two queries, whatever the phrase. Raises `TooManyNames`.
    """
    wanted = phrase.strip().casefold()
    if not wanted:
        return [Q()]
    actors = [
        actor
        for actor, label in _actors()
        if wanted in actor.casefold() or wanted in label.casefold()
    ]
    actions = [action for action in names_in("action") if wanted in action.casefold()]
    if len(actors) + len(actions) > MAX_NAMES:
        raise TooManyNames
    whole = sorted({phrase.strip(), phrase.strip().lower()})
    found = [*_each("actor_id", actors), *_each("action", actions)]
    return [*found, *_each("target_id", whole), *_each("request_id", whole)]


def _each(field: str, values: Sequence[str]) -> list[Q]:
    return [Q(**{field: value}) for value in values]


def _actors() -> list[tuple[str, str]]:
    """Each actor's id with the label of their latest entry."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""{walk("actor_id")} SELECT name, (SELECT actor_label FROM {TABLE}
                WHERE actor_id = names.name ORDER BY at DESC LIMIT 1)
            FROM names WHERE name IS NOT NULL"""
        )
        return cursor.fetchall()
