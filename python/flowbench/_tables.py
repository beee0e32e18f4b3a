"""Tables: DataFrames where pandas is installed, else lists of dicts; and HTML for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Mapping, Sequence

if TYPE_CHECKING:
    import pandas as pd

STYLE = (
    "<style>.flowbench{font-family:system-ui,sans-serif;font-size:13px}"
    ".flowbench table{border-collapse:collapse;margin:.5em 0}"
    ".flowbench th,.flowbench td{padding:2px 10px 2px 0;text-align:right;font-variant-numeric:tabular-nums}"
    ".flowbench th:first-child,.flowbench td:first-child,.flowbench td.words{text-align:left}"
    ".flowbench .passed{color:#1a7f37}.flowbench .failed{color:#cf222e}"
    ".flowbench .open{color:#9a6700}</style>"
)


class Rows(List[Dict[str, Any]]):
    """A list of dicts that is printed, and shown in a notebook, as a table."""

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        names = list(dict.fromkeys(name for row in self for name in row))

        def cell(value: Any) -> str:
            return number(value) if isinstance(value, float) else "–" if value is None else str(value)

        return names, [[cell(row.get(name)) for name in names] for row in self]

    def __getitem__(self, key: Any) -> Any:
        """A column by its name, columns by a list of names, or a row by its number."""
        if isinstance(key, str):
            return [row[key] for row in self]
        if isinstance(key, list):
            return Rows({name: row[name] for name in key} for row in self)
        return super().__getitem__(key)

    def __str__(self) -> str:
        names, rows = self._cells()
        widths = [max(map(len, column)) for column in zip(names, *rows)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in [names, *rows]
        )

    def _repr_html_(self) -> str:
        names, rows = self._cells()
        table = html_table(names, [[(cell, "") for cell in row] for row in rows])
        return f'{STYLE}<div class="flowbench">{table}</div>'


def frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A DataFrame of the rows, or the rows themselves where pandas is not installed."""
    try:
        import pandas
    except ImportError:
        return Rows(rows)
    return pandas.DataFrame(list(rows))


def number(value: float | None, digits: int = 3) -> str:
    """A figure for people: three significant digits, thousands separated, a dash for none."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


#: How many requests it takes to certify a percentile, as docs/report.md says.
_NEEDED = {"p50": 11, "p90": 64, "p95": 130, "p99": 662}


def told(times: Mapping[str, Any], name: str) -> float | None:
    """A figure of a distribution by its name; None for a percentile that has too few requests."""
    value: float | None = times.get(name)
    return value if times.get("count", 0) >= _NEEDED.get(name, 0) else None


def told_ms(times: Mapping[str, Any], name: str) -> str:
    """The same for people, in milliseconds; a dash where there is none."""
    value = told(times, name)
    return "–" if value is None else f"{number(value)} ms"


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return "–" if share is None else f"{number(share * 100)} %"


def html_table(head: Iterable[str], rows: Iterable[Sequence[tuple[str, str]]]) -> str:
    """A table; each cell is a text and a class, which may be empty. Texts are escaped."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f'<td class="{kind}">{escape(text)}</td>' for text, kind in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"
