"""The program as a process: started, listened to, stopped, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from typing import IO, Mapping, Sequence, Union

from flowbench._binary import find_binary

StrPath = Union[str, "os.PathLike[str]"]

#: How much of what a program says is kept for messages: lines at the beginning, where a suite's mistakes are, and at
#: the end.
LINES_KEPT = 3000, 400


class Process:
    """A program in a process group of its own.

    Ctrl-C on a terminal, and the stop button of a notebook, send SIGINT to every process of a group. A program that
    got it from there and from us would take it for a second one, and end at once instead of writing its report.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        input: str | None = None,
        stdout: int = subprocess.DEVNULL,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._child = subprocess.Popen(
            [find_binary(), *arguments],
            stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            start_new_session=True,
        )
        self._watchdog = _watch(self._child.pid)
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=LINES_KEPT[1])
        #: How many lines it has said so far.
        self.said = 0
        assert self._child.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(self._child.stderr,), daemon=True)
        self._reader.start()
        if input is not None:
            assert self._child.stdin is not None
            try:
                self._child.stdin.write(input.encode())
                self._child.stdin.close()
            except BrokenPipeError:
                pass  # it ended before it had read all, and says why

    def _read(self, stderr: IO[bytes]) -> None:
        for line in stderr:
            lines = self._first if len(self._first) < LINES_KEPT[0] else self._last
            lines.append(line.decode(errors="replace").rstrip("\r\n"))
            self.said += 1
        stderr.close()

    @property
    def stdout(self) -> IO[bytes]:
        """What it writes, if that was asked for."""
        assert self._child.stdout is not None
        return self._child.stdout

    def lines(self, since: int = 0) -> list[str]:
        """What it said on stderr after so many lines."""
        kept = [*self._first, *self._last]
        return kept[max(0, len(kept) - (self.said - since)) :]

    @property
    def text(self) -> str:
        """All that it said on stderr, or the beginning and the end of it."""
        return "\n".join([*self._first, *self._last])

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._child.poll()

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal, if it still runs."""
        if self._child.poll() is None:
            self._child.send_signal(number)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, when it has ended and all that it said was read."""
        code = self._child.wait(timeout)
        self._reader.join(timeout=5)
        self._release()
        return code

    def end(self, seconds: float) -> None:
        """Ends it: SIGTERM, and SIGKILL if it takes longer than this."""
        self.signal(signal.SIGTERM)
        try:
            self.wait(seconds)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self.wait()

    def _release(self) -> None:
        """Sends the watchdog home."""
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is None:
            return
        try:
            watchdog.communicate(b"\n", timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            watchdog.kill()
            watchdog.wait()


def _watch(pid: int) -> subprocess.Popen[bytes] | None:
    """Ends the process if this one is gone, however that came about. Needs `sh`; without it, nobody watches.

    The watchdog reads from a pipe whose other end only this process has. A line says that there is nothing left
    to do; the end of the pipe says that this process is gone.
    """
    try:
        return subprocess.Popen(
            ["sh", "-c", 'read -r line || kill -TERM "$0"', str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return None


def words(given: Sequence[str] | str) -> list[str]:
    """One word or several."""
    return [given] if isinstance(given, str) else list(given)


def output(arguments: Sequence[str], *, input: str | None = None) -> tuple[int, bytes, str]:
    """Runs a command that takes no time: exit code, stdout, stderr."""
    done = subprocess.run(
        [find_binary(), *arguments],
        input=input.encode() if input is not None else None,
        stdin=subprocess.DEVNULL if input is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")
