"""The columns of a customer table: what kind each one is, and how its cells become values.

A kind is learned from the whole column; `present` cells are those that are not missing.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ml.records import BAD_TEXT, LINE_WHITE, MAX_ID, MAX_TEXT, NUMBER_LIMIT, PATH_STEPS, Scalar

MISSING_TOKENS = frozenset(("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "#N/A"))
"""Cells that say "no value": the empty cell and what R, pandas, SQL, Python and Excel write."""

MAX_BAD_SHARE = 0.05
"""Share of present cells that may be no numbers before a column of numbers counts as text."""

FEW_BAD_CELLS = 3
"""In a small file: so many typing errors, if no more than FEW_BAD_SHARE of the present cells,
are still errors in a column of numbers. At 60 present cells MAX_BAD_SHARE takes over."""

FEW_BAD_SHARE = 0.2

PLAIN_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
COMMA_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]{1,3}(?:\.[0-9]{3})+|[0-9]+)(?:,[0-9]*)?|,[0-9]+)(?:[eE][+-]?[0-9]+)?"
)
"""Decimal comma, with or without points between the thousands: 1.234,56."""

_PLAIN_BYTES = b"0123456789+-.eE\n"
_FRACTION_BYTES = b".eE"
_COMMA_TO_POINT = str.maketrans({".": None, ",": "."})


class ColumnKind(StrEnum):
    """What the values of a column are."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class BadCell:
    """A cell that broke a rule: its place in the batch, the rule, and the words for it."""

    index: int
    code: str
    detail: str


Converted = tuple[list[Scalar], list[BadCell]]
Converter = Callable[[Sequence[object]], Converted]


@dataclass(frozen=True, slots=True)
class LearnedColumn:
    """What a whole column of text cells turned out to be."""

    kind: ColumnKind
    whole: bool
    decimal_comma: bool
    n_bad: int


class ColumnTally:
    """Counts over the text cells of one column, batch by batch, from which its kind follows."""

    def __init__(self, *, comma_allowed: bool) -> None:
        self.comma_allowed = comma_allowed
        self.n_present = 0
        self.n_boolean = 0
        self.n_plain = 0
        self.n_comma = 0
        self.n_fractions = 0
        self.n_digits = 0
        self.n_padded = 0
        self.widths: set[int] = set()
        self.has_bad_text = False

    def add(self, cells: Sequence[str]) -> None:
        """Count a batch of cells."""
        present = [cell for cell in map(str.strip, cells) if cell not in MISSING_TOKENS]
        if present and not self._add_plain(present):
            self._add_any(present)
        self.n_present += len(present)

    def _add_plain(self, present: list[str]) -> bool:
        """Count cells that are all plain numbers; False, and nothing counted, if some are not."""
        text = "\n".join(present)
        if not text.isascii() or text.encode().translate(None, _PLAIN_BYTES):
            return False
        if self.comma_allowed and "." in text:
            return False
        try:
            values = np.array(list(map(float, present)))
        except ValueError:
            return False
        if not (np.abs(values) <= NUMBER_LIMIT).all():
            return False
        self.n_plain += len(present)
        self.n_comma += len(present) if self.comma_allowed else 0
        whole = len(text.encode().translate(None, _FRACTION_BYTES)) == len(text)
        self.n_fractions += 0 if whole else len(present)
        if whole and "+" not in text and "-" not in text:
            self.n_digits += len(present)
            self.widths.update(map(len, present))
            self.n_padded += len(re.findall(r"^0[0-9]", text, re.MULTILINE))
        return True

    def _add_any(self, present: list[str]) -> None:
        self.has_bad_text = self.has_bad_text or bool(bad_texts(present, limit=MAX_TEXT))
        for cell, count in Counter(present).items():
            if cell.lower() in ("true", "false"):
                self.n_boolean += count
            if PLAIN_NUMBER.fullmatch(cell) and abs(float(cell)) <= NUMBER_LIMIT:
                self._add_plain_cell(cell, count)
            if self.comma_allowed and comma_value(cell) is not None:
                self.n_comma += count

    def _add_plain_cell(self, cell: str, count: int) -> None:
        self.n_plain += count
        if cell.isdigit():
            self.n_digits += count
            self.widths.add(len(cell))
            self.n_padded += count if len(cell) > 1 and cell[0] == "0" else 0
        elif not cell.lstrip("+-").isdigit():
            self.n_fractions += count

    @property
    def prefers_comma(self) -> bool:
        """Whether only a decimal comma explains some of the cells."""
        return self.n_comma > self.n_plain

    def learned(self, *, comma_file: bool) -> LearnedColumn:
        """Return the kind; `comma_file` settles 1.234, which both number styles can read."""
        if self.n_present and self.n_boolean == self.n_present:
            return LearnedColumn(ColumnKind.BOOLEAN, False, False, 0)
        either = self.n_comma == self.n_plain and self.n_fractions > 0
        comma = self.prefers_comma or (comma_file and either)
        n_numbers = self.n_comma if comma else self.n_plain
        n_bad = self.n_present - n_numbers
        if n_numbers == 0 or n_bad > allowed_bad_cells(self.n_present) or self._is_code():
            return LearnedColumn(ColumnKind.TEXT, False, False, 0)
        whole = not comma and self.n_fractions == 0
        return LearnedColumn(ColumnKind.NUMBER, whole, comma, n_bad)

    def _is_code(self) -> bool:
        """Whether the digits are a code: zeros lead them all, or fill them up to one width."""
        if not self.n_padded or self.n_digits != self.n_plain:
            return False
        return self.n_padded == self.n_digits or len(self.widths) == 1


def allowed_bad_cells(n_present: int) -> int:
    """Return how many of so many present cells may be bad in a column of numbers."""
    few = min(FEW_BAD_CELLS, int(n_present * FEW_BAD_SHARE))
    return max(few, int(n_present * MAX_BAD_SHARE))


def comma_value(cell: str) -> float | None:
    """Return the value of a number written with a decimal comma, or None."""
    if not COMMA_NUMBER.fullmatch(cell):
        return None
    value = float(cell.translate(_COMMA_TO_POINT))
    return value if abs(value) <= NUMBER_LIMIT else None


def text_converter(learned: LearnedColumn) -> Converter:
    """Return what turns the text cells of a learned column into its values."""
    if learned.kind is ColumnKind.BOOLEAN:
        return _booleans_from_text
    if learned.kind is ColumnKind.TEXT:
        return _texts_from_text
    if learned.decimal_comma:
        return _comma_numbers_from_text
    return _integers_from_text if learned.whole else _floats_from_text


def typed_converter(kind: ColumnKind) -> Converter:
    """Return what checks the values of a column that a typed file already tells apart."""
    return {
        ColumnKind.BOOLEAN: _typed_booleans,
        ColumnKind.NUMBER: _typed_numbers,
        ColumnKind.TEXT: _typed_texts,
    }[kind]


def _stripped(cells: Sequence[object]) -> list[str]:
    return list(map(str.strip, cells))  # type: ignore[arg-type]  # text cells, by construction


def _booleans_from_text(cells: Sequence[object]) -> Converted:
    words = {"true": True, "false": False}
    return [words.get(cell.lower()) for cell in _stripped(cells)], []


def _texts_from_text(cells: Sequence[object]) -> Converted:
    texts = [None if cell in MISSING_TOKENS else cell for cell in _stripped(cells)]
    return list(texts), bad_texts(texts, limit=MAX_TEXT)


def _integers_from_text(cells: Sequence[object]) -> Converted:
    return _plain_numbers(_stripped(cells), int)


def _floats_from_text(cells: Sequence[object]) -> Converted:
    return _plain_numbers(_stripped(cells), float)


def _plain_numbers(cells: list[str], number: type[int] | type[float]) -> Converted:
    present = [cell for cell in cells if cell not in MISSING_TOKENS]
    text = "\n".join(present)
    if text.isascii() and not text.encode().translate(None, _PLAIN_BYTES):
        try:
            found = list(map(number, present))
            in_range = bool((np.abs(np.array(found, dtype=np.float64)) <= NUMBER_LIMIT).all())
        except (ValueError, OverflowError):
            in_range = False
        if in_range:
            return _with_missing(cells, found), []
    return _numbers_one_by_one(cells, lambda cell: _plain_value(cell, number))


def _with_missing(cells: list[str], found: Sequence[Scalar]) -> list[Scalar]:
    if len(found) == len(cells):
        return list(found)
    values = iter(found)
    return [None if cell in MISSING_TOKENS else next(values) for cell in cells]


def _plain_value(cell: str, number: type[int] | type[float]) -> int | float | None:
    if not PLAIN_NUMBER.fullmatch(cell):
        return None
    value = float(cell)
    # The length of digits that int() takes is limited, so the size is settled before.
    return number(cell) if abs(value) <= NUMBER_LIMIT else value


def _comma_numbers_from_text(cells: Sequence[object]) -> Converted:
    return _numbers_one_by_one(_stripped(cells), _any_comma_value)


def _any_comma_value(cell: str) -> float | None:
    if not COMMA_NUMBER.fullmatch(cell):
        return None
    return float(cell.translate(_COMMA_TO_POINT))


def _numbers_one_by_one(
    cells: list[str], value_of: Callable[[str], int | float | None]
) -> Converted:
    values: list[Scalar] = []
    bad: list[BadCell] = []
    for index, cell in enumerate(cells):
        value = None if cell in MISSING_TOKENS else value_of(cell)
        if value is None and cell not in MISSING_TOKENS:
            bad.append(BadCell(index, "not-a-number", "not a number, as the rest of the column is"))
        elif value is not None and abs(value) > NUMBER_LIMIT:
            bad.append(_out_of_range(index))
        values.append(value)
    return values, bad


def _out_of_range(index: int) -> BadCell:
    detail = f"a number must be between {-NUMBER_LIMIT:g} and {NUMBER_LIMIT:g}"
    return BadCell(index, "out-of-range", detail)


def bad_texts(
    texts: Sequence[str | None], *, limit: int, lines_allowed: bool = True
) -> list[BadCell]:
    """Return the texts that are longer than `limit` or hold a character we refuse.

    Tabs and line ends are lawful inside a quoted cell, where people type remarks; not in an id.
    """
    present = [text for text in texts if text is not None]
    # Every refused character is unprintable: one look at the whole column is mostly enough.
    if max(map(len, present), default=0) <= limit and " ".join(present).isprintable():
        return []
    bad = []
    for index, text in enumerate(texts):
        if text is None:
            continue
        if len(text) > limit:
            bad.append(BadCell(index, "too-long", f"text over {limit:,} characters"))
        elif BAD_TEXT.search(text.translate(LINE_WHITE) if lines_allowed else text):
            bad.append(BadCell(index, "bad-text", "holds a control or invisible character"))
    return bad


def _typed_booleans(cells: Sequence[object]) -> Converted:
    return list(cells), []  # type: ignore[arg-type]  # bool or None, by the file's own type


def _typed_numbers(cells: Sequence[object]) -> Converted:
    values = np.array(cells, dtype=np.float64)
    bad = [_out_of_range(int(index)) for index in np.flatnonzero(np.abs(values) > NUMBER_LIMIT)]
    if not np.isnan(values).any():
        return list(cells), bad  # type: ignore[arg-type]  # numbers, by the file's own type
    return [cell if cell == cell else None for cell in cells], bad  # type: ignore[misc]


def _typed_texts(cells: Sequence[object]) -> Converted:
    texts = [cell.strip() or None if cell else None for cell in cells]  # type: ignore[attr-defined]
    return list(texts), bad_texts(texts, limit=MAX_TEXT)


def ids_from_text(cells: Sequence[object]) -> Converted:
    """Return the cells of an id column as text, None where there is none."""
    ids = [None if cell in MISSING_TOKENS else cell for cell in _stripped(cells)]
    return list(ids), _bad_ids(ids)


def ids_from_values(cells: Sequence[object]) -> Converted:
    """Return typed ids as text: 123 and 123.0 (integers beside nulls) are both "123"."""
    ids: list[str | None] = []
    bad: list[BadCell] = []
    for index, cell in enumerate(cells):
        if isinstance(cell, float):
            if cell == cell and not cell.is_integer():
                bad.append(BadCell(index, "bad-id", "an id must be text or a whole number"))
            cell = int(cell) if cell.is_integer() else None
        ids.append(None if cell is None else str(cell).strip() or None)
    return list(ids), bad + _bad_ids(ids)


def _bad_ids(ids: Sequence[str | None]) -> list[BadCell]:
    bad = bad_texts(ids, limit=MAX_ID, lines_allowed=False)
    if not PATH_STEPS.isdisjoint(ids):
        steps = [index for index, key in enumerate(ids) if key in PATH_STEPS]
        bad += [BadCell(index, "bad-id", "an id must not be . or ..") for index in steps]
    return bad
