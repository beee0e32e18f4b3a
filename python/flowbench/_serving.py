"""The built-in Flow as a server, for tests of your own."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Mapping, Sequence

from flowbench._errors import FlowbenchError, error_of
from flowbench._process import Process, StrPath, words
from subprocess import PIPE

#: How long requests in flight may take when it is stopped: flowbench itself waits 30 s.
_STOP_S = 35.0
_SCHEMES = {"grpc": "grpc", "grpcs": "grpc", "http": "http", "https": "http", "ws": "websocket", "wss": "websocket"}


class Flow:
    """A Flow that runs. As a context manager, it is stopped at the end of the block."""

    def __init__(self, process: Process, addresses: Mapping[str, str]) -> None:
        self._process = process
        #: Its addresses by protocol: `grpc`, `http`, `websocket`.
        self.addresses: dict[str, str] = dict(addresses)

    @property
    def address(self) -> str:
        """The address of its first protocol."""
        return next(iter(self.addresses.values()))

    @property
    def grpc(self) -> str:
        """The address for gRPC."""
        return self._of("grpc")

    @property
    def http(self) -> str:
        """The address for HTTP."""
        return self._of("http")

    @property
    def websocket(self) -> str:
        """The address for WebSocket."""
        return self._of("websocket")

    def _of(self, protocol: str) -> str:
        if protocol not in self.addresses:
            raise FlowbenchError(f"this Flow serves {', '.join(self.addresses)}, not {protocol}")
        return self.addresses[protocol]

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.code is None

    def stop(self) -> None:
        """Lets it finish what is in flight, and ends it."""
        self._process.end(_STOP_S)
        self._process.stdout.close()

    def __enter__(self) -> Flow:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = ", ".join(self.addresses.values()) if self.running else "stopped"
        return f"<Flow: {state}>"


def serve(
    config: StrPath | Mapping[str, Any] | None = None,
    *,
    protocols: Sequence[str] | str | None = None,
    family: str | None = None,
    ports: Sequence[int] | None = None,
    log: StrPath | None = None,
) -> Flow:
    """Starts the built-in Flow on free ports; it answers when this returns.

    `config` is a YAML file or a dict with the keys of docs/embedded-flow.md; by default, an encoder and an index. The
    other arguments override it. Paths in a dict are relative to the current folder.
    """
    arguments = ["serve"]
    if protocols is not None:
        arguments += ["--protocol", ",".join(words(protocols))]
    if ports is not None:
        arguments += ["--port", ",".join(str(port) for port in ports)]
    if family is not None:
        arguments += ["--family", family]
    if log is not None:
        arguments += ["--log", os.fspath(log)]
    if isinstance(config, Mapping):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "flow.json"
            file.write_text(json.dumps(_absolute(config), indent=2))
            return _started([*arguments, "--config", str(file)], {str(file): "config"})
    if config is not None:
        arguments += ["--config", os.fspath(config)]
    return _started(arguments)


def _absolute(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with absolute paths."""
    whole = dict(config)
    if isinstance(whole.get("log"), str):
        whole["log"] = os.path.abspath(whole["log"])
    if isinstance(whole.get("tls"), Mapping):
        whole["tls"] = {k: os.path.abspath(v) for k, v in whole["tls"].items()}
    return whole


def _started(arguments: Sequence[str], shown: Mapping[str, str] = {}) -> Flow:
    """`shown`: what files are called in messages that the user never wrote."""
    process = Process(arguments, stdout=PIPE)
    try:
        # All addresses are written at once, when all of them answer.
        told = os.read(process.stdout.fileno(), 65536).decode()
    except BaseException:
        process.end(0)
        raise
    if not told:
        code = process.wait()
        process.stdout.close()
        text = process.text
        for file, name in shown.items():
            text = text.replace(file, name)
        raise error_of(code, text)
    addresses = {_SCHEMES[line.split("://")[0]]: line for line in told.splitlines()}
    return Flow(process, addresses)
