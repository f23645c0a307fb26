"""Sealing: entries without a leaf become the leaves of a new seal, the next link of the chain.

Reading, hashing and signing happen outside any transaction. One short transaction then makes sure
that the head is still the one that was built on, and inserts leaves and seal together. So two
sealers at once cannot fork the chain, and one that is killed leaves nothing half done. Membership
is by leaf and not by id: PostgreSQL commits ids out of order.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from django.db import IntegrityError, connection, transaction

from audit import merkle, stored_entries
from audit.anchors import Anchor
from audit.leaf import Unreadable, leaf_hash
from audit.models import AuditLeaf, AuditSeal, SealKind
from audit.seal_format import NO_SEAL, Seal
from audit.sealing_key import Signer
from audit.stored_seals import seal_of

logger = logging.getLogger(__name__)

AT_MOST = 2_000
"""Entries in one seal; on SQLite others wait some 15 ms for it, several times that under load."""
MAX_ATTEMPTS = 20
"""At one seal, when other sealers keep coming first."""
LOCK_NUMBER = int.from_bytes(b"sealing", "big")
"""Of the advisory lock, which PostgreSQL keeps for each database apart."""


class SealingRefused(Exception):
    """The chain cannot be built on; the message says why and what to do."""


class HeadMoved(Exception):
    """Another sealer came first."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last seal: what the next one names. Number 0 before there is any."""

    no: int = 0
    digest: str = NO_SEAL


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A seal as it was stored; `locked_seconds` is how long it kept other writers out."""

    seal: Seal
    signature: str
    digest: str
    locked_seconds: float

    @property
    def n_entries(self) -> int:
        return self.seal.n_entries

    @property
    def anchor(self) -> Anchor:
        """What the anchor file is to say of it."""
        return Anchor(0, self.seal.sealed_at, self.seal.no, self.digest)


def seal_entries(
    signer: Signer,
    *,
    at: datetime,
    at_most: int = AT_MOST,
    above: int = 0,
    up_to: int | None = None,
) -> SealedBatch | None:
    """Seal the first entries without a leaf among the ids from `above` (exclusive) to `up_to`.

    None when there was none. Raises `SealingRefused`, and `HeadMoved` when other sealers came
    first again and again.
    """
    for _ in range(MAX_ATTEMPTS):
        head = current_head(signer)
        leaves = _unsealed_leaves(above=above, up_to=up_to, at_most=at_most)
        if not leaves:
            return None
        try:
            return append_seal(
                signer,
                after=head,
                kind=SealKind.ENTRIES,
                n_entries=len(leaves),
                root=merkle.root([digest for _, digest in leaves]),
                at=at,
                first_id=leaves[0][0],
                last_id=leaves[-1][0],
                leaves=leaves,
            )
        except HeadMoved:
            continue
    raise HeadMoved


def current_head(signer: Signer) -> Head:
    """The last seal, once its signature was found to be that of a trusted key.

    Raises `SealingRefused`.
    """
    row = AuditSeal.objects.order_by("-no").first()
    if row is None:
        return Head()
    try:
        seal = seal_of(row)
        is_signed = seal.is_signed(row.signature, signer.trusted)
    except (ValueError, TypeError):
        is_signed = False
    if not is_signed:
        raise SealingRefused(
            f"Seal {row.no}, the last one, is not signed by a key that AUDIT_PUBLIC_KEYS trusts "
            f"(it names the key {str(row.key_id)[:16]!r}); nothing is sealed on top of it. "
            "`manage.py verify_audit` says what else does not fit."
        )
    return Head(seal.no, seal.digest(row.signature))


def append_seal(
    signer: Signer,
    *,
    after: Head,
    kind: SealKind,
    n_entries: int,
    root: bytes,
    at: datetime,
    first_id: int | None = None,
    last_id: int | None = None,
    pruned_from: int | None = None,
    pruned_to: int | None = None,
    leaves: Sequence[tuple[int, bytes]] = (),
) -> SealedBatch:
    """Sign and store the seal after the given head, with its leaves: pairs of entry id and hash.

    Raises `HeadMoved` when that head is no longer the last. Outside any transaction.
    """
    seal = Seal(
        no=after.no + 1,
        kind=str(kind),
        previous=after.digest,
        n_entries=n_entries,
        first_id=first_id,
        last_id=last_id,
        pruned_from=pruned_from,
        pruned_to=pruned_to,
        root=root.hex(),
        sealed_at=at,
        key_id=signer.key_id,
    )
    signature = seal.signature(signer.key)
    locked_seconds = _store(seal, signature, leaves)
    return SealedBatch(seal, signature, seal.digest(signature), locked_seconds)


def _store(seal: Seal, signature: str, leaves: Sequence[tuple[int, bytes]]) -> float:
    """Insert seal and leaves together; returns the seconds that other writers had to wait."""
    with durable():
        try:
            with transaction.atomic():
                if connection.vendor == "postgresql":
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_NUMBER])
                began = time.monotonic()
                last = AuditSeal.objects.order_by("-no").values_list("no", flat=True).first() or 0
                if last != seal.no - 1:
                    raise HeadMoved
                _insert_leaves(seal.no, leaves)
                row = {name: getattr(seal, name) for name in Seal.__slots__}
                AuditSeal.objects.create(**row, signature=signature)
        except IntegrityError as error:  # by a sealer that knows no lock
            raise HeadMoved from error
        return time.monotonic() - began


def _insert_leaves(no: int, leaves: Sequence[tuple[int, bytes]]) -> None:
    table = AuditLeaf._meta.db_table
    into = f"INSERT INTO {table} (entry_id, seal_no, position, hash)"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                f"{into} SELECT id, %s, place - 1, leaf FROM "
                "unnest(%s::bigint[], %s::bytea[]) WITH ORDINALITY AS sealed (id, leaf, place)",
                [no, [entry_id for entry_id, _ in leaves], [leaf for _, leaf in leaves]],
            )
        else:
            cursor.executemany(
                f"{into} VALUES (%s, %s, %s, %s)",
                [(entry_id, no, place, leaf) for place, (entry_id, leaf) in enumerate(leaves)],
            )


@contextmanager
def durable() -> Iterator[None]:
    """Wait for the disk at the commit within, whatever the settings say of others.

    An anchor tells of a seal: a power cut must not take the seal and leave the anchor. With
    SQLite that saves every commit before it too.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous")
        (usual,) = cursor.fetchone()
        cursor.execute("PRAGMA synchronous=FULL")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA synchronous={int(usual)}")


def _unsealed_leaves(*, above: int, up_to: int | None, at_most: int) -> list[tuple[int, bytes]]:
    """Pairs of id and leaf hash; an entry that cannot be hashed is left out, and logged."""
    leaves: list[tuple[int, bytes]] = []
    while not leaves:
        rows = stored_entries.unsealed(above=above, up_to=up_to, at_most=at_most)
        if not rows:
            break
        for values in rows:
            above = cast(int, values[0])
            try:
                leaves.append((above, leaf_hash(values)))
            except Unreadable as error:
                logger.error("Audit entry %s cannot be sealed: it holds %s", above, error)
    return leaves
