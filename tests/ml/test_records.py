"""Customer records: what is refused, where the problem is said to be, and what it never repeats."""

import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ml.records import (
    BAD_TEXT,
    MAX_ATTRIBUTES,
    MAX_ID,
    MAX_NAME,
    MAX_PROBLEMS,
    MAX_TEXT,
    NUMBER_LIMIT,
    InvalidRecords,
    RecordProblem,
    check_records,
    find_problems,
)


def refusal(
    records: object, *, max_records: int = 100, ids_required: bool = False
) -> InvalidRecords:
    with pytest.raises(InvalidRecords) as caught:
        check_records(records, max_records=max_records, ids_required=ids_required)
    return caught.value


def places(error: InvalidRecords) -> list[tuple[int, str | None, str]]:
    return [(problem.index, problem.field, problem.code) for problem in error.problems]


def test_good_records_come_back_as_they_were() -> None:
    records = [
        {
            "customer_id": "C-1",
            "age": 30,
            "spend": 1.5,
            "vip": True,
            "city": "Zürich",
            "note": None,
        },
        {"customer_id": "C-2", "age": 41},
        {},
    ]

    checked = check_records(records, max_records=3)

    assert checked is records


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"age": 1}, "not-a-list"),
        (None, "not-a-list"),
        ("[]", "not-a-list"),
        ([], "too-few"),
        ([{}] * 101, "too-many"),
    ],
)
def test_a_body_that_is_no_fitting_list_is_one_problem_of_the_whole(
    body: object, code: str
) -> None:
    error = refusal(body)

    assert places(error) == [(-1, None, code)]
    assert error.n_problems == 1


def test_too_many_records_states_the_limit() -> None:
    error = refusal([{}] * 1_001, max_records=1_000)

    assert "1,000" in error.problems[0].detail


@pytest.mark.parametrize("element", [None, 1, "x", [], [{}]])
def test_an_element_that_is_no_object_is_named_by_its_index(element: object) -> None:
    error = refusal([{"age": 1}, element])

    assert places(error) == [(1, None, "wrong-type")]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ([], "nested"),
        ({"a": 1}, "nested"),
        (float("nan"), "not-finite"),
        (float("inf"), "not-finite"),
        (float("-inf"), "not-finite"),
        (1.0000001e15, "out-of-range"),
        (-(10**15) - 1, "out-of-range"),
        (2**63, "out-of-range"),
        (10**400, "out-of-range"),
        ("x" * (MAX_TEXT + 1), "too-long"),
        ("a\x00b", "bad-text"),
        ("a\x0bb", "bad-text"),
        ("a\x85b", "bad-text"),
        ("a\u202eb", "bad-text"),
        ("a\u2066b", "bad-text"),
        ("a\u061cb", "bad-text"),
        ("a\u200bb", "bad-text"),
        ("\ufeffa", "bad-text"),
        ("\ud83d", "bad-text"),
        (b"bytes", "wrong-type"),
    ],
)
@pytest.mark.parametrize("neighbour", [None, 1, 2.5, True, "fine"])
def test_a_bad_value_is_named_by_record_and_field(
    value: object, code: str, neighbour: object
) -> None:
    error = refusal([{"a": neighbour, "b": neighbour}, {"a": neighbour, "b": value}])

    assert places(error) == [(1, "b", code)]


@pytest.mark.parametrize("others", [{"a": 2, "": 1}, {"a": 2}], ids=["columns", "records"])
def test_an_attribute_without_a_name_is_refused(others: dict[str, object]) -> None:
    error = refusal([others, {"a": 2, "": 1}])

    assert places(error)[-1] == (1, None, "empty")
    assert error.problems[-1].detail == "the name of attribute 2 must not be empty"
    assert error.n_problems == 1 + ("" in others)


@pytest.mark.parametrize("value", [NUMBER_LIMIT, -(10**15), 0, "", "x" * MAX_TEXT, "50 €\u00a0net"])
def test_values_on_the_limit_pass(value: object) -> None:
    records = [{"a": value}, {"a": None}]

    assert check_records(records, max_records=2) == records


@pytest.mark.parametrize(
    ("customer_id", "code"),
    [
        (12, "wrong-type"),
        (True, "wrong-type"),
        (None, "wrong-type"),
        ([], "wrong-type"),
        ("", "empty"),
        (" C-1", "padded"),
        ("C-1\u00a0", "padded"),
        ("x" * (MAX_ID + 1), "too-long"),
        ("C\u200d1", "bad-text"),
        (".", "bad-id"),
        ("..", "bad-id"),
    ],
)
def test_a_bad_customer_id_is_refused(customer_id: object, code: str) -> None:
    error = refusal([{"customer_id": "C-0"}, {"customer_id": customer_id}])

    assert places(error) == [(1, "customer_id", code)]


def test_an_id_may_hold_a_space_inside() -> None:
    records = [{"customer_id": "C 1"}, {"customer_id": "x" * MAX_ID}]

    assert check_records(records, max_records=2) == records


def test_an_id_given_twice_is_a_problem_at_both_places() -> None:
    error = refusal([{"customer_id": name} for name in ("C-1", "C-2", "C-1")])

    assert places(error) == [
        (0, "customer_id", "duplicate-id"),
        (2, "customer_id", "duplicate-id"),
    ]


def test_a_record_without_an_id_is_refused_only_where_ids_are_required() -> None:
    records = [{"customer_id": "C-1"}, {"age": 3}]

    check_records(records, max_records=2)
    error = refusal(records, ids_required=True)

    assert places(error) == [(1, "customer_id", "missing")]


@pytest.mark.parametrize(
    ("name", "code"),
    [("a" * (MAX_NAME + 1), "too-long"), ("a\u202e", "bad-text"), (3, "wrong-type")],
)
def test_a_bad_attribute_name_is_counted_off_and_not_repeated(name: Any, code: str) -> None:
    error = refusal([{"age": 1, name: 2}])

    assert places(error) == [(0, None, code)]
    assert "attribute 2" in error.problems[0].detail
    assert str(name) not in str(error)


def test_a_record_with_too_many_attributes_is_refused() -> None:
    fitting = {f"a{number}": 1 for number in range(MAX_ATTRIBUTES)}

    check_records([fitting], max_records=1)
    error = refusal([{"age": 1}, fitting | {"one more": 1}])

    assert places(error) == [(1, None, "too-many")]


def test_problems_are_sorted_capped_and_counted() -> None:
    error = refusal([{"a": [], "b": {}} for _ in range(80)])

    assert error.n_problems == 160
    assert len(error.problems) == MAX_PROBLEMS
    assert places(error) == sorted(places(error), key=lambda place: place[0])
    assert str(error).startswith("160 problems, the first: record 0, a:")


def test_no_detail_repeats_the_value() -> None:
    secret = "hunter2"

    error = refusal(
        [{"customer_id": f" {secret}", "a": f"{secret}\x00", "b": [secret], "c": secret * 500}]
    )

    assert error.n_problems == 4
    assert not any(secret in problem.detail for problem in error.problems)


def test_every_bad_character_is_unprintable() -> None:
    bad = {chr(point) for point in range(sys.maxunicode + 1) if BAD_TEXT.match(chr(point))}

    assert not any(map(str.isprintable, bad))
    assert {"\x00", "\x9f", "\u200e", "\u202a", "\u2069", chr(0xD800), chr(0xDFFF)} <= bad
    assert not bad & {"\u00a0", "\u00ad", "é", "中", "😀"}


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(10**16), max_value=10**16),
    st.just(10**320),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["a\x00", "\u200b", "\ud800", "x" * 1_001, " ", "C-1"]),
)
VALUES = SCALARS | st.just([]) | st.just({})
RECORDS = st.dictionaries(st.sampled_from(["customer_id", "a", "b", "c\u202e"]), VALUES, max_size=4)


@settings(max_examples=300, deadline=None)
@given(
    records=st.lists(RECORDS | SCALARS, min_size=1, max_size=6),
    ids_required=st.booleans(),
)
@example(records=[{"a": None, "b": "x"}, {"a": float("nan"), "b": 1}], ids_required=False)
@example(records=[{"customer_id": "a b"}, {"customer_id": "a "}], ids_required=True)
def test_the_quick_answer_agrees_with_the_wording(
    records: list[object], ids_required: bool
) -> None:
    expected = list(find_problems(records, ids_required=ids_required))

    try:
        check_records(records, max_records=6, ids_required=ids_required)
        found: tuple[RecordProblem, ...] = ()
    except InvalidRecords as error:
        found = error.problems

    assert found == tuple(expected)


@pytest.mark.parametrize("text", ["two\nlines", "a\tb", "a\r\nb"])
def test_lines_and_tabs_are_lawful_in_text_but_not_in_an_id_or_a_name(text: str) -> None:
    assert check_records([{"remark": text}], max_records=1) == [{"remark": text}]

    for record in ({"customer_id": text}, {text: 1}):
        with pytest.raises(InvalidRecords):
            check_records([record], max_records=1)
