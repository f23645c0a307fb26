"""The anchor file takes lines at its end, and tells what is a line of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit import anchors
from audit.anchors import Anchor, UnreadableAnchor, append_heads, last_anchors, read_anchors

AT = datetime(2026, 11, 23, 5, tzinfo=UTC)
LINE = f"2026-11-23T05:00:00.000000+00:00 12 {'ab' * 32}"


def heads(first: int, last: int) -> list[Anchor]:
    return [Anchor(0, AT + timedelta(minutes=no), no, f"{no:064x}") for no in range(first, last)]


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "anchors.log"

    append_heads(path, heads(1, 3))
    append_heads(path, [])
    append_heads(path, heads(3, 4))

    found = read_anchors(path)
    assert [(each.line, each.no, each.digest) for each in found] == [
        (no, no, f"{no:064x}") for no in (1, 2, 3)
    ]
    assert found[2].at == AT + timedelta(minutes=3)
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.read_text().splitlines()[0] == f"2026-11-23T05:01:00.000000+00:00 1 {'0' * 63}1"


def test_no_anchors_make_no_file(tmp_path: Path) -> None:
    append_heads(tmp_path / "anchors.log", [])

    assert not (tmp_path / "anchors.log").exists()


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        LINE[:-1],
        LINE + "0",
        LINE.replace("ab", "AB"),
        LINE.replace(" 12 ", " 0 "),
        LINE.replace(" 12 ", " 012 "),
        LINE.replace(" 12 ", "  12 "),
        LINE.replace(" 12 ", f" {'9' * 19} "),
        LINE.replace("+00:00", ""),
        LINE.replace("11-23", "13-23"),
        LINE.replace("ab", "ä", 1),
        "\0" * 105,
    ],
)
def test_what_is_no_anchor_is_named_by_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "anchors.log"
    path.write_text(f"{LINE}\n\n{text}\n{LINE}\n")

    with pytest.raises(UnreadableAnchor, match="line 3") as refusal:
        read_anchors(path)

    assert refusal.value.line == 3
    assert [each.no for each in last_anchors(path)] == [12, 12]


def test_an_anchor_never_continues_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "anchors.log"
    path.write_text(f"{LINE}\n{LINE[:50]}")

    append_heads(path, heads(13, 14))

    assert path.read_text().splitlines() == [LINE, LINE[:50], str(heads(13, 14)[0])]
    assert [each.no for each in last_anchors(path)] == [12, 13]


def test_the_last_anchors_are_those_of_whole_lines_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "anchors.log"
    append_heads(path, heads(1, 1001))

    last = [each.no for each in last_anchors(path)]

    assert last == list(range(last[0], 1001))
    assert 100 < len(last) < 200
    assert len(read_anchors(path)) == 1000


def test_without_a_file_there_are_no_last_anchors(tmp_path: Path) -> None:
    assert last_anchors(tmp_path / "anchors.log") == []
    with pytest.raises(FileNotFoundError):
        read_anchors(tmp_path / "anchors.log")


def test_a_line_that_the_disk_took_in_part_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = anchors.os.write
    monkeypatch.setattr(anchors.os, "write", lambda handle, content: write(handle, content[:9]))

    with pytest.raises(OSError, match="in part"):
        append_heads(tmp_path / "anchors.log", heads(1, 2))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    for use in (
        read_anchors,
        last_anchors,
        lambda path: append_heads(path, [Anchor(0, AT, 1, "ab" * 32)]),
    ):
        with pytest.raises(OSError, match="no regular file"):
            use(path)
