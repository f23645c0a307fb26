"""The columns of a file of transactions: which one has which role, and how its dates are written.

Words: a role is customer, date, amount or invoice; a format is a spelling of dates beside ISO 8601.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter, methodcaller
from pathlib import Path

import numpy as np

from ml.dates import DATE_FORMATS, ordinals, spelled
from ml.records import ID_FIELD
from segments.table_columns import MISSING_TOKENS, allowed_bad_cells
from segments.table_problems import UnreadableTable
from segments.tables import ID_NAMES

ROLE_NAMES = {
    "customer": tuple(name for name in ID_NAMES if name != "id"),  # here the transaction's own
    "date": (
        *("date", "day", "datetime", "timestamp", "transactiondate", "transactiontime"),
        *("invoicedate", "orderdate", "purchasedate", "saledate", "salesdate", "paymentdate"),
        *("orderedat", "orderedon", "purchasedat", "purchasedon", "paidat", "paidon", "soldat"),
    ),
    "amount": (
        *("amount", "total", "totalamount", "netamount", "grossamount", "amountpaid", "revenue"),
        *("transactionamount", "invoiceamount", "orderamount", "orderamt", "purchaseamount"),
        *("saleamount", "salesamount", "paymentamount", "lineamount", "linetotal", "totalprice"),
        *("ordervalue", "ordertotal", "invoicetotal", "transactionvalue", "sales", "turnover"),
    ),
}
"""Names of the columns that must be there, without case and punctuation."""


@dataclass(frozen=True, slots=True)
class TransactionColumns:
    """The columns used, by name; without an invoice column the days tell purchases apart."""

    customer: str
    date: str
    amount: str
    invoice: str | None = None


class UntoldColumn(UnreadableTable):
    """Which column has this role cannot be told by its name: it must be given."""

    def __init__(self, text: str, role: str) -> None:
        super().__init__(text)
        self.role = role


def told_columns(
    path: Path, names: Sequence[str], given: Mapping[str, str | None]
) -> TransactionColumns:
    """Find the column of each role: the one that was given, or the only one with such a name."""
    told = {role: _given_column(path, names, role, name) for role, name in given.items() if name}
    for name in set(told.values()):
        roles = [role for role in told if told[role] == name]
        if len(roles) > 1:
            text = f"{path}: column {name} cannot be {' and '.join(roles)} at once."
            raise UntoldColumn(text, roles[1])
    for role in ROLE_NAMES:
        if role not in told:
            taken = set(told.values())
            told[role] = _named_column(path, [n for n in names if n not in taken], role)
    return TransactionColumns(told["customer"], told["date"], told["amount"], told.get("invoice"))


def _given_column(path: Path, names: Sequence[str], role: str, name: str) -> str:
    if name.strip() not in names:
        raise UntoldColumn(f"{path} has no column {name}; it has: {', '.join(names)}.", role)
    return name.strip()


def _named_column(path: Path, names: Sequence[str], role: str) -> str:
    plain = {name: re.sub(r"[^a-z0-9]", "", name.lower()) for name in names}
    fitting = [name for name in names if plain[name] in ROLE_NAMES[role]]
    if role == "customer" and ID_FIELD in fitting:
        return ID_FIELD
    if len(fitting) > 1:
        text = f"{path}: the {role} column may be {' or '.join(fitting)}."
        raise UntoldColumn(text, role)
    if not fitting:
        text = f"{path}: no column is named like one of {role}s; it has: {', '.join(names)}."
        raise UntoldColumn(text, role)
    return fitting[0]


class DateTally:
    """Counts which formats read the cells of a date column, by the part before the first blank."""

    def __init__(self) -> None:
        self._n_present = 0
        self._n_iso = 0
        self._n_read = dict.fromkeys(DATE_FORMATS, 0)

    def add(self, texts: Sequence[str]) -> None:
        """Count a batch of cells."""
        days = Counter(map(itemgetter(0), map(methodcaller("partition", " "), texts)))
        present = [day for day in days if day not in MISSING_TOKENS]
        self._n_present += sum(map(days.__getitem__, present))
        is_iso = ~np.isnan(ordinals(present, None))
        others = [day for day, iso in zip(present, is_iso, strict=True) if not iso]
        n_others = sum(map(days.__getitem__, others))
        self._n_iso += sum(map(days.__getitem__, present)) - n_others
        for date_format in DATE_FORMATS if others else ():
            is_read = ~np.isnan(ordinals(others, date_format))
            counts = np.array(list(map(days.__getitem__, others)))
            self._n_read[date_format] += int(counts[is_read].sum())

    def date_format(self, path: Path, column: str) -> str | None:
        """Return the format that reads most of the cells that ISO 8601 does not; the first wins."""
        best = max(DATE_FORMATS, key=self._n_read.__getitem__)
        n_bad = self._n_present - self._n_iso - self._n_read[best]
        if not self._n_present or n_bad > allowed_bad_cells(self._n_present):
            raise UnreadableTable(
                f"{path}: column {column} holds no dates: ISO 8601 (2025-06-30), or one of "
                f"{', '.join(map(spelled, DATE_FORMATS))} in the whole column"
            )
        return best if self._n_read[best] else None

    def notes(self) -> list[str]:
        """Say how dates are read if it is not plain."""
        best = max(DATE_FORMATS, key=self._n_read.__getitem__)
        n_best = self._n_read[best]
        if not n_best:
            return []
        others = [form for form in DATE_FORMATS if form != best and self._n_read[form] == n_best]
        doubt = f"; {spelled(others[0])} would fit the whole column as well" if others else ""
        return [f"dates are read as {spelled(best)}{doubt}"]
