"""Raw transactions into attributes of customers: recency, frequency, monetary value and tenure.

Words: RFM is those attributes as of a day; a purchase is a day (or an invoice) of one customer
with a positive amount; a return is a negative amount, which lowers what was spent and is no
purchase. An average amount is left out: it is monetary / frequency, and would count both twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from django.db import transaction
from django.utils import timezone
from numpy.typing import NDArray

from audit import trail
from segments.customers import CHUNK, upsert_customers
from segments.purchases import UNITS, Purchases, PurchaseTally, TotalTooLarge
from segments.refused_imports import refusals_recorded
from segments.table_problems import UnreadableTable
from segments.table_sources import file_sha256
from segments.transaction_columns import TransactionColumns
from segments.transaction_files import TransactionFile

IMPORTED = "transactions.imported"
Progress = Callable[[float, str], None]
Rfm = dict[str, int | float]

READ_SHARE = 0.9
"""Share of the time that reading takes; storing takes the rest."""


@dataclass(frozen=True, slots=True)
class RfmTable:
    """Customers with a purchase up to and including `as_of`, sorted by id; monetary is net.

    `n_later` counts transactions after that day, `n_without_purchase` the customers left out for
    want of one, `n_given_back` those whose returns weigh up all they bought: their monetary is 0.
    """

    ids: list[str]
    recency_days: NDArray[np.int64]
    frequency: NDArray[np.int64]
    monetary: NDArray[np.float64]
    tenure_days: NDArray[np.int64]
    as_of: date
    n_transactions: int
    n_later: int
    n_without_purchase: int
    n_given_back: int

    def batches(self, size: int = CHUNK) -> Iterator[dict[str, Rfm]]:
        """Yield customers with their attributes, by id."""
        names = ("recency_days", "frequency", "monetary", "tenure_days")
        for start in range(0, len(self.ids), size):
            part = slice(start, start + size)
            values = zip(*(getattr(self, name)[part].tolist() for name in names), strict=True)
            rows = (dict(zip(names, row, strict=True)) for row in values)
            yield dict(zip(self.ids[part], rows, strict=True))


@dataclass(frozen=True, slots=True)
class TransactionsImport:
    """What an import did; `rejects` is the file of refused rows, if any."""

    columns: TransactionColumns
    as_of: date
    n_transactions: int
    n_created: int
    n_updated: int
    n_rejected: int
    n_anonymous: int
    n_later: int
    n_without_purchase: int
    n_given_back: int
    notes: tuple[str, ...]
    rejects: Path | None = None


def import_transactions(
    path: Path,
    *,
    by: trail.Actor,
    customer_column: str | None = None,
    date_column: str | None = None,
    amount_column: str | None = None,
    invoice_column: str | None = None,
    as_of: date | None = None,
    skip_bad_rows: bool = False,
    rejects: Path | None = None,
    on_progress: Progress = lambda share, step: None,
    on_stored: Callable[[int, int, int], None] = lambda n_created, n_updated, n_rejected: None,
) -> TransactionsImport:
    """Give the customers of a file of transactions their RFM attributes, in one transaction.

    Columns that are not named are told by their names. Raises `UnreadableTable` for a file that
    cannot be read so and `InvalidTable` for bad rows (unless they are to be skipped, into
    `rejects`); then nothing is imported, and the trail says so. The same file and day give the
    same attributes again. `on_stored` is called in the transaction, at its end.
    """
    with refusals_recorded(IMPORTED, path, by=by):
        file = TransactionFile(
            path,
            customer_column=customer_column,
            date_column=date_column,
            amount_column=amount_column,
            invoice_column=invoice_column,
            on_progress=lambda done, total: on_progress(READ_SHARE * done / total, "adding up"),
        )
        table = rfm_table(file, as_of=as_of, skip_bad_rows=skip_bad_rows)
        n_created = _store(table, file, by=by, on_progress=on_progress, on_stored=on_stored)
    if file.n_bad_rows and rejects is not None:
        file.write_rejects(rejects)
    return TransactionsImport(
        columns=file.columns,
        as_of=table.as_of,
        n_transactions=table.n_transactions,
        n_created=n_created,
        n_updated=len(table.ids) - n_created,
        n_rejected=file.n_bad_rows,
        n_anonymous=file.n_anonymous,
        n_later=table.n_later,
        n_without_purchase=table.n_without_purchase,
        n_given_back=table.n_given_back,
        notes=tuple(file.notes),
        rejects=rejects if file.n_bad_rows else None,
    )


def rfm_table(
    file: TransactionFile, *, as_of: date | None = None, skip_bad_rows: bool = False
) -> RfmTable:
    """Add up the transactions of a file as of a day; by default the day after the last of them.

    Raises InvalidTable for bad rows that are not to be skipped, UnreadableTable if no customer
    has a purchase.
    """
    last = as_of.toordinal() if as_of else None
    n_rows = n_later = latest = 0
    with PurchaseTally(file.n_rows) as tally:
        for rows in file.rows():
            n_rows += len(rows.ids)
            ids, days, amounts, occasions = rows.ids, rows.days, rows.amounts, rows.occasions
            latest = max(latest, int(days.max(initial=0)))
            if last is not None and latest > last:
                kept = np.flatnonzero(days <= last)
                n_later += len(ids) - len(kept)
                ids = [ids[row] for row in kept]
                days, amounts, occasions = days[kept], amounts[kept], occasions[kept]
            tally.add(ids, days, amounts, occasions)
        if not skip_bad_rows:
            file.require_no_problems()
        try:
            purchases = tally.purchases()
        except TotalTooLarge as error:
            raise UnreadableTable(f"{file.path}: {error}") from error
    if not purchases.n_purchases.any():
        day = f" up to {as_of}" if as_of else ""
        raise UnreadableTable(f"{file.path}: no customer has a purchase (an amount over 0){day}")
    as_of = as_of or date.fromordinal(latest + 1)
    return _rfm(purchases, as_of, n_transactions=n_rows - n_later, n_later=n_later)


def _rfm(purchases: Purchases, as_of: date, *, n_transactions: int, n_later: int) -> RfmTable:
    """Turn days and units into attributes; customers without a purchase have none."""
    bought = np.flatnonzero(purchases.n_purchases)
    order = np.array(sorted(bought.tolist(), key=purchases.ids.__getitem__), dtype=np.intp)
    units = purchases.units[order]
    return RfmTable(
        ids=[purchases.ids[code] for code in order],
        recency_days=as_of.toordinal() - purchases.last_days[order],
        frequency=purchases.n_purchases[order],
        # Nobody spends less than nothing: what was returned beyond was bought before the file.
        monetary=np.maximum(units, 0) / UNITS,
        tenure_days=as_of.toordinal() - purchases.first_days[order],
        as_of=as_of,
        n_transactions=n_transactions,
        n_later=n_later,
        n_without_purchase=len(purchases.ids) - len(order),
        n_given_back=int(np.count_nonzero(units <= 0)),
    )


def _store(
    table: RfmTable,
    file: TransactionFile,
    *,
    by: trail.Actor,
    on_progress: Progress,
    on_stored: Callable[[int, int, int], None],
) -> int:
    """Write the customers and their audit entry; returns how many are new."""
    details = _details(table, file)
    at = timezone.now()
    n_created = n_stored = 0
    with transaction.atomic():
        for batch in table.batches():
            n_created += upsert_customers(batch, at=at).n_created
            n_stored += len(batch)
            on_progress(READ_SHARE + (1 - READ_SHARE) * n_stored / len(table.ids), "storing")
        trail.record(
            IMPORTED,
            by=by,
            target=("file", file.path.name),
            n_items=n_stored,
            details={"n_created": n_created, **details},
        )
        on_stored(n_created, n_stored - n_created, file.n_bad_rows)
    return n_created


def _details(table: RfmTable, file: TransactionFile) -> dict[str, Any]:
    return {
        "as_of": table.as_of.isoformat(),
        "columns": asdict(file.columns),
        "n_anonymous": file.n_anonymous,
        "n_given_back": table.n_given_back,
        "n_later": table.n_later,
        "n_rejected": file.n_bad_rows,
        "n_transactions": table.n_transactions,
        "n_without_purchase": table.n_without_purchase,
        "sha256": file_sha256(file.path),
    }
