"""The page docs/python.md and the notebook keep their word, and types are what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import flowbench as fb

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/python.md").read_text()


def blocks(kind: str) -> list[str]:
    """Blocks of a page by the words behind their fence."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def prepared(folder: Path) -> None:
    """The files that the page names."""
    (suite,) = blocks("yaml suite")
    (folder / "suite.yaml").write_text(suite)


def test_its_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    prepared(tmp_path)
    examples = blocks("python")
    assert len(examples) >= 8
    names: dict[str, object] = {}
    for example in examples:
        exec(compile(example, "docs/python.md", "exec"), names)  # noqa: S102


def test_its_tests_pass(pytester: pytest.Pytester, plugin: list[str]) -> None:
    prepared(Path(pytester.path))
    (tests,) = blocks("python test")
    pytester.makepyfile(tests)
    done = pytester.runpytest_subprocess(*plugin, "--flowbench-inconclusive", "skip")
    outcomes = done.parseoutcomes()
    # A busy machine leaves a gate open.
    assert outcomes.get("failed", 0) == 0 and outcomes.get("passed", 0) >= 2, outcomes


def test_it_names_everything_that_is_public() -> None:
    missing = [name for name in fb.__all__ if f"`{name}" not in PAGE and f".{name}" not in PAGE]
    assert not missing


def test_the_notebook_runs(tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(ROOT / "docs/notebook.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert any("image/png" in out.get("data", {}) for out in shown)
    assert any('class="flowbench"' in out.get("data", {}).get("text/html", "") for out in shown)


def test_types_are_complete() -> None:
    pytest.importorskip("mypy")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_stop_button_of_a_notebook_ends_a_run_and_keeps_its_report(tmp_path: Path) -> None:
    manager = pytest.importorskip("jupyter_client.manager")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    kernel, client = manager.start_new_kernel(kernel_name="python3", cwd=str(tmp_path), env=environment)
    try:
        cell = """
import flowbench
suite = {"scenarios": [{"name": "s", "documents": {"text": "a"}, "load": {"clients": 1, "duration": "10m"}}]}
try:
    flowbench.run(suite, out="out")
except flowbench.Interrupted as stopped:
    result = stopped.result
result
"""
        pages: list[str] = []
        asked = client.execute(cell)
        until = time.monotonic() + 60
        while not (tmp_path / "out/journal.jsonl").exists():
            assert time.monotonic() < until
            time.sleep(0.1)
        time.sleep(1.5)
        kernel.interrupt_kernel()
        while (reply := client.get_shell_msg(timeout=60))["parent_header"]["msg_id"] != asked:
            pass
        assert reply["content"]["status"] == "ok", reply["content"]
        state = ""
        while state != "idle":
            message = client.get_iopub_msg(timeout=10)
            if message["parent_header"].get("msg_id") == asked:
                state = message["content"].get("execution_state", "")
                pages.append(message["content"].get("data", {}).get("text/html", ""))
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    assert any("running for" in page for page in pages), "the cell shows how far the run is"
    assert any("suite: interrupted" in page for page in pages), "and the result as any other"
    assert fb.load(tmp_path / "out").interrupted
