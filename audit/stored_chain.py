"""The seals as the database holds them, damaged ones included: raw rows in the order of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from django.db import connection

from audit.findings import shortened
from audit.models import AuditSeal
from audit.seal_format import SEAL_FIELDS, Seal
from audit.stored_entries import moment, read_rows

SEALS = AuditSeal._meta.db_table
N_AT_ONCE = 2_000
TYPES: dict[str, tuple[type, ...]] = {
    "no": (int,),
    "kind": (str,),
    "previous": (str,),
    "n_entries": (int,),
    "first_id": (int, type(None)),
    "last_id": (int, type(None)),
    "pruned_from": (int, type(None)),
    "pruned_to": (int, type(None)),
    "root": (str,),
    "sealed_at": (datetime,),
    "key_id": (str,),
    "signature": (str,),
}


@dataclass(frozen=True, slots=True)
class StoredSeal:
    """`no` may be of any type in a damaged table; `seal` is None when `damage` says why."""

    no: object
    seal: Seal | None
    signature: str
    damage: str


def stored_seals(*, above: int | None = None) -> Iterator[StoredSeal]:
    """Every seal by its number, or those with one greater than `above`; read in pages."""
    names = [_column(name) for name in (*SEAL_FIELDS, "signature")]
    select = f"SELECT {', '.join(names)} FROM {SEALS}"
    where, params = ("", []) if above is None else ("WHERE no > %s", [above])
    while True:
        rows = read_rows(f"{select} {where} ORDER BY no LIMIT {N_AT_ONCE}", params)
        yield from map(_stored_seal, rows)
        if len(rows) < N_AT_ONCE:
            return
        where, params = "WHERE no > %s", [rows[-1][0]]


def _column(name: str) -> str:
    if name != "sealed_at":
        return name
    # As text: the driver refuses infinity and the years beyond 9999.
    if connection.vendor == "sqlite":
        return "CAST(sealed_at AS TEXT)"
    return "CAST(sealed_at AT TIME ZONE 'UTC' AS TEXT)"


def _stored_seal(row: Sequence[object]) -> StoredSeal:
    found = dict(zip((*SEAL_FIELDS, "signature"), row, strict=True))
    found["sealed_at"] = _moment(found["sealed_at"])
    for name, types in TYPES.items():
        if type(found[name]) not in types:
            damage = f"its {name} is {shortened(found[name])}, which no seal can hold"
            return StoredSeal(found["no"], None, "", damage)
    signature = cast(str, found.pop("signature"))
    return StoredSeal(found["no"], Seal(**found), signature, "")  # type: ignore[arg-type]


def _moment(value: object) -> object:
    if type(value) is not str:
        return value
    if connection.vendor == "sqlite":
        return moment(value)
    try:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    except ValueError:
        return value
