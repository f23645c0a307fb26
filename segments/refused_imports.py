"""The audit entry of an import that was refused: why, and never a value of the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audit import trail
from audit.models import Outcome
from segments.table_problems import InvalidTable, UnreadableTable


@contextmanager
def refusals_recorded(action: str, path: Path, *, by: trail.Actor) -> Iterator[None]:
    """Leave one entry when the file is refused inside the block; the refusal goes on.

    For use outside the transaction of the import, which takes all that it wrote with it.
    """
    try:
        yield
    except (UnreadableTable, InvalidTable) as error:
        trail.record(
            action,
            by=by,
            target=("file", path.name),
            outcome=Outcome.REFUSED,
            details=refusal_details(error),
        )
        raise


def refusal_details(error: UnreadableTable | InvalidTable) -> dict[str, object]:
    """A reason code and, of bad rows, how many problems and which rules they broke."""
    if isinstance(error, UnreadableTable):
        return {"code": "unreadable-table"}
    return {
        "code": "invalid-table",
        "n_problems": error.n_problems,
        "problem_codes": sorted({problem.code for problem in error.problems}),
    }
