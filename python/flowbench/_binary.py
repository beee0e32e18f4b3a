"""Where the program is."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Iterator

from flowbench._errors import BinaryNotFound

#: The environment variable that names another program than the installed one.
VARIABLE = "FLOWBENCH_BINARY"


def find_binary() -> str:
    """The path of the program `flowbench` that this package drives.

    It is the one that was installed with the package. `FLOWBENCH_BINARY` names another one; a package without a
    program, such as a checkout, uses the one on the `PATH`.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise BinaryNotFound(f"{VARIABLE} is {named!r}, which is not a program")
        return named
    for folder in _folders():
        program = folder / "flowbench"
        if os.access(program, os.X_OK):
            return str(program)
    found = shutil.which("flowbench")
    if found:
        return found
    raise BinaryNotFound(
        "there is no program `flowbench` beside this package or on the PATH; "
        f"install the wheel again, or name one with {VARIABLE}"
    )


def _folders() -> Iterator[Path]:
    """The folders into which installers put programs."""
    yield Path(sysconfig.get_path("scripts"))
    if sys.version_info >= (3, 10):
        user = sysconfig.get_preferred_scheme("user")
    else:
        user = "posix_user"
    yield Path(sysconfig.get_path("scripts", scheme=user))
    # `pip install --target FOLDER`, and `--prefix FOLDER`, whose packages are in lib/pythonX.Y/site-packages.
    package = Path(__file__).resolve().parent
    yield package.parent / "bin"
    if len(package.parents) > 3:
        yield package.parents[3] / "bin"
