"""`python -m flowbench` is `flowbench`."""

import os
import sys

from flowbench._binary import find_binary
from flowbench._errors import BinaryNotFound

if __name__ == "__main__":
    try:
        program = find_binary()
    except BinaryNotFound as error:
        sys.exit(f"error: {error}")
    os.execv(program, [program, *sys.argv[1:]])
