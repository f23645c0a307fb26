"""Customer records as a JSON decoder gave them, checked before anything else reads them.

Words: a record is one customer's flat object of attributes; a problem says what is wrong where.
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Self, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

Scalar: TypeAlias = str | int | float | bool | None

ID_FIELD = "customer_id"
# Below 2**53, so every whole number in range is exact as a float64 and its square stays finite.
NUMBER_LIMIT = 1e15
MAX_TEXT = 1000  # characters of a text value
MAX_ID = 200  # characters of a customer_id
PATH_STEPS = frozenset({".", ".."})  # as ids they could not be addressed: clients resolve them
MAX_NAME = 200  # characters of an attribute name
MAX_ATTRIBUTES = 1000  # attributes of one record
MAX_PROBLEMS = 100  # problems that InvalidRecords keeps; it counts all of them

# C0 and C1 controls, bidirectional controls, zero-width and other invisible format characters,
# lone surrogates: they forge what a person reads, break logs, or cannot be stored as UTF-8.
BAD_TEXT = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
# Lawful in the text of an attribute, where people type remarks; not in an id or a name.
LINE_WHITE = str.maketrans("", "", "\t\n\r")

Columns: TypeAlias = dict[str, Sequence[Scalar]]

_NUMBER_TYPES = frozenset({int, float})
_SCALAR_TYPES = frozenset({str, int, float, bool, type(None)})
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class RecordProblem:
    """One thing wrong with the input.

    Parameters
    ----------
    index : position of the record in the request from 0; -1 for the request as a whole.
    field : name of the attribute; None for the record as a whole, or when the name itself is bad.
    code : kebab-case word for machines.
    detail : sentence for people; never holds the offending value, which may be personal.
    """

    index: int
    field: str | None
    code: str
    detail: str


class InvalidRecords(ValueError):
    """Records that cannot be used: `problems` in record order, at most 100 of `n_problems`."""

    def __init__(self, problems: Sequence[RecordProblem], n_problems: int) -> None:
        self.problems = tuple(problems[:MAX_PROBLEMS])
        self.n_problems = n_problems
        first = self.problems[0]
        place = "" if first.index < 0 else f"record {first.index}"
        place += f", {first.field}" if first.field is not None else ""
        count = "1 problem" if n_problems == 1 else f"{n_problems} problems, the first"
        super().__init__(f"{count}: {place}: {first.detail}" if place else first.detail)

    @classmethod
    def gather(cls, problems: Iterable[RecordProblem]) -> Self:
        """Keep the first problems of an ordered stream and count the rest."""
        stream = iter(problems)
        kept = list(islice(stream, MAX_PROBLEMS))
        return cls(kept, len(kept) + sum(1 for _ in stream))


@dataclass(frozen=True, slots=True)
class RecordTable:
    """Checked records, and what the checking found on its way.

    Parameters
    ----------
    records : one flat object a customer.
    columns : their values by attribute; None unless all name the same attributes in one order.
    numbers : float64 (n,) of each column that holds nothing but numbers.
    """

    records: list[dict[str, Scalar]]
    columns: Columns | None
    numbers: dict[str, NDArray[np.float64]]


def check_records(
    records: object, *, max_records: int, ids_required: bool = False
) -> list[dict[str, Scalar]]:
    """Refuse what is not a list of flat, finite, printable customer records.

    Returns the same list, now known to hold `dict[str, Scalar]`; the rest as `check_table`.
    """
    return check_table(records, max_records=max_records, ids_required=ids_required).records


def check_table(records: object, *, max_records: int, ids_required: bool = False) -> RecordTable:
    """Refuse what is not a list of flat, finite, printable customer records.

    A few passes in C over all values decide the good case; only when one of them is in doubt
    does Python walk the records to word the problems.

    Parameters
    ----------
    records : whatever the JSON decoder returned.
    max_records : most records allowed in one request.
    ids_required : whether every record must carry a `customer_id`.

    Returns
    -------
    The same list, now known to hold `dict[str, Scalar]`, and its columns where it has them.

    Raises
    ------
    InvalidRecords
        With codes `not-a-list`, `too-few`, `too-many`, `wrong-type`, `nested`, `not-finite`,
        `out-of-range`, `too-long`, `bad-text`, `empty`, `padded`, `missing`, `duplicate-id`.
    """
    body = _check_body(records, max_records=max_records)
    columns = columns_of(body)
    numbers: dict[str, NDArray[np.float64]] = {}
    if columns is None:
        is_sound = _are_plainly_sound(body, ids_required=ids_required)
    else:
        numbers = _plain_numbers(columns)
        is_sound = _are_sound_columns(columns, numbers, ids_required=ids_required)
    if not is_sound:
        problems = find_problems(body, ids_required=ids_required)
        first = next(problems, None)
        if first is not None:
            raise InvalidRecords.gather(chain([first], problems))
    return RecordTable(cast(list[dict[str, Scalar]], body), columns, numbers)


def columns_of(body: list[object]) -> Columns | None:
    """Turn records into columns, if all name the same attributes in the same order.

    Parameters
    ----------
    body : at least one element, of any type.

    Returns
    -------
    The values of each attribute in record order; None for records that differ.
    """
    if set(map(type, body)) != {dict}:
        return None
    records = cast(list[dict[str, Scalar]], body)
    names = list(records[0])
    if set(map(len, records)) != {len(names)}:
        return None
    # Comparing all names at once is several times faster than asking each record for each name.
    if list(chain.from_iterable(records)) != names * len(records):
        return None
    return dict(zip(names, zip(*map(dict.values, records), strict=True), strict=True))


def _check_body(records: object, *, max_records: int) -> list[object]:
    problem = None
    if not isinstance(records, list):
        problem = ("not-a-list", "the body must be a list of customer records")
    elif not records:
        problem = ("too-few", "the list must hold at least 1 record")
    elif len(records) > max_records:
        problem = ("too-many", f"the list may hold at most {max_records:,} records")
    if problem is not None:
        raise InvalidRecords([RecordProblem(-1, None, *problem)], 1)
    return cast(list[object], records)


# --- the quick answer: may doubt a good request, never passes a bad one -----------------------


def _plain_numbers(columns: Columns) -> dict[str, NDArray[np.float64]]:
    """Convert the columns that hold nothing but numbers; an endless integer leaves its one out."""
    numbers = {}
    for name, values in columns.items():
        # A look at one value spares the texts a look at each.
        if type(values[0]) in _NUMBER_TYPES and set(map(type, values)) <= _NUMBER_TYPES:
            with suppress(OverflowError):
                numbers[name] = np.frombuffer(array("d", cast(Sequence[float], values)))
    return numbers


def _are_sound_columns(
    columns: Columns, numbers: dict[str, NDArray[np.float64]], *, ids_required: bool
) -> bool:
    others = [values for name, values in columns.items() if name not in numbers]
    ids = columns.get(ID_FIELD)
    return (
        len(columns) <= MAX_ATTRIBUTES
        and _are_sound_names(columns)
        and (not numbers or _are_within_limit(np.concatenate(list(numbers.values()))))
        and all(map(_is_sound_column, others))
        and (not ids_required if ids is None else _are_sound_ids(ids))
    )


def _are_plainly_sound(body: list[object], *, ids_required: bool) -> bool:
    if set(map(type, body)) != {dict}:
        return False
    records = cast(list[dict[str, Scalar]], body)
    return (
        max(map(len, records)) <= MAX_ATTRIBUTES
        and _are_sound_names(set().union(*records))
        and all(map(_is_sound_column, _value_columns(records)))
        and _have_sound_ids(records, ids_required=ids_required)
    )


def _are_sound_names(names: Iterable[str]) -> bool:
    known = list(names)
    return (
        set(map(type, known)) <= {str}
        and "" not in known
        and _are_sound_texts(known, longest=MAX_NAME)
    )


def _value_columns(records: list[dict[str, Scalar]]) -> Iterable[Sequence[Scalar]]:
    # Values in the same place mostly have one type. Ragged records stay one long column: padding
    # them would let one wide record inflate all the others.
    if len(set(map(len, records))) == 1:
        return zip(*map(dict.values, records), strict=True)
    return (tuple(chain.from_iterable(map(dict.values, records))),)


def _is_sound_column(values: Sequence[Scalar]) -> bool:
    try:
        return _is_sound_type(values)
    except (TypeError, OverflowError):  # some nulls, types mixed, nesting, or an endless integer
        known = [value for value in values if value is not None]
    try:
        return not known or _is_sound_type(known)
    except (TypeError, OverflowError):
        return _is_sound_mixture(known)


def _is_sound_type(values: Sequence[Scalar]) -> bool:
    if isinstance(values[0], str):
        return _are_sound_texts(cast(Sequence[str], values), longest=MAX_TEXT)
    return _are_sound_numbers(cast(Sequence[float], values))


def _is_sound_mixture(values: Sequence[Scalar]) -> bool:
    numbers = [value for value in values if type(value) in _NUMBER_TYPES]
    texts = [value for value in values if type(value) is str]
    try:
        return (
            set(map(type, values)) <= _SCALAR_TYPES
            and _are_sound_numbers(cast(Sequence[float], numbers))
            and _are_sound_texts(texts, longest=MAX_TEXT)
        )
    except OverflowError:
        return False


def _are_sound_numbers(numbers: Sequence[float]) -> bool:
    # array() refuses what is not a number or a boolean, which saves a look at every type.
    return _are_within_limit(np.frombuffer(array("d", numbers)))


def _are_within_limit(numbers: NDArray[np.float64]) -> bool:
    # NaN travels through max() and then fails the comparison.
    return bool(np.abs(numbers).max(initial=0.0) <= NUMBER_LIMIT)


def _are_sound_texts(texts: Sequence[str], *, longest: int) -> bool:
    joined = "".join(texts)
    if len(joined) > longest and max(map(len, texts)) > longest:
        return False
    # isprintable() is several times faster than the search, and no bad character is printable.
    return joined.isprintable() or BAD_TEXT.search(joined) is None


def _have_sound_ids(records: list[dict[str, Scalar]], *, ids_required: bool) -> bool:
    found = list(map(dict.get, records, repeat(ID_FIELD), repeat(_ABSENT)))
    ids = [value for value in found if value is not _ABSENT] if _ABSENT in found else found
    if not ids:
        return not ids_required
    if ids_required and len(ids) < len(found):
        return False
    return _are_sound_ids(cast(list[Scalar], ids))


def _are_sound_ids(ids: Sequence[Scalar]) -> bool:
    texts = list(cast(Sequence[str], ids))
    try:
        joined = "".join(texts)
    except TypeError:
        return False
    lengths = set(map(len, texts))
    return (
        len(set(texts)) == len(texts)
        and min(lengths) > 0
        and max(lengths) <= MAX_ID
        and PATH_STEPS.isdisjoint(texts)
        # Without any white space there is none at an end, and one pass in C says so.
        and (joined.split() == [joined] or list(map(str.strip, texts)) == texts)
    )


# --- the wording: the definition of a good record ---------------------------------------------


def find_problems(body: list[object], *, ids_required: bool) -> Iterator[RecordProblem]:
    """Walk the records and yield every problem, in record order.

    Parameters
    ----------
    body : elements of the request, of any type.
    ids_required : whether every record must carry a `customer_id`.
    """
    ids = (record.get(ID_FIELD) for record in body if isinstance(record, dict))
    counts = Counter(value for value in ids if isinstance(value, str))
    for index, record in enumerate(body):
        if not isinstance(record, dict):
            yield RecordProblem(index, None, "wrong-type", "a record must be an object")
            continue
        if len(record) > MAX_ATTRIBUTES:
            detail = f"a record may hold at most {MAX_ATTRIBUTES:,} attributes"
            yield RecordProblem(index, None, "too-many", detail)
        for code, detail in _id_problems(record, counts, required=ids_required):
            yield RecordProblem(index, ID_FIELD, code, detail)
        yield from _attribute_problems(index, record)


def _id_problems(
    record: dict[object, object], counts: Counter[str], *, required: bool
) -> Iterator[tuple[str, str]]:
    value = record.get(ID_FIELD, _ABSENT)
    if value is _ABSENT:
        if required:
            yield "missing", "every record must have one"
    elif not isinstance(value, str):
        yield "wrong-type", "must be text"
    elif not value:
        yield "empty", "must not be empty"
    else:
        yield from _text_problems(value, longest=MAX_ID)
        if value != value.strip():
            yield "padded", "must not begin or end with white space"
        if value in PATH_STEPS:
            yield "bad-id", "must not be . or .., which no address can name"
        if counts[value] > 1:
            yield "duplicate-id", f"stands {counts[value]} times in this request"


def _attribute_problems(index: int, record: dict[object, object]) -> Iterator[RecordProblem]:
    for position, (name, value) in enumerate(record.items(), start=1):
        if name == ID_FIELD:
            continue
        if not isinstance(name, str):
            detail = f"the name of attribute {position} must be text"
            yield RecordProblem(index, None, "wrong-type", detail)
            continue
        bad_names = list(_name_problems(name))
        for code, detail in bad_names:
            yield RecordProblem(index, None, code, f"the name of attribute {position} {detail}")
        for code, detail in _value_problems(value):
            # A bad name is not repeated: it would carry its hidden characters into the answer.
            yield RecordProblem(index, None if bad_names else name, code, detail)


def _name_problems(name: str) -> Iterator[tuple[str, str]]:
    if not name:
        yield "empty", "must not be empty"
    yield from _text_problems(name, longest=MAX_NAME)


def _value_problems(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield from _text_problems(value, longest=MAX_TEXT, lines_allowed=True)
    elif isinstance(value, (dict, list)):
        yield "nested", "must be a number, true or false, text or null, not a list or an object"
    elif type(value) in _NUMBER_TYPES:
        number = cast(float, value)
        if number != number or number in (float("inf"), float("-inf")):
            yield "not-finite", "must be a finite number"
        elif abs(number) > NUMBER_LIMIT:
            yield "out-of-range", f"must lie between -{NUMBER_LIMIT:.0e} and {NUMBER_LIMIT:.0e}"
    elif type(value) not in _SCALAR_TYPES:
        yield "wrong-type", "must be a number, true or false, text or null"


def _text_problems(
    text: str, *, longest: int, lines_allowed: bool = False
) -> Iterator[tuple[str, str]]:
    if len(text) > longest:
        yield "too-long", f"must have at most {longest:,} characters"
    if BAD_TEXT.search(text.translate(LINE_WHITE) if lines_allowed else text) is not None:
        yield "bad-text", "must not hold control, invisible or broken characters"
