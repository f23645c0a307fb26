"""Purchases added up by customer: the first and the last one, how many, and for how much in all.

Words: a day is an ordinal (`datetime.date.toordinal`), a unit is a ten-thousandth of the currency,
an occasion is what makes one purchase of several rows: the day, or the number of an invoice.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

UNITS = 10_000
"""Units in one of the currency: no currency has more than four decimals (ISO 4217: CLF, UYW)."""

MAX_AMOUNT = 1e11
"""Of one row, either way: up to here float64 tells neighbouring units apart (2**53 is 9e15)."""

MAX_TOTAL = 9e14
"""Of one customer, either way: the units of it fit into 64 bits."""

PAIRS_AT_ONCE = 2_000_000
"""Pairs of customer and occasion sorted in memory at once: 16 bytes each, thrice while sorting."""

MAX_PARTS = 256
"""Files that the pairs are dealt to: well below the number of files a process may open."""

PAIR_BYTES = 16
FIRST_CAPACITY = 1024

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


class TotalTooLarge(ValueError):
    """The amounts of one customer add up to more than can be added exactly."""


@dataclass(frozen=True, slots=True)
class Purchases:
    """One entry a customer in every field; days stand for nothing where there is no purchase.

    `units` is the sum of all amounts, returns included; `n_purchases` counts occasions.
    """

    ids: list[str]
    first_days: Int64
    last_days: Int64
    n_purchases: Int64
    units: Int64


class PurchaseTally:
    """Adds up rows in any order, in memory that grows with the customers and not with the rows.

    A customer's id becomes a code (0, 1, 2…). Integers are added, so the order of the rows can
    change nothing. Which occasions are distinct is settled at the end, from files of pairs.
    """

    def __init__(self, n_rows: int) -> None:
        self._codes: defaultdict[str, int] = defaultdict()
        self._codes.default_factory = self._codes.__len__
        self._first = np.empty(0, np.int64)
        self._last = np.empty(0, np.int64)
        self._units = np.empty(0, np.int64)
        self._sizes = np.empty(0)
        self._n_parts = max(1, min(MAX_PARTS, -(-n_rows // PAIRS_AT_ONCE)))
        self._stack = ExitStack()
        self._parts: list[IO[bytes]] = []

    def __enter__(self) -> Self:
        for _ in range(self._n_parts):
            self._parts.append(self._stack.enter_context(tempfile.TemporaryFile()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def add(self, ids: Sequence[str], days: Int64, amounts: Float64, occasions: Int64) -> None:
        """Add rows; a row of a positive amount is a purchase, or a part of one."""
        codes = np.array(list(map(self._codes.__getitem__, ids)), dtype=np.int64)
        self._grow()
        units = np.rint(amounts * UNITS).astype(np.int64)
        # Sums may pass the 64 bits on their way: they wrap, and come back right. Whether the
        # end is beyond them is told by the sum of the sizes, which is never exact and never wraps.
        np.add.at(self._units, codes, units)
        np.add.at(self._sizes, codes, amounts)
        bought = units > 0
        codes, days = codes[bought], days[bought]
        np.minimum.at(self._first, codes, days)
        np.maximum.at(self._last, codes, days)
        self._deal(np.column_stack((codes, occasions[bought])))

    def _grow(self) -> None:
        if len(self._codes) <= len(self._first):
            return
        n_new = max(FIRST_CAPACITY, 2 * len(self._codes)) - len(self._first)
        self._first = np.append(self._first, np.full(n_new, np.iinfo(np.int64).max))
        self._last = np.append(self._last, np.full(n_new, np.iinfo(np.int64).min))
        self._units = np.append(self._units, np.zeros(n_new, np.int64))
        self._sizes = np.append(self._sizes, np.zeros(n_new))

    def _deal(self, pairs: Int64) -> None:
        """Write the pairs to the file of their customer: equal pairs meet in one file."""
        if self._n_parts == 1:
            self._parts[0].write(pairs.tobytes())
            return
        places = pairs[:, 0] % self._n_parts
        pairs = pairs[np.argsort(places, kind="stable")]
        ends = np.cumsum(np.bincount(places, minlength=self._n_parts))
        for part, found in zip(self._parts, np.split(pairs, ends[:-1]), strict=True):
            part.write(found.tobytes())

    def purchases(self) -> Purchases:
        """Return the totals of all rows. Raises TotalTooLarge."""
        n = len(self._codes)
        if np.abs(self._sizes[:n]).max(initial=0) > MAX_TOTAL:
            raise TotalTooLarge(f"the amounts of a customer add up to more than {MAX_TOTAL:g}")
        n_purchases = np.zeros(n, np.int64)
        for part in self._parts:
            pairs = _distinct(part)
            n_purchases += np.bincount(pairs[:, 0], minlength=n)
        return Purchases(
            ids=list(self._codes),
            first_days=self._first[:n],
            last_days=self._last[:n],
            n_purchases=n_purchases,
            units=self._units[:n],
        )


def _distinct(part: IO[bytes]) -> Int64:
    """Read the pairs of a file, a bounded number at once, and keep each pair once."""
    part.seek(0)
    kept = np.empty((0, 2), np.int64)
    while block := part.read(PAIRS_AT_ONCE * PAIR_BYTES):
        pairs = np.concatenate((kept, np.frombuffer(block, np.int64).reshape(-1, 2)))
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        is_new = np.ones(len(pairs), np.bool_)
        is_new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
        kept = pairs[is_new]
    return kept
