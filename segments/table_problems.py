"""What can be wrong with a customer table: as a whole, or with single rows of it.

A problem names the line, the column and the rule that was broken, never the value itself.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MAX_PROBLEMS = 100
"""Problems kept for the report, in file order; all of them are counted."""


class UnreadableTable(ValueError):
    """The file is no table that we can read: one line on what, where and what to do."""


@dataclass(frozen=True, slots=True)
class RowProblem:
    """One broken rule in one row; `line` is the 1-based line of the file (Parquet: the row)."""

    line: int
    column: str | None
    code: str
    detail: str


class InvalidTable(ValueError):
    """The table can be read, and some of its rows cannot be taken."""

    def __init__(self, problems: Sequence[RowProblem], n_problems: int) -> None:
        self.problems = tuple(problems[:MAX_PROBLEMS])
        self.n_problems = n_problems
        first = self.problems[0]
        where = f"line {first.line}" + (f", column {first.column}" if first.column else "")
        noun = "problem" if n_problems == 1 else "problems"
        super().__init__(f"{n_problems:,} {noun} in the table; first: {where}: {first.detail}")


@contextmanager
def explained_failures(path: Path) -> Iterator[None]:
    """Turn what reading a file can raise into one clear line."""
    try:
        yield
    except FileNotFoundError as error:
        raise UnreadableTable(f"{path}: there is no such file") from error
    except IsADirectoryError as error:
        raise UnreadableTable(f"{path} is a directory: name one table file") from error
    except PermissionError as error:
        raise UnreadableTable(f"{path}: no permission to read this file") from error
    except UnicodeDecodeError as error:
        raise UnreadableTable(_encoding_text(path, error)) from error
    except csv.Error as error:
        raise UnreadableTable(f"{path}: {error}") from error
    except EOFError as error:
        raise UnreadableTable(
            f"{path}: the gzip file ends too early; copy or compress it again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableTable(f"{path}: the gzip file is damaged ({error})") from error
    except OSError as error:
        raise UnreadableTable(f"{path}: cannot be read ({error.strerror or error})") from error


def _encoding_text(path: Path, error: UnicodeDecodeError) -> str:
    if error.encoding == "charmap":  # the guess of last resort failed as well
        return f"{path}: the text is neither UTF-8 nor Windows-1252; save the table as UTF-8"
    return (
        f"{path}: the text is not valid {error.encoding.upper()}, as its first bytes say it is "
        f"({error.reason}); save the table as UTF-8"
    )
