"""An import as a person reads it: the first rows before it, and what became of it."""

from __future__ import annotations

from typing import Any

from django.template.defaultfilters import filesizeformat

from access.figures import NONE, figure, share
from access.staff import Table
from modelregistry.activation import active_versions
from segments.import_needs import needs_words
from segments.import_preview import LOOKED_UP_IDS, Preview
from segments.models import CustomerImport, ImportKind, ImportState

MAX_SHOWN_PROBLEMS = 20


def preview_context(seen: Preview, form: Any) -> dict[str, Any]:
    """What the second step shows; `form` is the one that chooses the columns. One query."""
    return {
        "seen": seen,
        "format": seen.format,
        "looked_at": looked_at_words(seen),
        "would": would_words(seen),
        "needs": needs_words(seen, active_versions()),
        "first_rows": first_rows(seen),
        "mapping": mapping_rows(seen, form),
        "problems": Table(
            ["Line", "Column", "Problem"],
            [
                (figure(problem.line), problem.column or NONE, problem.detail)
                for problem in seen.problems[:MAX_SHOWN_PROBLEMS]
            ],
        ),
    }


def looked_at_words(seen: Preview) -> str:
    if seen.is_whole:
        if seen.n_rows == 1:
            return "The only row was looked at."
        return f"All {seen.n_rows:,} rows were looked at."
    first = "The first row was" if seen.n_rows == 1 else f"The first {seen.n_rows:,} rows were"
    return f"{first} looked at; what comes after is checked later."


def would_words(seen: Preview) -> str:
    """What is known of who would be created and updated."""
    if not seen.n_ids:
        return ""
    n_new = seen.n_ids - seen.n_known
    whose = "" if seen.is_whole and seen.n_ids < LOOKED_UP_IDS else f"Of the first {seen.n_ids:,}: "
    return f"{whose}{n_new:,} would be created, {seen.n_known:,} updated."


def first_rows(seen: Preview) -> Table:
    rows = list(zip(*(column.cells for column in seen.columns), strict=False))
    return Table([column.name or NONE for column in seen.columns], rows)


def mapping_rows(seen: Preview, form: Any) -> list[dict[str, Any]]:
    """A row for each column of the file; none when there are too many to choose from."""
    if not form.is_mapped:
        return []
    return [
        {
            "name": column.name or NONE,
            "keep": form[f"keep_{place}"],
            "new_name": form[f"name_{place}"],
            "kind": "id" if column.is_id else column.kind or NONE,
            "missing": share(column.missing_share),
        }
        for place, column in enumerate(seen.columns)
    ]


def import_context(row: CustomerImport) -> dict[str, Any]:
    return {
        "title": f"Import of {row.file_name}",
        "row": row,
        "percent": round(row.progress * 100),
        "counts": [
            ("Customers created", figure(row.n_created)),
            ("Customers updated", figure(row.n_updated)),
            ("Rows left out", figure(row.n_rejected)),
        ],
        "is_done": row.state == ImportState.SUCCEEDED,
        "facts": facts(row),
        "n_more_problems": max(0, row.n_problems - len(row.problems)),
        "problems": Table(
            ["Line", "Column", "Problem"],
            [(figure(line), column or NONE, detail) for line, column, detail in row.problems],
        ),
    }


def facts(row: CustomerImport) -> list[tuple[str, Any]]:
    columns = row.columns or []
    left_out = sum(name is None for name in columns)
    return [
        ("File", f"{row.file_name}, {filesizeformat(row.n_bytes)}"),
        ("Of", row.get_kind_display().lower()),
        ("Column of ids", row.id_column or ("told by its name" if _is_open(row) else NONE)),
        ("Columns left out", figure(left_out) if left_out else "none"),
        ("Bad rows", "left out" if row.skip_bad_rows else "refuse the whole file"),
        ("By", row.imported_by),
        ("Uploaded" if row.upload else "Begun", row.uploaded_at),
        ("Started", row.started_at or NONE),
        ("Finished", row.finished_at or NONE),
    ]


def _is_open(row: CustomerImport) -> bool:
    is_customers = row.kind == ImportKind.CUSTOMERS
    return is_customers and row.state in (ImportState.UPLOADED, ImportState.QUEUED)
