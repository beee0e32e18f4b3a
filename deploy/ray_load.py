"""Sends a suite in parts as Ray tasks; part 1 runs here and has the result: python ray_load.py suite.yaml 4"""

import os
import pathlib
import secrets
import subprocess
import sys
import tempfile

import ray


@ray.remote(num_cpus=2, scheduling_strategy="SPREAD")
def send(suite: str, part: str, meet: str, token: str) -> int:
    # Other parts may be on the same machine.
    path = pathlib.Path(tempfile.mkdtemp(), "suite.yaml")
    path.write_text(suite)
    command = ["flowbench", "run", "suite.yaml", "--part", part, "--meet", meet, "--quiet"]
    return subprocess.run(command, cwd=path.parent, env={**os.environ, "FLOWBENCH_MEET_TOKEN": token}).returncode


suite, parts, token = sys.argv[1], int(sys.argv[2]), secrets.token_hex(16)
ray.init()
meet = f"{ray.util.get_node_ip_address()}:4747"
others = [send.remote(pathlib.Path(suite).read_text(), f"{n}/{parts}", meet, token) for n in range(2, parts + 1)]
command = ["flowbench", "run", suite, "--part", f"1/{parts}", "--meet", meet, "--out", "results"]
code = subprocess.run(command, env={**os.environ, "FLOWBENCH_MEET_TOKEN": token}).returncode
ray.wait(others, num_returns=len(others), timeout=30)
sys.exit(code)
