"""Comparisons, and gates that are tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import suite

import flowbench as fb


def test_gates_hold_regress_or_are_inconclusive(fast: fb.Result, slow: fb.Result) -> None:
    held = fb.compare(fast, fast.folder / "report.json" if fast.folder else "", ["p50 +10s"])
    assert held.passed and held.verdict is fb.Verdict.PASSED
    worse = fb.compare(fast, [slow], ["p50 +50%", "error_rate +50%"])
    assert worse.verdict is fb.Verdict.REGRESSED and not worse.passed
    verdicts = {gate.gate: gate.verdict for gate in worse}
    assert verdicts["p50 +50%"] is fb.Verdict.REGRESSED
    assert "search: p50 +50%: regressed" in worse.explain()
    with pytest.raises(fb.NotPassed):
        fb.compare(fast, slow, ["p50 +50%"], check=True)
    open_gate = fb.compare(fast, fb.Result(fast.data), ["p50 +0%"])
    assert open_gate.verdict is fb.Verdict.INCONCLUSIVE and not open_gate.passed
    assert next(iter(open_gate)).reason is not None
    assert fb.compare(fast, fast, ["p50 +0%"], inconclusive="pass").passed


def test_what_cannot_be_compared_is_an_exception(
    fast: fb.Result, slow: fb.Result, tmp_path: Path
) -> None:
    other = fb.run(suite(clients=1, requests=120), out=tmp_path / "out")
    with pytest.raises(fb.FlowbenchError, match="load") as raised:
        fb.compare(fast, other, ["p50 +10%"])
    assert raised.value.exit_code == 4
    if other["search"].valid:  # a busy machine is no regression
        assert fb.compare(fast, other, ["p50 +10s"], force=True).passed
    with pytest.raises(fb.SuiteError, match="p50 10"):
        fb.compare(fast, slow, ["p50 10"])


def test_a_comparison_has_tables_and_files(fast: fb.Result, slow: fb.Result, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    compared = fb.compare(fast, slow, ["p50 +50%"])
    assert isinstance(compared.gates, pandas.DataFrame) and len(compared.gates) == 1
    assert compared.gates["change"][0] > 0.5, "columns hold figures"
    assert "search" in set(compared.changes["scenario"])
    assert "regressed" in compared._repr_html_()
    for ending in (".html", ".md", ".xml", ".json"):
        assert "p50" in compared.save(tmp_path / f"gate{ending}").read_text()
    assert json.loads((tmp_path / "gate.json").read_text())["verdict"] == "regressed"


def test_a_run_is_compared_with_its_baseline(fast: fb.Result, tmp_path: Path) -> None:
    for number, base in enumerate([fast, fb.Result(fast.data)]):
        out = tmp_path / f"out-{number}"
        # One needs no list.
        result = fb.run(suite(), out=out, baseline=base, gates="p50 +10s")
        if result["search"].valid:  # a busy machine is no regression
            assert result.comparison is not None and result.comparison.passed
    with pytest.raises(fb.SuiteError, match="names? one with --baseline"):
        fb.run(suite(), out=tmp_path / "none", gates=["p50 +10%"])


TESTS = """
    SUITE = {suite}

    def test_fast_enough(flowbench):
        flowbench.run({{**SUITE, "scenarios": [{{**SUITE["scenarios"][0], "thresholds": ["p50 < 10s"]}}]}})

    def test_wrong_answers(flowbench):
        flowbench.run({{**SUITE, "scenarios": [{{**SUITE["scenarios"][0], "assert": ["response.docs | length == 2"]}}]}})

    def test_looked_at(flowbench):
        result = flowbench.run(SUITE, check=False)
        assert result["search"].requests == 120

    def test_no_slower(flowbench):
        flowbench.compare({fast!r}, {fast!r}, ["p50 +10s"])

    def test_slower(flowbench):
        flowbench.compare({fast!r}, {slow!r}, ["p50 +50%"])

    def test_inconclusive(flowbench):
        flowbench.compare({fast!r}, {fast!r}, ["p50 +0%"])

    def test_served(flowbench):
        flow = flowbench.serve(protocols=["grpc"])
        assert flow.running and flow.grpc.startswith("grpc://127.0.0.1:")
"""


def written(pytester: pytest.Pytester, fast: fb.Result, slow: fb.Result) -> None:
    """A user's tests."""
    text = TESTS.format(suite=suite(), fast=str(fast.folder), slow=str(slow.folder))
    pytester.makepyfile(text)


def test_verdicts_are_those_of_tests(
    pytester: pytest.Pytester, fast: fb.Result, slow: fb.Result, plugin: list[str]
) -> None:
    written(pytester, fast, slow)
    done = pytester.runpytest_subprocess(*plugin, "-v")
    done.assert_outcomes(passed=4, failed=3)
    done.stdout.fnmatch_lines(
        [
            "*test_fast_enough PASSED*",
            "*test_wrong_answers FAILED*",
            "*test_inconclusive FAILED*",
            "*assertion_failures == 0: failed, actual 120*",
            "*search: p50 +50%: regressed*",
        ]
    )
    # The words of the verdict alone: no stack of ours.
    done.stdout.no_fnmatch_line("*pytest_plugin.py*")


@pytest.mark.parametrize(("how", "failed"), [("skip", 2), ("pass", 2)])
def test_an_inconclusive_gate_can_be_skipped_or_pass(
    pytester: pytest.Pytester,
    fast: fb.Result,
    slow: fb.Result,
    plugin: list[str],
    how: str,
    failed: int,
) -> None:
    written(pytester, fast, slow)
    pytester.makeini(f"[pytest]\nflowbench_inconclusive = {how}\n")
    done = pytester.runpytest_subprocess(*plugin, "--flowbench-out", "kept")
    skipped = int(how == "skip")
    done.assert_outcomes(passed=5 - skipped, failed=failed, skipped=skipped)
    kept = sorted(path.parent.parent.name for path in Path(pytester.path).glob("kept/*/run-1/report.html"))
    assert len(kept) == 3 and kept[0].endswith("test_fast_enough")
    pytester.makeini("[pytest]\nflowbench_inconclusive = maybe\n")
    pytester.runpytest_subprocess(*plugin).assert_outcomes(errors=7)


def test_a_test_that_fails_stops_its_flow(pytester: pytest.Pytester, plugin: list[str]) -> None:
    pytester.makepyfile(
        """
        flows = []

        def test_fails(flowbench):
            flows.append(flowbench.serve())
            assert False

        def test_after_it():
            assert not flows[0].running
        """
    )
    pytester.runpytest_subprocess(*plugin).assert_outcomes(passed=1, failed=1)
