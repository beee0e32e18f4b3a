"""The built-in Flow in tests of one's own."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

import flowbench as fb


def posted(address: str, text: str) -> str:
    """What a Flow answers to a Document, asked over HTTP without any client of ours."""
    body = json.dumps({"data": [{"text": text}], "execEndpoint": "/"}).encode()
    asked = urllib.request.Request(f"{address}/post", body, {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as response:
        return str(json.load(response)["data"][0]["text"])


def test_a_flow_answers_within_its_block() -> None:
    with fb.serve() as flow:
        assert list(flow.addresses) == ["grpc", "http", "websocket"]
        assert flow.address == flow.grpc
        assert posted(flow.http, "hello") == "hello"
        asked = [fb.find_binary(), "ready", flow.websocket]
        assert "is ready" in subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert not flow.running
    with pytest.raises(OSError):
        posted(flow.http, "hello")
    flow.stop()  # is no mistake


def test_a_flow_is_what_its_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {
        "protocols": ["http"],
        "log": "flow.log",
        "executors": [{"name": "answer", "default": {"set": {"text": "42"}}}],
    }
    with fb.serve(settings) as flow:
        assert posted(flow.http, "question") == "42"
        with pytest.raises(fb.FlowbenchError, match="serves http, not grpc"):
            _ = flow.grpc
    assert Path("flow.log").read_text().count("\n") >= 1
    Path("flow.yml").write_text("protocols: [http, grpc]\n")
    with fb.serve("flow.yml", protocols=["http"]) as flow:
        assert list(flow.addresses) == ["http"]


def test_a_flow_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(fb.SuiteError) as raised:
        fb.serve({"executors": [{"name": "a", "servce_time": "5ms"}]})
    assert raised.value.line == 5
    assert raised.value.help is not None and "service_time" in raised.value.help
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(fb.Unreachable, match="in use"):
            fb.serve(protocols=["grpc"], ports=[taken.getsockname()[1]])
