"""Looking for a phrase in the trail without reading all of it.

A phrase is found anywhere, in either case, in the id and the label of an actor, as the entry has
them, and in an action. Target ids and request ids are too many to look into: there the phrase must
be the whole, as it is written or in lower case.
"""

from __future__ import annotations

from django.db.models import Q

from audit.filters import names_in

MAX_PHRASE = 200
WHOLE = ("target_id", "request_id")
MAX_NAMES = 100
"""Ids and labels of actors, and actions, that one phrase may be found in; each is a reading."""


class TooManyNames(ValueError):
    """The phrase says too little; the message asks for more of it."""

    def __init__(self) -> None:
        super().__init__(
            f"is found in more than {MAX_NAMES} ids, labels and actions; write more of it"
        )


def conditions(phrase: str) -> list[Q]:
    """What an entry may fit to be found; each alone is read along an index.

    Three queries, whatever the phrase. Raises `TooManyNames`.
    """
    wanted = phrase.strip().casefold()
    if not wanted:
        return [Q()]
    found = [
        Q(**{field: name})
        for field in ("actor_id", "actor_label", "action")
        for name in names_in(field)
        if wanted in name.casefold()
    ]
    if len(found) > MAX_NAMES:
        raise TooManyNames
    whole = sorted({phrase.strip(), phrase.strip().lower()})
    return [*found, *(Q(**{field: text}) for field in WHOLE for text in whole)]
