"""The guides keep their word: suites are read, and commands run in the order of the page.

A ```yaml block whose first line is `# NAME.yaml` becomes that file, and has to be a suite without mistakes. A ```sh block is
run by bash in a folder of the page's own, with exit code 0, or as `sh fails with 1` says. If a ```text block follows, each of its lines begins like a
line of the output. Blocks of other kinds are for other machines.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

import flowbench as fb

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GUIDES = [
    ROOT / "README.md",
    DOCS / "installation.md",
    DOCS / "first-minute.md",
    *sorted(DOCS.glob("tutorials/*.md")),
    *sorted(DOCS.glob("how-to/*.md")),
    *sorted(DOCS.glob("explanation/*.md")),
]
BLOCK = re.compile(r"^```(?P<kind>[^\n]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The blocks of a page: kind and text."""
    for found in BLOCK.finditer(page.read_text()):
        yield found["kind"], found["text"]


def beginning(line: str) -> str:
    """What a line begins with, however long it takes and however fast it is."""
    words = re.sub(r"[\d.,:/-]+", "", line).split()
    return " ".join(words[:1])


@pytest.mark.parametrize("page", GUIDES, ids=[str(page.relative_to(ROOT)) for page in GUIDES])
def test_a_guide_keeps_its_word(page: Path, tmp_path: Path) -> None:
    program = Path(fb.find_binary())
    shims = tmp_path / "bin"
    shims.mkdir()
    (shims / "flowbench").symlink_to(program.resolve())
    env = {**os.environ, "PATH": f"{shims}:{os.environ['PATH']}", "TOKEN": "only-for-the-test"}
    folder = tmp_path / "page"
    folder.mkdir()
    for name, ours in [("ca.pem", "cert.pem"), ("client.pem", "cert.pem"), ("client.key", "key.pem")]:
        (folder / name).write_bytes((ROOT / "scenarios/tls" / ours).read_bytes())
    said = None
    for kind, text in blocks(page):
        if kind == "yaml":
            name = text.splitlines()[0].removeprefix("# ")
            assert re.fullmatch(r"[\w-]+\.yaml", name), f"{page.name}: a suite without a name: {text}"
            (folder / name).write_text(text)
            checked = subprocess.run(
                ["flowbench", "check", name], cwd=folder, env=env, capture_output=True, text=True, check=False
            )
            assert checked.returncode == 0, checked.stderr
        elif kind == "sh" or kind.startswith("sh fails with "):
            expected = re.findall(r"\d+", kind) or ["0"]
            ran = subprocess.run(
                ["bash", "-e", "-c", text],
                cwd=folder,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=400,
                check=False,
            )
            said = ran.stdout
            # On a machine that is too busy, everything may be inconclusive, and then nothing looks as on the page.
            busy = ran.returncode == 4
            assert busy or str(ran.returncode) in expected, f"{text}\n{said}"
            said = None if busy else said
        elif kind == "text" and said is not None:
            begins = {beginning(line) for line in said.splitlines()}
            for line in text.splitlines():
                assert beginning(line) in begins, f"no line like `{line}` in:\n{said}"
        elif kind == "python":
            import flowbench

            here = os.getcwd()
            os.chdir(folder)
            try:
                exec(compile(text, str(page), "exec"), {"flowbench": flowbench})  # noqa: S102
            finally:
                os.chdir(here)
        else:
            assert kind.split()[0] in {"yaml", "sh", "text"}, f"{page.name}: a block of `{kind}`"
