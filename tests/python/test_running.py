"""Runs: what goes in, what comes out, and how they end early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Callable

import pytest
from conftest import suite

import flowbench as fb

FILE = """\
name: of a file
vars: {requests: 5, name: nobody}
scenarios:
  - {name: one, documents: {text: "${{ vars.name }}"}, load: {clients: 1, requests: "${{ vars.requests }}"}}
  - {name: two, documents: {text: hello}, load: {clients: 1, requests: 3}}
"""


def test_a_file_runs_with_what_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("suite.yaml").write_text(FILE)
    result = fb.run("suite.yaml", set={"requests": 7, "name": "a=b"}, only=["one"])
    assert [scenario.name for scenario in result] == ["one"]
    assert result["one"].ok == 7
    assert result.passed and result.verdict is fb.Verdict.PASSED
    assert result.folder and result.folder.parent == Path("reports")
    assert result.report and result.report.read_text().startswith("<!doctype html>")


def test_a_suite_can_be_a_dict(tmp_path: Path) -> None:
    wanted = {**suite("1ms", clients=1, requests=3), "name": "grüße"}
    result = fb.run(wanted, out=tmp_path / "out")
    assert (result.suite, result["search"].ok) == ("grüße", 3)


def test_environment_variables_reach_the_suite(tmp_path: Path) -> None:
    wanted = suite("1ms", clients=1, requests=2)
    wanted["scenarios"][0]["documents"] = {"text": "${{ env.WORD_OF_TEST }}"}
    result = fb.run(wanted, out=tmp_path / "out", env={"WORD_OF_TEST": "hello"})
    assert result.passed


def test_the_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    fb.run(suite("1ms", clients=1, requests=2), out=tmp_path)
    with pytest.raises(fb.FlowbenchError, match="a folder of its own"):
        fb.run(suite("1ms", clients=1, requests=2), out=tmp_path)


def test_thresholds_that_fail_are_a_result_and_with_check_an_exception(tmp_path: Path) -> None:
    wanted = suite()
    # However busy the machine is: a latency may be inconclusive there.
    wanted["scenarios"][0]["assert"] = ["response.docs | length == 2"]
    result = fb.run(wanted, out=tmp_path / "a")
    assert result.verdict is fb.Verdict.FAILED and not result.passed
    (threshold,) = [t for t in result["search"].thresholds if not t.passed]
    assert (threshold.that, threshold.actual, threshold.unit) == ("assertion_failures == 0", 120, "count")
    with pytest.raises(fb.NotPassed, match="assertion_failures == 0: failed, actual 120") as raised:
        fb.run(wanted, out=tmp_path / "b", check=True)
    assert raised.value.verdict == "failed"


def test_a_target_that_is_not_there_is_a_verdict(tmp_path: Path) -> None:
    wanted = suite("1ms")
    wanted["flows"] = {"local": {"host": "grpc://127.0.0.1:1"}}
    result = fb.run(wanted, out=tmp_path / "out")
    assert result.verdict is fb.Verdict.NOT_REACHED
    assert "127.0.0.1:1" in result.explain()


def test_a_mistake_is_an_exception_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(FILE.replace("clients: 1, requests: 3", "client: 1, requests: 3"))
    with pytest.raises(fb.SuiteError) as raised:
        fb.run(file)
    error = raised.value
    assert (error.file, error.line, error.column) == (str(file), 5, 50)
    assert error.message == "unknown key `client` in `load`"
    assert error.help is not None and "clients" in error.help
    assert error.exit_code == 2
    assert "^^^^^^" in str(error)


def test_check_finds_all_mistakes_and_sends_nothing(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(FILE)
    assert fb.check(file) == []
    file.write_text(FILE.replace("one, documents", "one, docs").replace("two, documents", "two, docs"))
    assert [problem.line for problem in fb.check(file)] == [4, 5]
    assert fb.check({"scenarios": 3})[0].file == "stdin"


def test_a_file_that_is_not_there_is_a_suite_error() -> None:
    with pytest.raises(fb.SuiteError, match=r"no/such\.yaml"):
        fb.run("no/such.yaml")


def test_a_run_is_started_looked_at_and_stopped(tmp_path: Path) -> None:
    with fb.start(suite(clients=2, duration="10m"), out=tmp_path / "out") as run:
        until = time.monotonic() + 30
        while not (run.folder / "journal.jsonl").exists():
            assert run.running and time.monotonic() < until
            time.sleep(0.05)
        with pytest.raises(TimeoutError):
            run.wait(timeout=1)
        assert run.running
        run.stop()
        result = run.wait()
    assert not run.running
    assert result.interrupted and result.verdict is fb.Verdict.INTERRUPTED
    assert result["search"].ok > 0
    assert run.wait().verdict is fb.Verdict.INTERRUPTED, "a result can be asked for again"


def test_the_end_of_the_block_stops_a_run(tmp_path: Path) -> None:
    with fb.start(suite(clients=1, duration="10m"), out=tmp_path / "out") as run:
        time.sleep(0.5)
    assert not run.running


def in_python(script: str, folder: Path) -> subprocess.Popen[str]:
    """A program of its own that uses the package."""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(script)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def until_measured(folder: Path) -> None:
    """Waits until a run into this folder has measured something."""
    until = time.monotonic() + 60
    journal = folder / "journal.jsonl"
    while not journal.exists() or journal.read_text().count("\n") < 3:
        assert time.monotonic() < until
        time.sleep(0.1)


INTERRUPTED = """
    import flowbench
    suite = {"scenarios": [{"name": "s", "documents": {"text": "a"}, "load": {"clients": 1, "duration": "10m"}}]}
    try:
        flowbench.run(suite, out="out")
    except flowbench.Interrupted as error:
        print("interrupted", error.result.interrupted, error.result["s"].ok > 0)
"""


@pytest.mark.parametrize("signalled", [os.kill, os.killpg], ids=["process", "group"])
def test_ctrl_c_ends_a_run_and_keeps_its_report(
    tmp_path: Path, signalled: Callable[[int, int], None]
) -> None:
    program = in_python(INTERRUPTED, tmp_path)
    until_measured(tmp_path / "out")
    signalled(program.pid, signal.SIGINT)
    said, _ = program.communicate(timeout=60)
    assert said == "interrupted True True\n"
    assert fb.load(tmp_path / "out").interrupted
    assert (tmp_path / "out/report.html").is_file()


def test_a_run_does_not_outlive_the_program_that_started_it(tmp_path: Path) -> None:
    program = in_python(
        INTERRUPTED.replace("flowbench.run(suite, out=\"out\")", """
        run = flowbench.start(suite, out="out")
        print(run._process._child.pid)
        run.wait()"""),
        tmp_path,
    )
    assert program.stdout is not None
    pid = int(program.stdout.readline())
    until_measured(tmp_path / "out")
    program.kill()
    program.wait()
    program.stdout.close()
    until = time.monotonic() + 30
    while lives(pid):
        assert time.monotonic() < until, "it runs on"
        time.sleep(0.1)
    assert fb.load(tmp_path / "out").interrupted, "and its report is complete"


def lives(pid: int) -> bool:
    """Whether a process runs; one that nobody has asked how it ended does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(state.stdout.strip()) and not state.stdout.strip().startswith("Z")


def test_a_run_that_was_killed_has_what_it_measured(tmp_path: Path) -> None:
    run = fb.start(suite(clients=1, duration="10m"), out=tmp_path / "out")
    until_measured(run.folder)
    time.sleep(1)
    run._process.signal(signal.SIGKILL)
    with pytest.raises(fb.FlowbenchError, match=r"flowbench\.load") as raised:
        run.wait()
    assert raised.value.exit_code == -signal.SIGKILL
    assert fb.load(run.folder).interrupted


def test_the_program_is_named_or_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fb.find_binary()
    monkeypatch.setenv("FLOWBENCH_BINARY", str(tmp_path / "nothing"))
    with pytest.raises(fb.BinaryNotFound, match="not a program"):
        fb.check({})
    monkeypatch.setenv("FLOWBENCH_BINARY", found)
    said = subprocess.run(
        [sys.executable, "-m", "flowbench", "--version"], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert said.stdout.startswith("flowbench ")


def test_runs_that_begin_together_have_a_folder_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results: dict[int, fb.Result] = {}

    def go(requests: int) -> None:
        results[requests] = fb.run(suite(clients=1, requests=requests), progress=False)

    threads = [threading.Thread(target=go, args=(requests,)) for requests in (3, 5, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: result["search"].requests for n, result in results.items()} == {3: 3, 5: 5, 7: 7}
    assert len({result.folder for result in results.values()}) == 3


def test_the_first_of_many_mistakes_is_told_first() -> None:
    whole = suite()
    whole["scenarios"] = [{**whole["scenarios"][0], "name": f"s{n}", "bad": 1} for n in range(150)]
    with pytest.raises(fb.SuiteError) as raised:
        fb.run(whole)
    assert raised.value.line == fb.check(whole)[0].line
    assert len(raised.value.problems) >= 100


def test_words_need_no_list(tmp_path: Path) -> None:
    result = fb.run(suite(clients=1, requests=3), only="search", out=tmp_path / "out")
    assert "search" in result and "index" not in result
    with fb.serve(protocols="grpc") as flow:
        assert list(flow.addresses) == ["grpc"]


def test_percentiles_of_too_few_requests_are_empty(tmp_path: Path) -> None:
    search = fb.run(suite(clients=1, requests=20), out=tmp_path / "out")["search"]
    assert search.row["p50_ms"] is not None and search.row["p99_ms"] is None
    assert "p99 –" in repr(search) and "p99 –" in repr(search.response_time)


def test_an_exception_has_the_exit_code_of_the_program(tmp_path: Path) -> None:
    failing = suite(clients=1, requests=20)
    failing["scenarios"][0]["thresholds"] = ["p50 < 1us"]
    with pytest.raises(fb.NotPassed) as raised:
        fb.run(failing, out=tmp_path / "out", check=True)
    assert raised.value.exit_code == 1
    with pytest.raises(fb.SuiteError, match="already") as taken:
        fb.run(failing, out=tmp_path / "out")
    assert taken.value.exit_code == 2
