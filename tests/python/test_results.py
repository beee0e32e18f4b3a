"""Results: their figures are those of the program."""

from __future__ import annotations

import builtins
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import suite

import flowbench as fb
from flowbench._distribution import decode

EXAMPLE = Path(__file__).parents[2] / "reports/example/report.json"


def distributions(data: Any) -> list[dict[str, Any]]:
    """All distributions with a histogram in a result."""
    if isinstance(data, dict):
        inner = [each for value in data.values() for each in distributions(value)]
        return [data, *inner] if data.get("histogram") and "p99.9" in data else inner
    if isinstance(data, list):
        return [each for value in data for each in distributions(value)]
    return []


def test_percentiles_of_histograms_are_those_of_the_program() -> None:
    found = distributions(json.loads(EXAMPLE.read_text()))
    assert len(found) > 20
    for data in found:
        # Without the figures that are there already, they are computed.
        bare = fb.Distribution({k: data[k] for k in ("histogram", "count", "beyond", "min", "max")})
        assert sum(bucket.count for bucket in bare.buckets) == data["count"]
        for percent in (50, 90, 95, 99, 99.9, 99.99):
            assert bare.percentile(percent) == pytest.approx(data[f"p{percent:g}"], abs=1e-9)
        assert bare.percentile(100) == data["max"]
        middle = sum(b.count * (b.low_ms + b.high_ms) / 2 for b in bare.buckets) / data["count"]
        # A bucket is at most a thousandth wide, and a microsecond at least.
        assert middle == pytest.approx(data["mean"], rel=2e-3, abs=1.5e-3)


def test_a_histogram_of_nothing_has_no_figures() -> None:
    empty = fb.Distribution({"count": 0, "p50": None, "histogram": None})
    assert (empty.count, empty.p50, empty.percentile(42), empty.buckets) == (0, None, None, [])
    with pytest.raises(ValueError, match="from 0 to 100"):
        empty.percentile(101)


@pytest.mark.parametrize("damage", ["", "AAAA", "HISTFAAAABAh4nEV"])
def test_a_damaged_histogram_is_refused(damage: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, any but a wrong figure
        decode(damage)


def test_a_result_is_the_same_read_again(fast: fb.Result) -> None:
    assert fast.folder
    for again in (fb.load(fast.folder), fb.load(fast.folder / "report.json")):
        assert again.data == json.loads((fast.folder / "report.json").read_text())
        assert again.folder == fast.folder
    with pytest.raises(FileNotFoundError):
        fb.load(fast.folder.parent)


def test_a_result_that_contradicts_itself_is_refused(fast: fb.Result, tmp_path: Path) -> None:
    data = json.loads(json.dumps(fast.data))
    data["scenarios"][0]["requests"]["sent"] += 1
    file = tmp_path / "edited.json"
    file.write_text(json.dumps(data))
    with pytest.raises(fb.SuiteError, match=r"scenarios\[0\]\.requests\.arrivals`: is 120"):
        fb.load(file)


def test_scenarios_and_timelines_are_data_frames(fast: fb.Result) -> None:
    pandas = pytest.importorskip("pandas")
    table = fast.scenarios
    assert isinstance(table, pandas.DataFrame)
    row = table.iloc[0]
    assert row["name"] == "search" and row["requests"] == 120 and row["failed"] == 0
    assert row["p50_ms"] == fast["search"].response_time.p50
    assert list(fast.thresholds["that"]) == ["error_rate == 0", "assertion_failures == 0", "dropped == 0"]
    seconds = fast.timeline()
    assert seconds["ok"].sum() == 120
    assert {"scenario", "t_s", "p99", "executor.e"} <= set(seconds.columns)
    shares = fast.histogram().to_pandas()
    assert shares["share"].iloc[-1] == 1 and shares["count"].sum() == 120


def test_without_pandas_tables_are_lists_of_dicts(
    fast: fb.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] in ("pandas", "matplotlib"):
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    rows: Any = fast.scenarios
    assert type(rows).__mro__[1] is list and rows[0]["name"] == "search"
    head, line = str(rows).splitlines()
    assert head.split()[:3] == ["name", "verdict", "valid"] and line.split()[:3] == ["search", "passed", "True"]
    assert "<td" in rows._repr_html_()
    seconds: Any = fast.timeline()
    assert sum(second["ok"] for second in seconds) == 120
    with pytest.raises(ImportError):
        fast.plot()


def test_a_matrix_is_in_columns(tmp_path: Path) -> None:
    wanted = suite("1ms", clients=1, requests=4)
    wanted["scenarios"][0]["matrix"] = {"request_size": [1, 2]}
    result = fb.run(wanted, out=tmp_path / "out")
    rows = [scenario.row for scenario in result]
    assert [row["matrix.request_size"] for row in rows] == [1, 2]
    assert result["search [request_size=2]"].ok == 4
    with pytest.raises(KeyError, match="name one of them"):
        result.histogram()
    with pytest.raises(KeyError, match="no scenario 'other'"):
        result["other"]


def test_every_format_can_be_saved(fast: fb.Result, tmp_path: Path) -> None:
    for ending, begins in [
        (".html", "<!doctype html>"),
        (".json", "{"),
        (".xml", "<?xml"),
        (".md", "#"),
        (".csv", "scenario"),
    ]:
        path = fast.save(tmp_path / f"result{ending}")
        assert path.read_text().startswith(begins), path.read_text()[:100]
    bare = fb.Result(fast.data)
    assert bare.report is None
    assert bare.save(tmp_path / "bare.json").read_text() == (tmp_path / "result.json").read_text()
    with pytest.raises(fb.SuiteError):
        fast.save(tmp_path / "result.docx")
    with pytest.raises(fb.NotWritten):
        fast.save(tmp_path / "no/such/folder/result.html")


def test_a_notebook_shows_a_table_and_no_markup_of_others(fast: fb.Result) -> None:
    page = fast._repr_html_()
    assert "search" in page and "fast: passed" in page and "<script" not in page
    # 120 requests are enough for a p50, and not for a p99, as in the table that `run` prints.
    shown = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    assert shown[3].endswith(" ms") and shown[4] == "–"
    data = json.loads(json.dumps(fast.data))
    data["suite"] = data["scenarios"][0]["name"] = "<script>alert(1)</script>"
    hostile = fb.Result(data)
    assert "<script" not in hostile._repr_html_() and "&lt;script" in hostile._repr_html_()


def test_figures_are_drawn(fast: fb.Result) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    figure = fast.plot("search")
    assert [axes.get_ylabel() for axes in figure.axes] == ["response time, ms", "requests per second"]
    axes = fast.histogram().plot(label="search")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["p50", "p90", "p99"]
    assert math.isclose(axes.lines[0].get_ydata()[-1], fast.histogram().max or 0, rel_tol=1e-2)
